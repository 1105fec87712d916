"""The settings of an evaluation, and the names of its results on disk."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import NamedTuple

from uncollapse.data import SPLITS
from uncollapse.errors import InputError, check_choice, check_integer, check_number
from uncollapse.metrics.metric import (
    AMORTISATION,
    DISENTANGLEMENT,
    NLL,
    PASS_STATISTICS,
    PROBE,
    RECONSTRUCTION,
    REVERSE_PPL,
    SAMPLES,
)
from uncollapse.metrics.rows_evaluation import DEFAULT_SAMPLES, REFINED_EXAMPLES
from uncollapse.runs.layout import Run
from uncollapse.runs.results import NO_UNKNOWN, RULE_MARK, read_summary
from uncollapse.runs.rules import DEFAULT_RULE, RULES, chooses_the_same

MOST_CODES = 1_000_000  # per example, since all of them are drawn at once


@dataclass(frozen=True)
class Settings:
    """Which metrics to compute, on which split, and from how many codes, examples and labels."""

    metrics: tuple[str, ...]
    split: str = "test"
    samples: int = DEFAULT_SAMPLES  # K, codes per example for nll
    examples: int | None = None  # None: all, or a metric's default number
    labels: tuple[int, ...] | None = None  # label budgets of the probe; None: the default ones
    workers: int = 1  # threads
    unknown: bool = True  # whether samples may contain <unk>
    rule: str = DEFAULT_RULE  # which weights
    tolerance: float | None = None  # nats: fewer codes where nll's error is below it already
    complete: bool = False  # every example was asked for by its number

    def check(self) -> None:
        """InputError for a value that is not allowed."""
        for metric in self.metrics:
            if metric not in METRIC_CHOICES:
                raise InputError(f"--metrics {metric}: allowed are {', '.join(METRIC_CHOICES)}")
        if self.split not in SPLITS:
            raise InputError(f"--split {self.split}: allowed are {', '.join(SPLITS)}")
        check_choice("--weights", self.rule, RULES)
        if self.rule != DEFAULT_RULE and SAMPLES in self.metrics:
            raise InputError(
                f"--weights {self.rule}: samples are of the weights of {DEFAULT_RULE} only"
            )
        check_integer("--samples", self.samples, 1, MOST_CODES)
        if self.tolerance is not None:
            check_number("--tolerance", self.tolerance, 0)
        for budget in self.labels or ():
            check_integer("--labels", budget, 2)
        if self.split == "train" and all(METRIC_CHOICES[m].needs_labels for m in self.metrics):
            raise InputError(
                f"--split train: {self.metrics[0]} is fitted to the training split; "
                "allowed are valid, test"
            )
        check_integer("--workers", self.workers, 1)
        if self.examples is not None and check_integer("--examples", self.examples, 1) < 2:
            raise InputError(
                "--examples=1: errors, mi and the shuffled gap compare examples; "
                "allowed is at least 2"
            )

    def resolve_rule(self, run: Run) -> "Settings":
        """The settings with the default rule if that chose the same weights in this run.

        InputError if the run did not keep the weights.
        """
        if self.rule == DEFAULT_RULE:
            return self
        same = chooses_the_same(read_summary(run), self.rule, str(run.folder))
        return replace(self, rule=DEFAULT_RULE) if same else self

    def limit_examples(self, size: float) -> "Settings":
        """The settings for a split of `size` examples: a subset of all is the complete split."""
        if self.examples is None or self.examples < size:
            return self
        return replace(self, examples=None, complete=True)

    def count_examples(self, metric: str) -> int | None:
        """How many examples a metric is computed from; None: all of the split."""
        default = None if self.complete else METRIC_CHOICES[metric].examples
        return default if self.examples is None else self.examples

    def missing_from(self, results: Collection[str]) -> list[str]:
        """The requested metrics that have no result among these names."""
        return [metric for metric in self.metrics if self.result_name(metric) not in results]

    def result_name(self, metric: str) -> str:
        """The name of a result's files, without their suffixes."""
        # every setting that changes a result is in the name of its file
        mark = "" if self.rule == DEFAULT_RULE else RULE_MARK + self.rule
        return f"{self.split}-{metric}{METRIC_CHOICES[metric].name_details(self)}{mark}"

    @property
    def tolerated(self) -> str:
        return "" if self.tolerance is None else f"-T{self.tolerance:g}"

    @property
    def subset(self) -> str:
        return "" if self.examples is None else f"-N{self.examples}"

    @property
    def subset_of_default(self) -> str:
        """The subset of a metric that is by default not computed from all examples."""
        return "-all" if self.complete else self.subset


class MetricChoice(NamedTuple):
    """A value of --metrics: what the names of its results end in, and what it needs."""

    name_details: Callable[[Settings], str]
    needs_labels: bool = False
    examples: int | None = None  # without --examples; None: all


METRIC_CHOICES = {
    NLL: MetricChoice(
        lambda settings: f"-K{settings.samples}{settings.tolerated}{settings.subset}"
    ),
    PROBE: MetricChoice(
        lambda settings: "".join(f"-{budget}" for budget in settings.labels or ()),
        needs_labels=True,
    ),
    PASS_STATISTICS: MetricChoice(lambda settings: settings.subset),
    SAMPLES: MetricChoice(lambda settings: "" if settings.unknown else NO_UNKNOWN),
    DISENTANGLEMENT: MetricChoice(lambda settings: "", needs_labels=True),
    RECONSTRUCTION: MetricChoice(lambda settings: settings.subset),
    REVERSE_PPL: MetricChoice(lambda settings: ""),
    AMORTISATION: MetricChoice(
        lambda settings: settings.subset_of_default, examples=REFINED_EXAMPLES
    ),
}
