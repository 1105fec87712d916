"""A run on disk, and a study of them: where it lies, what its files are called, how they are written and read.

layout       a run's folder, the name of each file in it, its status and its lock
identity     when two runs are the same
json_values  finite numbers and digests in JSON
rows         metrics.jsonl: the one writer of rows, and their reader
checkpoint   weights and the state to resume from, each with a digest
results      what evaluations found, and how it joins the summary
reading      everything that a run says of itself, checked, or one sentence why not
pack         the finished runs of a study in one file
portable     runs without what belongs to one machine, and whether two copies of a run agree
study        every run of a study, in folders and in its pack
packed       what a pack has of a run that is about to be trained
merge        packing a study, and joining the packs of several machines
listing      what `study.py list` and `verify` say
study_cli    the words of scripts/study.py
provenance   which code made a run
"""
