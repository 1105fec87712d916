"""Writes the rows of an external training loop as a run folder, which the report takes.

    with uncollapse.Recorder("results/mine", head="my_vae", seed=0, knobs={"beta": 0.5}) as record:
        for epoch in range(20):
            ...
            record.evaluate(step, encode, nll, x_valid)
        record.test(step, encode, nll, x_test)

    uncollapse report results/mine

`encode` and `nll` are those of `uncollapse.diagnose`.
"""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from uncollapse.config.common_keys import check_root
from uncollapse.data import SPLITS
from uncollapse.diagnosis import diagnose
from uncollapse.errors import MAX_SEED, InputError, check_choice, check_integer, shorten
from uncollapse.json_types import JsonMapping, JsonObject
from uncollapse.metrics import catalogue
from uncollapse.metrics.information import FINAL_MIXTURE, MIXTURE
from uncollapse.metrics.metric import NLL, PASS
from uncollapse.runs.identity import compute_identity
from uncollapse.runs.layout import CONFIG, DATA, DONE, ROWS_FILE, SCHEMA, Run, locate_run
from uncollapse.runs.results import dump_json, join_results, write_summary
from uncollapse.runs.rows import Record
from uncollapse.summary import drop_place

Encode = Callable[[Any], object]
Nll = Callable[[Any, Tensor], Tensor]
Knob = str | int | float | bool
TEST_SAMPLES = 100  # importance samples of each test example
EVALUATED_SPLITS = ("train", "valid")
RESERVED = ("head", "overrides", "label", "study", "seed")  # keys of the config


class Recorder:
    """One run: a head, the values of its knobs and a seed, in the study of a folder.

    head: its name in tables and figures. label: a longer one, for the legend. entropy: that of the
    data in nats, where it is known. The run is in
    <study>/runs/<head>/<knobs or "default">/seed=<seed>. InputError if it holds one already.
    """

    def __init__(
        self,
        study: str | Path,
        *,
        head: str,
        seed: int,
        knobs: Mapping[str, Knob] | None = None,
        label: str | None = None,
        entropy: float | None = None,
    ):
        seed = check_integer("seed", seed, 0, MAX_SEED)
        if not isinstance(head, str) or not head.isidentifier():
            raise InputError(f"head={head}: allowed are letters, digits and _, a letter first")
        study = Path(study)
        check_root("study", study.name)
        check_root("label", label or head)
        knobs = {name: check_knob(name, value) for name, value in (knobs or {}).items()}
        if entropy is not None:
            entropy = float(entropy)
        self.run: Run = locate_run(str(study.parent), study.name, head, knobs, seed)
        if self.run.exists:
            raise InputError(f"{self.run.folder} holds a run already; move it away to record again")
        self.config: JsonObject = {
            "head": head,
            "overrides": knobs,
            **knobs,
            "label": label or head,
            "study": study.name,
            "seed": seed,
        }
        self.run.folder.mkdir(parents=True, exist_ok=True)
        self.run.write(DATA, data=dump_json({"entropy": entropy}))
        config = json.dumps(self.config, indent=1)
        self.run.write(
            CONFIG, data=f"# recorded from an external training loop\n{config}\n".encode()
        )
        self.record = Record(self.run.path(ROWS_FILE), [])
        self.start, self.entropy = time.perf_counter(), entropy

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to close: each row is on disk when its call returns."""

    def evaluate(
        self,
        step: int,
        encode: Encode,
        nll: Nll,
        data: object,
        *,
        split: str = "valid",
        epoch: float | None = None,
        **settings: Any,
    ) -> JsonObject:
        """Write the row of a step: every metric of one pass over `data`; and return it.

        `settings` are those of `diagnose`, such as batch=128.
        """
        check_choice("split", split, EVALUATED_SPLITS)
        found = diagnose(encode, nll, data, **{"samples": 1, "mixture": MIXTURE, **settings})
        return self.write(step, split, select_stage(found, PASS), epoch)

    def test(
        self,
        step: int,
        encode: Encode,
        nll: Nll,
        data: object,
        *,
        samples: int = TEST_SAMPLES,
        epoch: float | None = None,
        **settings: Any,
    ) -> JsonObject:
        """Write the test row, the summary with nll by importance weighting, and the end of the run.

        Returns the summary.
        """
        settings = {"mixture": FINAL_MIXTURE, **settings}
        found = diagnose(encode, nll, data, samples=samples, **settings)
        results = {f"test-nll-K{samples}": select_stage(found, NLL)}
        return self.finish(step, select_stage(found, PASS), epoch=epoch, results=results)

    def finish(
        self,
        step: int,
        metrics: JsonMapping,
        *,
        epoch: float | None = None,
        results: Mapping[str, JsonObject] | None = None,
    ) -> JsonObject:
        """Write a test row of your own numbers, the summary and the end of the run.

        `results` are those of evaluations, by name. Returns the summary. InputError for a run that
        has ended.
        """
        if self.run.holds(DONE):
            raise InputError(f"{self.run.folder}: the run has ended")
        row = self.write(step, "test", metrics, epoch)
        seconds = time.perf_counter() - self.start
        summary = {
            "status": DONE,
            "schema": SCHEMA,
            "identity": compute_identity(self.config),
            **self.config,
            **drop_place(row),
            "step": row["step"],
            "wall_seconds": seconds,
            "entropy": self.entropy,
        }
        write_summary(self.run, join_results(summary, results or {}))
        self.run.write(DONE, data=b"")
        return summary

    def write(
        self, step: int, split: str, metrics: JsonMapping, epoch: float | None = None
    ) -> JsonObject:
        """Write a row of numbers that you computed yourself, under the names of docs/metrics.md.

        `kl_per_dim` must be among them: nats, [D].
        """
        step = check_integer("step", step, 0)
        check_choice("split", split, SPLITS)
        plain = {key: as_plain(value) for key, value in metrics.items()}
        if not isinstance(plain.get("kl_per_dim"), list):
            raise InputError("metrics: kl_per_dim is missing, a list of nats per dimension")
        row: JsonObject = {"step": step, "epoch": epoch, "split": split, "mode": "eval", **plain}
        self.record.write(row)
        return row


def check_knob(name: str, value: object) -> Knob:
    """A knob as a plain value. InputError for a reserved name, and for no number or text."""
    value = as_plain(value)
    if not name.isidentifier() or name in RESERVED:
        raise InputError(
            f"knobs: {name}: allowed are letters, digits and _, and none of {', '.join(RESERVED)}"
        )
    if not isinstance(value, str | int | float | bool):
        raise InputError(f"knobs: {name}={shorten(value)}: allowed are a number and a text")
    return value


def as_plain(value: object) -> Any:
    """NumPy numbers and arrays, and tensors, as Python numbers and lists."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray | Tensor) else value


def select_stage(found: JsonMapping, stage: str) -> JsonObject:
    """The metrics of one stage."""
    keys = {key for m in catalogue.METRICS.values() if m.stage == stage for key in m.keys}
    return {key: value for key, value in found.items() if key in keys}
