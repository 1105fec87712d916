"""nelbo before and after the posterior of each example is refined; resumable, as nll is."""

from functools import partial

import numpy as np
import torch

from uncollapse.data.batches import split_examples
from uncollapse.device import gradients_in_evaluation
from uncollapse.errors import InputError
from uncollapse.evaluation.nll import worker_threads
from uncollapse.evaluation.opened import OpenedRun
from uncollapse.evaluation.resumable import GroupRow, GroupRows, has_number_columns
from uncollapse.evaluation.settings import Settings
from uncollapse.json_types import JsonObject
from uncollapse.metrics.amortisation import FINAL_CODES, draw_seed, refine, weigh
from uncollapse.metrics.base import with_error
from uncollapse.metrics.metric import AMORTISATION
from uncollapse.metrics.one_pass import EVAL_SEED
from uncollapse.runs.layout import EVALUATIONS

REFINED_TOGETHER = 100  # examples that are refined at a time
REFINED_COLUMNS = ("nelbo", "refined_nelbo", "refined_kl")  # one value per example of the group


def evaluate_amortisation(opened: OpenedRun, settings: Settings) -> JsonObject:
    """amortisation_gap, and nelbo and kl after refining; {} for a q that is no diagonal Gaussian.

    q is what the run's procedure infers.
    """
    q = opened.any_posterior()
    if not q.is_gaussian:
        opened.say(
            f"amortisation_gap does not apply: {type(q).__name__} is no diagonal Gaussian, whose "
            "mean and variance could be refined"
        )
        return {}
    groups = split_examples(
        opened.examples(settings.split, settings.count_examples(AMORTISATION)), REFINED_TOGETHER
    )
    path = opened.run.path(EVALUATIONS, f"{settings.result_name(AMORTISATION)}.jsonl")
    is_valid = partial(has_number_columns, names=("examples", *REFINED_COLUMNS))
    store = GroupRows(path, opened.weights, groups, is_valid)
    with (
        gradients_in_evaluation(opened.device),
        worker_threads(opened.device, settings.workers) as pool,
    ):
        rows = store.complete(
            AMORTISATION, partial(refine_group, opened, settings), pool, opened.say
        )
    columns = {name: np.concatenate([row[name] for row in rows]) for name in REFINED_COLUMNS}
    return {
        **with_error("amortisation_gap", columns["nelbo"] - columns["refined_nelbo"]),
        **with_error("refined_nelbo", columns["refined_nelbo"]),
        **with_error("refined_kl", columns["refined_kl"]),
        "amortisation_examples": len(columns["nelbo"]),
    }


def refine_group(
    opened: OpenedRun, settings: Settings, number: int, examples: np.ndarray
) -> GroupRow:
    """The row of one group. InputError for a nelbo that is not finite."""
    # seeded by the group's number, so that neither order nor interruptions change the result
    seed = EVAL_SEED + number
    generator = torch.Generator(opened.device).manual_seed(seed)
    batch = opened.batch(settings.split, examples)
    decode = partial(opened.model.nll, batch)
    with torch.no_grad():
        q = opened.encode(batch, generator)
    refined = refine(decode, q, generator)
    # the same fresh noise for both, so that their difference has less noise than either
    fresh = draw_seed(generator)
    nelbo, refined_nelbo = (-weigh(decode, r, FINAL_CODES, fresh).mean(0) for r in (q, refined))
    if not (nelbo.isfinite() & refined_nelbo.isfinite()).all():
        raise InputError(
            f"{opened.run.folder}: the nelbo of {settings.split} example {batch.examples[0]}, or "
            "of one beside it, is not a finite number"
        )
    # where the KL has no closed form it is estimated at this code
    refined.sample(generator=generator)
    columns = (nelbo, refined_nelbo, refined.kl.sum(-1))
    return {
        "group": number,
        "examples": batch.examples.tolist(),
        **{name: values.tolist() for name, values in zip(REFINED_COLUMNS, columns, strict=True)},
    }
