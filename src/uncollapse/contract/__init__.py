"""What every head and every model must do, as checks that your own tests can call.

    from uncollapse import contract

    contract.check_head("my_head", "text", tmp_path)
    contract.check_model("my_model", tmp_path, "data=my_data")

A check trains a tiny model for a few steps as a run does: with the trainer's step, its checkpoints,
and the encoding of evaluation. AssertionError, or the InputError of a refused config, says what
does not hold.
"""

from pathlib import Path

from uncollapse.contract.case import KINDS, RUN, SHORT, TINY_DATA, Case
from uncollapse.contract.posterior import (
    check_bound,
    check_densities,
    check_kl,
    check_moments,
    check_shapes,
    infer_trained,
)
from uncollapse.contract.runs import (
    Stop,
    check_floor,
    check_loaded_weights,
    check_resuming,
    drop_circumstances,
    read_comparable_rows,
    require_same,
)
from uncollapse.contract.training import (
    check_gradients,
    check_initial_weights,
    check_what_is_changed,
    has_no_posterior_weights,
    make_one_step,
    make_silent_trainer,
)
from uncollapse.plugins import read_project

__all__ = [
    "KINDS",
    "MODEL_HEADS",
    "RUN",
    "SHORT",
    "TINY_DATA",
    "Case",
    "Stop",
    "check_bound",
    "check_case",
    "check_densities",
    "check_floor",
    "check_gradients",
    "check_head",
    "check_initial_weights",
    "check_kl",
    "check_loaded_weights",
    "check_model",
    "check_moments",
    "check_resuming",
    "check_shapes",
    "check_what_is_changed",
    "drop_circumstances",
    "has_no_posterior_weights",
    "infer_trained",
    "make_one_step",
    "make_silent_trainer",
    "read_comparable_rows",
    "require_same",
]

# with which heads a model is checked: one for each slot, and two that use batch statistics
MODEL_HEADS = ("plain", "bn_mu", "bn_tau", "free_bits", "aggressive", "vmf")


def check_head(head: str, kind: str, folder: Path, *words: str) -> None:
    """Every check of a head on a kind of data: text, vectors or images.

    `words` are further overrides, such as `model=my_model`.
    """
    read_project()
    check_case(Case(head, (*KINDS[kind], *words), folder))


def check_model(model: str, folder: Path, *words: str) -> None:
    """Every check of a model, with some heads. `words`: overrides that make model and data tiny."""
    read_project()
    for head in MODEL_HEADS:
        check_case(Case(head, (f"model={model}", *words), folder / head))


def check_case(case: Case) -> None:
    """Every check."""
    check_what_is_changed(case)
    check_initial_weights(case)
    check_gradients(case)
    check_floor(case)
    check_loaded_weights(case)
    check_resuming(case)
    q, decode = infer_trained(case)
    for check in (check_shapes, check_moments, check_kl, check_densities):
        check(q)
    check_bound(q, decode)
