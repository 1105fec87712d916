"""Samples of a run: views as files, and numbers about the sentences that the prior gives.

They lie in `samples/` of the run folder, or `samples-no-unknown/` with --no-unknown.
"""

from typing import Any

from uncollapse.data.corpus import Corpus
from uncollapse.evaluation.decoding import create_decoding, is_text
from uncollapse.evaluation.language_model import study_language_model
from uncollapse.evaluation.opened import OpenedRun
from uncollapse.evaluation.settings import Settings
from uncollapse.evaluation.view_files import encode_lines, write_view
from uncollapse.evaluation.views import all_views
from uncollapse.metrics.one_pass import evaluating
from uncollapse.metrics.quality import first_sentences, score_samples
from uncollapse.runs.layout import SAMPLES_FOLDER, SAMPLES_KNOWN

DRAWN = 1000  # sentences of the prior that the numbers are computed from


def evaluate_samples(opened: OpenedRun, settings: Settings) -> dict[str, Any]:
    """Write every view, and return the numbers about drawn sentences; none about images.

    InputError for a model that generates nothing.
    """
    decoding = create_decoding(opened, settings.unknown)
    with evaluating(opened.model, train=False):
        drawn = decoding.draw(opened.prior_codes(DRAWN), 1) if is_text(opened) else None
        views = all_views(decoding, settings.split, drawn, DRAWN)
    folder = SAMPLES_FOLDER if settings.unknown else SAMPLES_KNOWN
    for name, view in views.items():
        if view.rows:
            write_view(view, opened.run, folder, name)
    if drawn is None:
        return {}
    opened.run.write(folder, "drawn.txt", data=encode_lines(opened.data.texts(drawn)))
    return {**score_sentences(opened, drawn), "sample_unknown": settings.unknown}


def score_sentences(opened: OpenedRun, drawn: Corpus) -> dict[str, Any]:
    """The `sample_` numbers: by the data's exact log p where known, else by a language model."""
    data = opened.data
    exact = data.exact_log_prob
    language_model = None if exact else study_language_model(opened)
    held_out = first_sentences(data.corpora["test"], DRAWN)
    return score_samples(
        drawn, data.corpora["train"], data.vocabulary, exact, language_model, held_out
    )
