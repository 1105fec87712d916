"""The numbers of all runs of a study: `uncollapse.load_study(path)`."""

from pathlib import Path

from uncollapse.disk import resolve_path
from uncollapse.errors import check_choice
from uncollapse.report.results import Study, read_study
from uncollapse.runs.layout import check_is_study, is_pack
from uncollapse.runs.rules import DEFAULT_RULE, RULES


def load_study(path: str | Path, *, weights: str = DEFAULT_RULE) -> Study:
    """The study in a folder results/<study>, or in a pack alone: its frames `summary` and `rows`.

    weights: the rule whose weights the test metrics are of. InputError for any other path, and for
    weights that a run did not keep.
    """
    check_choice("weights", weights, RULES)
    path = Path(path)
    check_is_study(path if is_pack(path) else resolve_path(path))
    return read_study(path, weights)
