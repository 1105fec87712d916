"""Responses of a conditional model to the contexts of a split: files, and metrics of them.

A code is drawn from the prior and decoded greedily, as in Zhao et al. 2017, so that two responses
to one context can differ only through their codes. `samples/responses.txt` shows a few responses,
`samples/answers.txt` contains all that were scored.
"""

import numpy as np
from torch import Tensor

from uncollapse.data.corpus import take_sentences
from uncollapse.evaluation.opened import OpenedRun
from uncollapse.evaluation.settings import Settings
from uncollapse.evaluation.view_files import encode_lines, numbered_view, write_view
from uncollapse.evaluation.views import ROWS_SHOWN
from uncollapse.interfaces.data import Batch
from uncollapse.json_types import JsonObject
from uncollapse.metrics.one_pass import evaluating
from uncollapse.metrics.quality import format_sentences, score_responses
from uncollapse.runs.layout import SAMPLES_FOLDER, SAMPLES_KNOWN

CONTEXTS = 1000
RESPONSES_EACH = 5  # per context
RESPONSES_SHOWN = 3


def evaluate_responses(opened: OpenedRun, settings: Settings) -> JsonObject:
    """Write responses of a run to files, and return the `response_` metrics."""
    split, data = settings.split, opened.data
    batch = opened.batch(split, opened.examples_to_show(split, CONTEXTS))
    with evaluating(opened.model, train=False):
        # one call with all codes, so that every context has independent ones
        codes = opened.prior_codes(RESPONSES_EACH * len(batch)).split(len(batch))
        answers = [respond(opened, batch, z, settings.unknown) for z in codes]
        q = opened.encode(batch, opened.noise(2))
        # an upper bound: the response decoded from its own posterior
        rebuilt = respond(opened, batch, q.project(q.mean), settings.unknown)
    real, contexts = (
        format_sentences(take_sentences(corpora[split], batch.examples), data.vocabulary)
        for corpora in (data.corpora, data.contexts)
    )
    folder = SAMPLES_FOLDER if settings.unknown else SAMPLES_KNOWN
    # shown in random order, since examples of a split may be sorted
    shown = np.random.default_rng(0).permutation(len(batch))[:ROWS_SHOWN]
    columns = (contexts, real, *answers[:RESPONSES_SHOWN], rebuilt)
    codes_shown = (f"code {number}" for number in range(1, RESPONSES_SHOWN + 1))
    names = ("context", split, *codes_shown, "of the response's own code")
    view = numbered_view(names, [[column[i] for i in shown] for column in columns])
    write_view(view, opened.run, folder, "responses")
    opened.run.write(folder, "answers.txt", data=encode_lines(answers[0]))
    # one response per context for comparison with the real one, and all of them for diversity
    scores = score_responses(answers[0], real, list(zip(*answers, strict=True)))
    return {**scores, "response_unknown": settings.unknown}


def respond(opened: OpenedRun, batch: Batch, z: Tensor, unknown: bool) -> list[str]:
    """A greedily decoded response to each context of a batch, with codes z [B, D]."""
    corpus = opened.model.respond(batch, z, greedy=True, unknown=unknown)
    return format_sentences(corpus, opened.data.vocabulary)
