"""One row of the catalogue of metrics: everything the package needs to know about a number."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from uncollapse.errors import InputError

# Stages: where a number is computed. The words for evaluations are those of `--metrics`.
PASS = "pass"  # one pass over a split: on every row of metrics.jsonl, and in the summary
NLL = "nll"  # evaluate --metrics nll
PROBE = "probe"  # evaluate --metrics probe
SAMPLES = "samples"  # evaluate --metrics samples, of a model of text
RESPONSES = "responses"  # evaluate --metrics samples, of a model of dialogues
TRAINING = "training"  # written by the training loop: on rows of metrics.jsonl
END = "end"  # in the summary: how training ended
REPORT = "report"  # computed by the report from numbers of several runs or rows

STAGES = (PASS, NLL, PROBE, SAMPLES, RESPONSES, TRAINING, END, REPORT)
WITHOUT_FUNCTION = (TRAINING, END, REPORT)  # these are computed by code of their own
NOT_NAMES = ("step", "epoch", "split", "mode", "weights")  # other keys of a row
USER_COLUMN = 150  # after the package's own metrics, before the relative time

Function = Callable[..., dict]


class Beside(NamedTuple):
    """A number in parentheses behind another one: '25.31 (ess 18.3)'."""

    label: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A number, as rows on disk, terminal lines, tables, the page and the documentation show it.

    `function` computes it, a reference such as "uncollapse.metrics.rates:rates", so that the
    catalogue can be imported without torch; `catalogue.add` also takes the function itself.
    Several metrics may have one function. InputError for a row that cannot be used.
    """

    name: str
    stage: str
    meaning: str  # one sentence: the definition
    pitfall: str = ""  # one sentence: how the number misleads
    title: str = ""  # of its column; the name where it is empty
    unit: str = "nats"
    better: Literal["lower", "higher"] | None = None
    digits: int | None = None  # in tables; None: as many as the number needs
    kind: Literal["number", "per dimension", "nested"] = "number"
    function: str | Function = ""
    optional: bool = False  # its function may leave it out, where it does not apply
    # its standard error over examples, `<name>_se`: none, on disk only, or in runs.csv as well
    error: Literal["none", "disk", "csv"] = "none"

    # ---- where it is shown
    line: str = ""  # format in the terminal line of an evaluation; empty: not shown
    result_line: bool = False  # shown when `evaluate` has computed it
    beside: tuple[Beside, ...] = ()  # what stands behind it in these lines
    every_row: bool = True  # of a pass: reports read it from all rows, not only from test rows
    in_csv: bool = True  # a column of runs.csv
    column: float | None = USER_COLUMN  # place in the summary, from left to right; None: not there
    in_text: bool = True  # shown in the summary on the page, not only in its csv
    in_terminal: bool = True  # shown in the summary on the terminal
    across_levels: bool = False  # in the summary only where runs differ in data.level
    paired: bool = False  # compared with plain, seed by seed
    compare_last: bool = False  # the last weights are compared with the best ones

    def __post_init__(self) -> None:
        if not self.name.isidentifier() or self.name in NOT_NAMES:
            raise InputError(
                f"metric {self.name!r}: a name is a Python identifier and none of "
                f"{', '.join(NOT_NAMES)}"
            )
        if self.stage not in STAGES:
            raise InputError(
                f"metric {self.name}: stage {self.stage!r} is none of {', '.join(STAGES)}"
            )
        if not self.meaning:
            raise InputError(
                f"metric {self.name}: `meaning` is empty; one sentence says what it is"
            )
        if bool(self.function) == (self.stage in WITHOUT_FUNCTION):
            wanted = "has no function" if self.function == "" else "takes no function"
            raise InputError(f"metric {self.name}: a row of stage {self.stage!r} {wanted}")

    @property
    def header(self) -> str:
        return self.title or self.name

    @property
    def keys(self) -> tuple[str, ...]:
        """What its function returns for it: the name, and that of its standard error."""
        return (self.name,) if self.error == "none" else (self.name, f"{self.name}_se")
