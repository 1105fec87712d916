"""Rows of groups of examples on disk: computed once, kept on interrupt, dropped if damaged."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from uncollapse.errors import InputError
from uncollapse.evaluation.resumable import GroupRow, GroupRows
from uncollapse.runs.json_values import add_digest

GROUPS = [np.array([4, 2]), np.array([0]), np.array([1, 3])]


class Squares:
    """Squares of the examples; counts the computed groups."""

    def __init__(self) -> None:
        self.computed: list[int] = []

    def __call__(self, number: int, examples: np.ndarray) -> GroupRow:
        self.computed.append(number)
        squares = (examples**2).tolist()
        return {"group": number, "examples": examples.tolist(), "squares": squares}


@pytest.fixture
def store(tmp_path: Path) -> GroupRows:
    (tmp_path / "weights").write_bytes(b"first")
    return GroupRows(
        tmp_path / "rows/squares.jsonl", tmp_path / "weights", GROUPS, lambda row: "squares" in row
    )


def complete(store: GroupRows, compute: Squares) -> tuple[list[GroupRow], list[str]]:
    lines: list[str] = []
    with ThreadPoolExecutor(2) as pool:
        return store.complete("squares", compute, pool, lines.append), lines


def test_every_group_is_computed_once(store: GroupRows) -> None:
    compute = Squares()
    rows, lines = complete(store, compute)
    assert [row["squares"] for row in rows] == [[16, 4], [0], [1, 9]]
    assert sorted(compute.computed) == [0, 1, 2] and not lines
    again = Squares()
    assert [row["squares"] for row in complete(store, again)[0]] == [[16, 4], [0], [1, 9]]
    assert not again.computed


@pytest.mark.parametrize(
    "damaged",
    [
        {"group": 1, "examples": [0]},  # lacks a column
        {"group": 1, "examples": [3], "squares": [9]},  # of other examples
        {"group": 7, "examples": [0], "squares": [0]},
        {"group": "1", "examples": [0], "squares": [0]},
        {"group": 1, "examples": "0", "squares": [0]},
        {
            **add_digest({"group": 1, "examples": [0], "squares": [0]}),
            "squares": [1],
        },  # a flipped bit
        [1],
    ],
)
def test_unusable_rows_are_recomputed(store: GroupRows, damaged: object) -> None:
    complete(store, Squares())
    header, first, _, third = store.path.read_text().splitlines()
    store.path.write_text("\n".join([header, first, json.dumps(damaged), third]) + "\n")
    compute = Squares()
    rows, lines = complete(store, compute)
    assert compute.computed == [1] and [row["squares"] for row in rows][1] == [0]
    assert lines == ["squares: 1 of 3 groups are damaged or lack columns, and are computed again"]


def test_truncated_last_line_is_dropped(store: GroupRows) -> None:
    complete(store, Squares())
    store.path.write_text(store.path.read_text()[:-9])
    compute = Squares()
    complete(store, compute)
    assert len(compute.computed) == 1
    assert all(json.loads(line) for line in store.path.read_text().splitlines())


@pytest.mark.parametrize("change", ["weights", "groups"])
def test_rows_of_other_weights_or_groups_are_refused(store: GroupRows, change: str) -> None:
    complete(store, Squares())
    other = store
    if change == "weights":
        store.weights.write_bytes(b"second")
    else:
        other = GroupRows(store.path, store.weights, GROUPS[:2], store.is_valid)
    with pytest.raises(InputError, match="other weights or data"):
        complete(other, Squares())
