"""Objectives, the training losses: one file for each remedy that changes it, named after its head.

Heads that only set the weight of the KL share `elbo.py`, and have no file of their own here:

    ae             weight 0: no KL at all
    beta           a constant below 1 (`training.schedules.Constant`)
    kl_anneal      0 to 1 in a straight line (`Linear`)
    kl_logistic    0 to 1 along a sigmoid (`Logistic`)
    kl_cyclical    several ramps (`Cyclical`)

Their papers and equations are in conf/head/<name>.yaml.
"""
