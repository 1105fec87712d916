"""Checks of runs: floors, loading, resuming."""

import json
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from uncollapse.console import Console
from uncollapse.contract.case import RUN, Case
from uncollapse.metrics.one_pass import evaluate
from uncollapse.runs.layout import ROWS_FILE, STATE, SUMMARY, WEIGHTS

LAST_STEPS = (10, 16)  # where the runs that are resumed are cut; an epoch has 6 steps
# of rows and summaries: what differs between two equal runs
CIRCUMSTANCES = (
    "seconds",
    "seconds_per_step",
    "wall_seconds",
    "peak_memory_mb",
    "commit",
    "tree_changed",
    "study",
)


def read_comparable_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of a run without times, so that two runs can be compared."""
    lines = (folder / ROWS_FILE).read_text().splitlines()
    return [drop_circumstances(json.loads(line)) for line in lines]


def drop_circumstances(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in CIRCUMSTANCES}


def check_floor(case: Case) -> None:
    """Rows are finite, and in training mode the KL is never below the floor that is promised."""
    promised = case.trained().model.posterior.floor()
    for row in read_comparable_rows(case.full):
        assert np.isfinite(row["nelbo"]), f"nelbo {row['nelbo']}"
        assert (row["floor"] is None) == (promised is None)
        if row["mode"] == "train" and promised is not None:
            assert row["kl_minus_floor"] > -1e-4, f"kl {row['kl']} is below {row['floor']}"


def check_loaded_weights(case: Case) -> None:
    """Another model with the weights of a run has the same metrics."""
    trained, recorded = case.trained(), read_comparable_rows(case.full)[-2]
    infer = partial(trained.procedure.infer, trained.model)
    again = evaluate(trained.model, trained.data, "test", "eval", encode=infer)
    for name in ("kl_per_dim", "rec"):
        assert again[name] == recorded[name], f"{name} of the loaded weights differs"


class Stop(BaseException):
    """Stands for a power failure: nothing in the code under test may catch it."""


def check_resuming(case: Case) -> None:
    """A run that was cut off twice equals an uninterrupted one bit for bit."""
    for last in LAST_STEPS:
        try:
            with patch.object(Console, "stepped", partial(stop_at, last)):
                case.run("cut", *RUN)
        except Stop:
            continue
        raise AssertionError("the run ended before it was cut off")
    cut, full = case.run("cut", *RUN), case.full
    assert read_comparable_rows(full) == read_comparable_rows(cut), "rows of the resumed run differ"
    ends = [drop_circumstances(json.loads((f / SUMMARY).read_text())) for f in (full, cut)]
    assert ends[0] == ends[1], "the summary of the resumed run differs"
    assert (full / WEIGHTS).read_bytes() == (cut / WEIGHTS).read_bytes(), "weights differ"
    clock = {"seconds": 0, "digest": ""}  # the digest covers times, too
    states = [torch.load(folder / STATE, weights_only=True) for folder in (full, cut)]
    require_same({**states[0], **clock}, {**states[1], **clock})


def stop_at(last: int, step: int, *_: object) -> None:
    if step == last:
        raise Stop


def require_same(one: Any, other: Any, where: str = "state") -> None:
    """Nested dictionaries and lists of tensors, numbers and strings are equal bit for bit."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            require_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            require_same(a, b, f"{where}[{i}]")
    elif isinstance(one, Tensor):
        assert torch.equal(one, other), where
    else:
        assert one == other, where
