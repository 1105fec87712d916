"""Runs and studies on disk: where they are, what their files are called, who reads and writes them.

layout       a run's folder, the names of its files, its status and its lock
identity     when two runs are the same run
json_values  finite numbers and digests in JSON
rows         metrics.jsonl: the only writer of rows, and their reader
checkpoint   weights, and the state to resume from, each with a digest
results      the results of evaluations, and how they join the summary
reading      everything in a run's folder, checked
pack         the finished runs of a study in one file, and its reader
pack_writing the writer of packs
portable     runs without the facts of one machine, and whether two copies of a run agree
study        every run of a study, from its folders and its pack
packed       whether a pack already has a run that is about to be trained
merge        packing a study, and merging the packs of several machines
listing      the output of `study.py list` and `study.py verify`
study_cli    the command `study`
provenance   which code made a run
"""
