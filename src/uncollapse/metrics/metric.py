"""One row of the catalogue of metrics: everything that the package knows about a metric."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from uncollapse.errors import InputError
from uncollapse.json_types import JsonObject

# Stages: where a metric is computed
PASS = "pass"  # in one pass over a split: in every row of metrics.jsonl, and in the summary
NLL = "nll"  # by `evaluate --metrics nll`
PROBE = "probe"  # by `evaluate --metrics probe`
AMORTISATION = "amortisation"  # by `evaluate --metrics amortisation`
SAMPLES = "samples"  # by `evaluate --metrics samples`, for a model of text
RESPONSES = "responses"  # by `evaluate --metrics samples`, for a model of dialogue
DISENTANGLEMENT = "disentanglement"  # by `evaluate --metrics disentanglement`
RECONSTRUCTION = "reconstruction"  # by `evaluate --metrics reconstruction`, for a model of text
REVERSE_PPL = "reverse_ppl"  # by `evaluate --metrics reverse_ppl`, for a model of text
TRAINING = "training"  # by the training loop: in rows of metrics.jsonl (test rows: few)
END = "end"  # when training ends: in the summary
REPORT = "report"  # by the report, from several runs or rows

# stages that only `evaluate` computes, for finished runs
EVALUATED = (
    NLL,
    PROBE,
    AMORTISATION,
    SAMPLES,
    RESPONSES,
    DISENTANGLEMENT,
    RECONSTRUCTION,
    REVERSE_PPL,
)
STAGES = (PASS, *EVALUATED, TRAINING, END, REPORT)
PASS_STATISTICS = "statistics"  # no stage: `evaluate --metrics statistics` repeats those of a pass
WITHOUT_FUNCTION = (REPORT,)  # computed outside the catalogue
RESERVED_KEYS = ("step", "epoch", "split", "mode", "weights")  # other keys of a row
USER_COLUMN = 150  # after the package's own metrics, before the relative time

Function = Callable[..., JsonObject]


class Beside(NamedTuple):
    """A metric shown in parentheses after another one: '25.31 (ess 18.3)'."""

    label: str
    name: str
    line: str = ".2f"  # its format in the line that training prints


class LineUnit(NamedTuple):
    """How the line that training prints shows a value with a unit: '12.3 ms/step'."""

    factor: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric, as rows on disk, terminal lines, tables, the page and the documentation show it.

    `function` computes it: a function, or a reference such as "uncollapse.metrics.rates:rates",
    which lets the catalogue be imported without torch. Several metrics may share a function.
    InputError for an invalid row.
    """

    # a row must state the first three; without them it is refused below, by name
    name: str = ""
    stage: str = ""
    meaning: str = ""  # its definition, usually one sentence
    pitfall: str = ""  # how it can mislead
    title: str = ""  # of its column; if empty, the name
    unit: str = "nats"
    better: Literal["lower", "higher"] | None = None
    digits: int | None = None  # after the point in tables; None: as many as the value needs
    kind: Literal["number", "per dimension", "nested"] = "number"
    function: str | Function = ""
    optional: bool = False  # its function may omit it where it does not apply
    # its standard error over examples, `<name>_se`: none, on disk only, or also in runs.csv
    error: Literal["none", "disk", "csv"] = "none"

    # of several results, the one with the largest values of these metrics, compared in the order of
    # their ranks, is at the top level of the summary
    size_rank: int | None = None

    # ---- where it is shown
    line: str = ""  # format in the line that training prints per evaluation; empty: not shown
    result_line: bool = False  # shown in the line that `evaluate` prints
    line_unit: LineUnit | None = None  # shown in that line instead of the name
    beside: tuple[Beside, ...] = ()  # shown in parentheses after it in these lines
    every_row: bool = True  # stage "pass": reports read it from all rows, not only from test rows
    in_csv: bool = True  # a column of runs.csv
    column: float | None = USER_COLUMN  # position in the summary table; None: not in it
    in_text: bool = True  # in the summary on the page, not only in its csv
    in_terminal: bool = True  # in the summary on the terminal
    across_levels: bool = False  # in the summary only where runs differ in data.level
    paired: bool = False  # compared with plain, seed by seed
    compare_last: bool = False  # compared between the last and the best weights
    bound: bool = False  # where nll has few effective samples: a bound, marked ≤

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or self.name in RESERVED_KEYS:
            raise InputError(
                f"metric {self.name!r}: a name is a Python identifier and none of "
                f"{', '.join(RESERVED_KEYS)}"
            )
        if self.stage not in STAGES:
            raise InputError(
                f"metric {self.name}: stage {self.stage!r} is none of {', '.join(STAGES)}"
            )
        if not self.meaning:
            raise InputError(
                f"metric {self.name}: `meaning` is empty; one sentence says what it is"
            )
        # either the catalogue calls a function, or the metric is computed elsewhere
        if bool(self.function) == (self.stage in WITHOUT_FUNCTION):
            wanted = "needs a function" if self.function == "" else "takes no function"
            raise InputError(f"metric {self.name}: a row of stage {self.stage!r} {wanted}")
        try:
            format(0, self.line)
        except ValueError as error:
            raise InputError(
                f"metric {self.name}: line={self.line!r} is not a format of numbers such as '.2f'"
            ) from error

    @property
    def header(self) -> str:
        """The title of its column."""
        return self.title or self.name

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that its function returns for it: its name, and that of its standard error."""
        return (self.name,) if self.error == "none" else (self.name, f"{self.name}_se")
