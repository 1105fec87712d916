"""`rate=4`: bisection over the knob of a head, by hand-made rates and by short runs."""

import math
from pathlib import Path

import pytest
from conftest import SMALL, folder_of, summary, type_command

from uncollapse.config.shorthands import Frontier
from uncollapse.errors import InputError
from uncollapse.rate_search import MOST_TRIALS, SEARCH_TOLERANCE, search


@pytest.mark.parametrize("rate", [0.5, 1.0, 3.3, 9.0])
def test_known_rate_is_found(rate: float) -> None:
    """The floor of the tau heads, -d/2 ln(1 - tau)."""
    tried = []

    def measure(tau: float) -> float:
        tried.append(tau)
        return -8 * math.log1p(-tau)

    found = search(measure, rate, Frontier("tau", (0.05, 0.3, 0.7)), "bn_tau")
    assert measure(found) == pytest.approx(rate, rel=2 * SEARCH_TOLERANCE)
    assert len(tried) <= 2 + MOST_TRIALS + 1 and len(set(tried[:-1])) == len(tried) - 1


def test_falling_knob_and_integers() -> None:
    found = search(lambda beta: 1 / beta, 3.0, Frontier("beta", (0.9, 0.5, 0.2)), "beta")
    assert 1 / found == pytest.approx(3, rel=0.1)
    assert search(lambda n: float(n), 5.2, Frontier("cycles", (1, 8)), "kl_cyclical") == 5


def test_rate_out_of_reach_names_the_span() -> None:
    with pytest.raises(InputError, match=r"rate=20: head=x reaches 0\.50 to 7\.00 nats, with tau"):
        search(lambda tau: 10 * tau, 20, Frontier("tau", (0.05, 0.7)), "x")


@pytest.mark.slow
def test_command_searches_then_trains(tmp_path: Path) -> None:
    words = ["head=bn_tau", "rate=4.5", *SMALL, "trainer.epochs=8", f"results={tmp_path}"]
    done = type_command(*words)
    assert done.returncode == 0, done.stderr
    assert (
        done.stdout.count("rate=4.5: tau=") >= 2
        and "rate=4.5: the full run has tau=" in done.stdout
    )
    found = summary(folder_of(tmp_path, "bn_tau"))
    assert set(found["overrides"]) >= {"tau"} and "rate" not in found["overrides"]
    trials = list((tmp_path / "scratch-rate/runs/bn_tau").glob("*/seed=0/done"))
    assert len(trials) >= 2
    again = type_command(*words)
    assert again.stdout.count("skipped: ") == len(trials) + 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["head=plain", "rate=4"], "rate=4: head=plain has no frontier (it has no knob)"),
        (["head=bn_tau", "rate=-1"], "rate=-1"),
        (["head=bn_tau", "rate=2", "tau=0.3"], "rate=2 and tau=0.3: both set tau"),
    ],
)
def test_impossible_requests_are_refused(words: list[str], says: str, tmp_path: Path) -> None:
    done = type_command(*words, *SMALL, f"results={tmp_path / 'r'}")
    assert done.returncode == 2 and says in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "r").exists()


@pytest.mark.slow
def test_rate_of_mdr_is_its_own_knob(tmp_path: Path) -> None:
    done = type_command("head=mdr", "rate=2", *SMALL, f"results={tmp_path}")
    assert done.returncode == 0, done.stderr
    assert summary(folder_of(tmp_path, "mdr"))["overrides"]["rate"] == 2
