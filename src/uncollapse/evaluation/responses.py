"""What a conditional model answers: responses to the contexts of a split, as a file, and numbers that say how good they are.

A code is drawn from the prior and decoded by the likeliest words, as Zhao et al. 2017 do, so that whatever differs between two responses to
one context comes from the code. `samples/responses.txt` of the run folder shows some, `samples/answers.txt` has all that were counted.
"""

import numpy as np

from uncollapse.data.corpus import sentences
from uncollapse.evaluation.opened import Subject
from uncollapse.evaluation.samples import (
    SHOWN,
    View,
    chosen,
    lines,
    nearest_codes,
    noise,
    prior_codes,
    save,
)
from uncollapse.metrics.evaluation import evaluating
from uncollapse.metrics.quality import responses, texts
from uncollapse.runs.layout import SAMPLES_FOLDER, SAMPLES_KNOWN

ANSWERED = 1000  # contexts
CODES = 5  # for each
COMPARED = 3  # of these are shown


def look(subject: Subject, split: str, unknown: bool = True) -> dict:
    """Write some responses of one run, and return the numbers about them."""
    batch = subject.batch(split, chosen(subject, split, ANSWERED))
    vocabulary, count = subject.data.vocabulary, len(batch)
    with evaluating(subject.model, train=False):
        codes = prior_codes(subject, CODES * count).split(count)
        answers = [
            texts(subject.model.respond(batch, z, greedy=True, unknown=unknown), vocabulary)
            for z in codes
        ]
        q = subject.encode(batch, noise(subject, 2))
        own = subject.model.respond(batch, nearest_codes(q, q.mean), greedy=True, unknown=unknown)
        rebuilt = texts(own, vocabulary)
    real, contexts = (
        texts(sentences(corpora[split], batch.examples), vocabulary)
        for corpora in (subject.data.corpora, subject.data.contexts)
    )
    rows = np.random.default_rng(0).permutation(count)[:SHOWN]
    columns = (contexts, real, *answers[:COMPARED], rebuilt)
    names = (
        "context",
        split,
        *(f"code {n}" for n in range(1, COMPARED + 1)),
        "of the response's own code",
    )
    view = View(names, [(str(n), [column[i] for column in columns]) for n, i in enumerate(rows, 1)])
    folder = SAMPLES_FOLDER if unknown else SAMPLES_KNOWN
    save(view, subject.run, folder, "responses")
    subject.run.write(folder, "answers.txt", data=lines(answers[0]))
    return {
        **responses(answers[0], real, list(zip(*answers, strict=True))),
        "response_unknown": unknown,
    }
