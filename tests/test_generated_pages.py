"""docs/remedies.md says what the head files, the pack and the measured speeds say."""

import re
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT

from dev import remedies
from uncollapse import config

PAGE = (ROOT / "docs/remedies.md").read_text()
LISTED = re.findall(r"^### `(\w+)`$", PAGE, re.MULTILINE)


def test_page_of_remedies_is_current() -> None:
    # a head of one's own needs no section, see below
    listed = [name for name in config.heads() if name in LISTED]
    assert remedies.format_page(listed) == PAGE, "make docs"


# slow: a head of one's own passes `make test` without documentation; one of the package needs it
@pytest.mark.slow
def test_every_head_is_on_the_page() -> None:
    assert sorted(LISTED) == config.heads()


@pytest.mark.parametrize("head", LISTED)
def test_head_has_idea_source_cost_and_meaning_of_knobs(head: str) -> None:
    header = remedies.read_header(head)
    assert header["Idea"] and header["Source"]
    assert head in remedies.read_costs(), "python scripts/bench heads --json " + str(
        remedies.SPEEDS
    )
    knobs = remedies.read_knobs(head)
    assert knobs.keys() == config.knobs_of(head)
    for knob, (_, meaning) in knobs.items():
        assert meaning, f"conf/head/{head}.yaml: {knob} has no comment"


@pytest.fixture
def own_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A head file in a config folder of its own."""
    (tmp_path / "head").mkdir()
    (tmp_path / "head/mine.yaml").write_text(
        "# @package _global_\n"
        "# Codes z_{j-1} are\n# squared: |z| * [2].\n"
        "# Promise: KL >= rate, if\n#   any.\n"
        "# Source: A & B, 2020:\n#   section 3.\n"
        "# Something else.\n"
        "# Minutes: 3\n"
        "label: mine\nanneal_epochs: 2  # how long\nanneal: null  # as a share\nplace: 0.5\n"
        "objective:\n  weight: ${place}\n"
    )
    monkeypatch.setattr(config, "CONF", tmp_path)
    return "mine"


def test_header_is_read_line_by_line(own_head: str) -> None:
    assert remedies.read_header(own_head) == {
        "Idea": "Codes z_{j-1} are squared: |z| * [2].",
        "Promise": "KL >= rate, if any.",
        "Source": "A & B, 2020: section 3.",
        "Note": "Something else.",
        "Minutes": "3",
    }


def test_lengths_with_two_names_are_one_knob(own_head: str) -> None:
    items = ["- `anneal_epochs` (2) or `anneal`: how long", "- `place` (0.5): "]
    assert remedies.describe_knobs(own_head) == items


def test_head_without_runs_or_speed_is_not_measured(own_head: str) -> None:
    row = remedies.format_row(own_head, make_runs(), {})
    assert row == "| [`mine`](#mine) | mine | KL >= rate, if any | not measured | not measured |"
    section = remedies.format_section(own_head, make_runs(), {})
    assert "**nll - plain**: not measured." in section
    assert r"Codes z\_{j-1} are squared: |z| \* \[2\]." in section


def test_combination_inherits_promise_and_knobs() -> None:
    assert remedies.find_promise("bn_tau_cyclical") == remedies.find_promise("bn_tau") != ""
    assert remedies.read_knobs("bn_tau_cyclical").keys() == {"tau", "cycles", "ramp"}
    assert remedies.name_group("bn_tau_cyclical") == "Combinations"


def make_runs(*runs: tuple[int, str, float, int]) -> pd.DataFrame:
    """Finished runs of a head: group, knob, nll minus plain's, whether it had converged."""
    columns = ("order", "override_list", "d_nll", "converged")
    frame = pd.DataFrame([(order, [text], *rest) for order, text, *rest in runs], columns=columns)
    return frame.assign(head="mine", mi=2.0, kl=3.0, shuffle_gap=4.0)


def test_verdict_is_that_of_the_value_with_most_seeds() -> None:
    runs = make_runs((1, "a=1", 5.0, 1), (2, "a=2", 0.1, 1), (2, "a=2", 0.3, 0), (3, "a=3", 7.0, 1))
    # t at 97.5 % with one degree of freedom is 12.706: 12.706 * 0.1414 / sqrt(2)
    assert remedies.format_verdict(runs) == "+0.20 ± 1.27 § at mi 2.0 (`a=2`, 2 seeds)"
    table = remedies.format_measured(runs).splitlines()[2:]
    assert table[0] == "| `a=1` | 1 | 3.00 | 2.00 | 4.00 | +5.00 |" and len(table) == 3


def test_cost_of_a_head_that_changes_in_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speeds = tmp_path / "heads.json"
    speeds.write_text(
        '{"heads": {"steps": {"a": {"ratio": 36.6}, "a, afterwards": {"ratio": 1.004}}}}'
    )
    monkeypatch.setattr(remedies, "SPEEDS", speeds)
    assert remedies.read_costs() == {"a": "37, later 1.00"}
