"""Objectives, the training losses: one file for each remedy that changes it, named after its head.

Heads that only set the weight of the KL share `elbo.py`, and have no file of their own here:

    ae             weight 0: no KL at all
    beta           a constant below 1 (`training.schedules.Constant`)
    kl_anneal      0 to 1 in a straight line (`Linear`)
    kl_logistic    0 to 1 along a sigmoid (`Logistic`)
    kl_cyclical    several ramps (`Cyclical`)

Their papers and equations are in conf/head/<name>.yaml.

They also work in a training loop of your own:

objective = FreeBits(free=0.25, weight=Linear(epochs=10))
loss = objective(nll, q, z, epoch).total   # nll [B], a posterior q, its code z [B, D]
"""

from uncollapse.interfaces.objective import Loss, Objective, ObjectiveModule
from uncollapse.objectives.bow import BagOfWords
from uncollapse.objectives.capacity import Capacity
from uncollapse.objectives.control import Control
from uncollapse.objectives.elbo import ELBO
from uncollapse.objectives.free_bits import FreeBits, FreeBitsExample, FreeBitsTotal
from uncollapse.objectives.mdr import MinimumRate
from uncollapse.objectives.mmd import InfoVAE
from uncollapse.objectives.mu_forcing import MuForcing
from uncollapse.training.schedules import Constant, Cyclical, Delayed, Linear, Logistic

__all__ = [
    "ELBO",
    "BagOfWords",
    "Capacity",
    "Constant",
    "Control",
    "Cyclical",
    "Delayed",
    "FreeBits",
    "FreeBitsExample",
    "FreeBitsTotal",
    "InfoVAE",
    "Linear",
    "Logistic",
    "Loss",
    "MinimumRate",
    "MuForcing",
    "Objective",
    "ObjectiveModule",
]
