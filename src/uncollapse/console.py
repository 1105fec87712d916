"""The output of a run: a progress bar on a terminal, and one line per evaluation."""

import sys
import warnings
from typing import TYPE_CHECKING

from uncollapse.json_types import JsonMapping
from uncollapse.metrics.catalogue import METRICS, line_names

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from uncollapse.interfaces.objective import Loss
    from uncollapse.runs.heartbeat import Heartbeat


class Console:
    """The output of the run `name`, as a context; the trainer reports its progress to it."""

    def __init__(self, name: str, heartbeat: "Heartbeat | None" = None):
        self.name, self.heartbeat = name, heartbeat
        self.bar: Progress | None = None
        self.task: TaskID | None = None

    def __enter__(self) -> "Console":
        if sys.stderr.isatty():
            self.bar = make_bar()
            self.bar.start()
        # warnings of libraries would break the progress bar, so they go through `say` as well
        self.showwarning = warnings.showwarning
        warnings.showwarning = self.warn
        return self

    def __exit__(self, *exc: object) -> None:
        warnings.showwarning = self.showwarning
        if self.bar is not None:
            self.bar.stop()

    def say(self, text: str) -> None:
        """Print a line, above the progress bar if there is one."""
        if self.bar is not None:
            self.bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, flush=True)

    def warn(self, message: Warning | str, *rest: object, **more: object) -> None:
        """Print a warning; also called by the warnings module, with its arguments."""
        self.say(f"[{self.name}] warning: {message}")

    def resumed(self, step: int, note: str | None) -> None:
        """Report that the run was resumed; `note` says which of its earlier rows are missing."""
        self.say(f"[{self.name}] resumed at step {step}")
        if note:
            self.warn(note)

    def stepped(self, step: int, total: int, loss: "Loss") -> None:
        """Advance the progress bar, and note the step for others who follow the run."""
        if self.heartbeat is not None:
            self.heartbeat.note_step(step, total)
        if self.bar is None:
            return
        if self.task is None:
            self.task = self.bar.add_task(self.name, total=total, loss="")
        self.bar.update(self.task, completed=step, loss=f"loss {float(loss.total.detach()):.2f}")

    def evaluated(self, row: JsonMapping) -> None:
        """Print a row of metrics, unless it is in training mode."""
        # those rows are for the curves, and would double the output
        if row["mode"] == "eval":
            self.say(f"[{self.name}] {format_row(row)}")


def make_bar() -> "Progress":
    """A progress bar on standard error."""
    from rich.console import Console as Terminal
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[loss]} {task.description}"),
    )
    return Progress(*columns, console=Terminal(stderr=True), transient=True)


def format_row(row: JsonMapping) -> str:
    """'epoch 1.00 step 40 valid: nelbo 24.31 rec 21.02 ...': the metrics with a `line` format."""
    rule = row.get("weights", "best")
    weights = "" if rule == "best" else f" ({rule} weights)"
    words = [f"epoch {row['epoch']:.2f} step {row['step']} {row['split']}{weights}:"]
    words += [format_value(row, name) for name in line_names() if row.get(name) is not None]
    return " ".join(words)


def format_value(row: JsonMapping, name: str) -> str:
    """'floor 2.88 (+0.11)', or '12.3 ms/step' for a metric with a unit of its own."""
    metric = METRICS[name]
    if metric.line_unit is not None:
        return f"{metric.line_unit.factor * row[name]:{metric.line}} {metric.line_unit.text}"
    beside = ", ".join(
        f"{other.label} {row[other.name]:{other.line}}".lstrip()
        for other in metric.beside
        if row.get(other.name) is not None
    )
    return f"{name} {row[name]:{metric.line}}" + (f" ({beside})" if beside else "")
