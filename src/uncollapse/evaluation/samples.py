"""Generated samples of a run: views as files, and metrics of sentences drawn from the prior.

The files are in `samples/` of the run folder, or in `samples-no-unknown/` with --no-unknown.
"""

from uncollapse.data.corpus import Corpus
from uncollapse.evaluation.decoding import create_decoding, is_text
from uncollapse.evaluation.language_model import study_language_model
from uncollapse.evaluation.opened import OpenedRun
from uncollapse.evaluation.settings import Settings
from uncollapse.evaluation.view_files import encode_lines, write_view
from uncollapse.evaluation.views import all_views
from uncollapse.json_types import JsonObject
from uncollapse.metrics.one_pass import evaluating
from uncollapse.metrics.quality import first_sentences, score_samples
from uncollapse.runs.layout import SAMPLES_FOLDER, SAMPLES_KNOWN

DRAWN = 1000  # sentences from the prior that the metrics are computed from


def evaluate_samples(opened: OpenedRun, settings: Settings) -> JsonObject:
    """Write every view to a file, and return the metrics of drawn sentences; {} without text.

    InputError for a model that cannot generate examples.
    """
    decoding = create_decoding(opened, settings.unknown)
    with evaluating(opened.model, train=False):
        # only text has metrics of samples, and is drawn here
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


def score_sentences(opened: OpenedRun, drawn: Corpus) -> JsonObject:
    """The `sample_` metrics, under the exact log p of the data or, if unknown, a language model."""
    data = opened.data
    exact = data.exact_log_prob
    # a model of the study is a substitute, where the exact probability is unknown
    language_model = None if exact else study_language_model(opened)
    held_out = first_sentences(data.corpora["test"], DRAWN)
    return score_samples(
        drawn, data.corpora["train"], data.vocabulary, exact, language_model, held_out
    )
