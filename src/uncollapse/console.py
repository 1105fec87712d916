"""What a run tells its user: a progress bar on a terminal, one line per evaluation everywhere."""

import sys
import warnings
from typing import Any


class Console:
    """Context for one run called `name`; the trainer calls stepped, evaluated and resumed."""

    def __init__(self, name: str):
        self.name = name
        self.bar: Any = None
        self.task: Any = None

    def __enter__(self) -> "Console":
        if sys.stderr.isatty():
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
            self.bar = Progress(*columns, console=Terminal(stderr=True), transient=True)
            self.bar.start()
        self.showwarning: Any = warnings.showwarning
        warnings.showwarning = self.warn
        return self

    def __exit__(self, *exc: object) -> None:
        warnings.showwarning = self.showwarning
        if self.bar is not None:
            self.bar.stop()

    def say(self, text: str) -> None:
        if self.bar is not None:
            self.bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, flush=True)

    def warn(self, message: Warning | str, *rest: Any, **more: Any) -> None:
        self.say(f"[{self.name}] warning: {message}")

    def resumed(self, step: int, note: str | None) -> None:
        """`note`: what of the earlier rows is missing."""
        self.say(f"[{self.name}] resumed at step {step}")
        if note:
            self.say(f"[{self.name}] warning: {note}")

    def stepped(self, step: int, total: int, loss: Any) -> None:
        if self.bar is None:
            return
        if self.task is None:
            self.task = self.bar.add_task(self.name, total=total, loss="")
        self.bar.update(self.task, completed=step, loss=f"loss {float(loss.total.detach()):.2f}")

    def evaluated(self, row: dict) -> None:
        """One line for each evaluation-mode row."""
        if row["mode"] == "eval":
            self.say(f"[{self.name}] {line(row)}")


def line(row: dict) -> str:
    """The numbers one looks at first, in nats."""
    weights = " (last weights)" if row.get("weights") == "last" else ""
    numbers = [f"epoch {row['epoch']:.2f} step {row['step']} {row['split']}{weights}:"]
    numbers += [
        f"{name} {row[name]:.2f}" for name in ("nelbo", "rec", "kl") if row.get(name) is not None
    ]
    numbers += [
        f"au {row['au']}",
        f"shuffle_gap {row['shuffle_gap']:.3f}"
        if row.get("shuffle_gap") is not None
        else "shuffle_gap -",
    ]
    if row.get("floor") is not None:
        numbers.append(f"floor {row['floor']:.2f} ({row['kl_minus_floor']:+.2f})")
    if row.get("ppl") is not None:
        numbers.append(f"ppl {row['ppl']:.2f}")
    numbers.append(f"weight {row['weight']:.2f}")
    if row.get("seconds_per_step") is not None:
        numbers.append(f"{1e3 * row['seconds_per_step']:.1f} ms/step")
    return " ".join(numbers)
