"""The language model of a study, which scores the sentences that its other runs generate."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from omegaconf import DictConfig, OmegaConf

from uncollapse.data.batches import split_examples
from uncollapse.data.corpus import Corpus, make_batch
from uncollapse.errors import InputError
from uncollapse.evaluation.opened import OpenedRun, open_run, read_stored_config
from uncollapse.interfaces.model import Model
from uncollapse.metrics.one_pass import EVAL_BATCH, evaluating
from uncollapse.runs.layout import DONE, Run, find_runs

NOTED_STUDIES: set[Path] = set()  # studies without a language model, each reported once


def study_language_model(opened: OpenedRun) -> Callable[[Corpus], np.ndarray] | None:
    """log p [N] of sentences under the study's first finished run of head=lm on the same data.

    None if there is no such run, which is reported once per study.
    """
    data = read_stored_config(opened.run).data
    for run in find_runs(opened.run.study, "lm"):
        if run.status == DONE and has_data(run, data):
            lm = open_run(run, {OmegaConf.to_yaml(data): opened.data}, opened.say)
            return lambda corpus: log_prob_of(lm.model, corpus)
    if opened.run.study not in NOTED_STUDIES:
        NOTED_STUDIES.add(opened.run.study)
        opened.say("no finished run of head=lm on these data in the study: no sample_lm_ppl")
    return None


def has_data(run: Run, data: DictConfig) -> bool:
    """Whether a run's config can be read and names these data."""
    try:
        return bool(read_stored_config(run).data == data)
    except InputError:
        return False


def log_prob_of(lm: Model, corpus: Corpus) -> np.ndarray:
    """log p of each sentence under a model without a code, [N] nats."""
    log_prob, device = np.empty(len(corpus)), next(lm.parameters()).device
    with evaluating(lm, train=False):
        for group in split_examples(np.arange(len(corpus)), EVAL_BATCH):
            batch = make_batch(corpus, group).to(device)
            # its decoder does not read the code, so the mean is as good as any
            nll = lm.nll(batch, lm.encode(batch).mean)
            # a batch is sorted by length, so its rows are put back by example number
            log_prob[batch.examples] = -nll.double().cpu().numpy()
    return log_prob
