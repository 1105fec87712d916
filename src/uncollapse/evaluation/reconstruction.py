"""Reconstructions of a split: greedily decoded posterior means, compared with the examples."""

import numpy as np

from uncollapse.data.batches import split_examples
from uncollapse.data.corpus import Corpus, join_corpora, take_sentences
from uncollapse.errors import InputError
from uncollapse.evaluation.decoding import is_text, longest_text
from uncollapse.evaluation.opened import OpenedRun
from uncollapse.evaluation.settings import Settings
from uncollapse.json_types import JsonObject
from uncollapse.metrics.one_pass import EVAL_BATCH, evaluating
from uncollapse.metrics.quality import corpus_bleu, format_sentences
from uncollapse.metrics.reconstruction import compare_tokens


def evaluate_reconstruction(opened: OpenedRun, settings: Settings) -> JsonObject:
    """The `reconstruction_` metrics. InputError for a model of anything but text."""
    model, data, split = opened.model, opened.data, settings.split
    if not is_text(opened) or not (model.can_generate or model.can_respond):
        raise InputError(
            f"{opened.run.folder}: --metrics reconstruction compares words; "
            "this model's outputs are not text"
        )
    examples = opened.examples(split, settings.examples)
    # sentences of similar length are decoded together, so that few of them wait for a longer one
    examples = examples[np.argsort(data.lengths(split)[examples], kind="stable")]
    with evaluating(model, train=False):
        groups = split_examples(examples, EVAL_BATCH)
        rebuilt = [rebuild(opened, split, group) for group in groups]
    order = np.concatenate([numbers for numbers, _ in rebuilt])
    written = join_corpora([corpus for _, corpus in rebuilt])
    original = take_sentences(data.corpora[split], order)
    texts = (format_sentences(corpus, data.vocabulary) for corpus in (written, original))
    return {
        **compare_tokens(written, original),
        "reconstruction_bleu": corpus_bleu(*texts),
        "reconstruction_examples": len(order),
    }


def rebuild(opened: OpenedRun, split: str, examples: np.ndarray) -> tuple[np.ndarray, Corpus]:
    """Example numbers in the order of their batch, and the most likely words of each mean."""
    batch = opened.batch(split, examples)
    q = opened.encode(batch, opened.noise(6))
    # a mean need not be a possible code (vMF): the nearest one is decoded
    z, longest = q.project(q.mean), longest_text(opened)
    if opened.model.can_respond:
        return batch.examples, opened.model.respond(batch, z, greedy=True, longest=longest)
    return batch.examples, opened.model.generate(z, greedy=True, longest=longest)
