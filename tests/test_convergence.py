"""Convergence: gains of spans, training until a plateau, and what the summary says of it."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import composed, folder_of, run_here, run_interrupted
from hypothesis import given
from hypothesis import strategies as st

from uncollapse.building import prepare
from uncollapse.errors import InputError
from uncollapse.training.convergence import assess_convergence, measure_gain, predict_gain

HALVING = [(float(epoch), 2.0**-epoch) for epoch in range(9)]  # the distance halves every epoch


def read_summary(results: Path, head: str) -> dict:
    return json.loads((folder_of(results, head) / "summary.json").read_text())


# ---------------------------------------------------------------- gains


def test_gain_of_known_descent() -> None:
    assert measure_gain(HALVING, 0, 2) == 2**-6 - 2**-8
    assert measure_gain(HALVING, 6, 2) == 2**-6 - 2**-8
    assert measure_gain(HALVING, 6.5, 2) is None  # the span began before the schedules ended
    assert measure_gain(HALVING[:1], 0, 2) is measure_gain([], 0, 2) is None


def test_geometric_descent_is_predicted_exactly() -> None:
    assert predict_gain(HALVING, 0, 2) == pytest.approx(2**-8 - 2**-10)
    assert predict_gain(HALVING, 6, 2) == measure_gain(HALVING, 6, 2)  # one span alone


def test_noise_above_the_best_is_no_loss() -> None:
    history = [(0.0, 3.0), (1.0, 2.0), (2.0, 2.5), (3.0, 2.2)]
    assert measure_gain(history, 0, 2) == 0
    assert assess_convergence(history, 0, 2, 0.01).converged


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30),
    st.floats(0, 20),
    st.floats(0.1, 10),
)
def test_gains_are_never_negative(values: list[float], start: float, span: float) -> None:
    history = [(float(epoch), value) for epoch, value in enumerate(values)]
    gain, predicted = measure_gain(history, start, span), predict_gain(history, start, span)
    assert (gain is None) == (predicted is None)
    if gain is not None and predicted is not None:
        assert 0 <= predicted <= gain
    # evaluations before the start do not matter
    shifted = [(epoch, value + 1e3 * (epoch < start - 1e-6)) for epoch, value in history]
    assert measure_gain(shifted, start, span) == gain


# ---------------------------------------------------------------- runs

PLATEAU = ("trainer.until=plateau", "trainer.epochs=30", "trainer.plateau_span=2")


def test_run_stops_at_plateau_and_says_so(tmp_path: Path) -> None:
    run_here(tmp_path, "plain", *PLATEAU, "trainer.plateau_gain=2")
    found = read_summary(tmp_path, "plain")
    assert found["converged"] and found["step"] < found["steps_planned"]
    assert 0 <= found["next_gain"] <= found["span_gain"] < 2


def test_plateau_counts_only_after_the_schedule(tmp_path: Path) -> None:
    run_here(tmp_path, "kl_anneal", *PLATEAU, "trainer.plateau_gain=100", "anneal_epochs=5")
    found = read_summary(tmp_path, "kl_anneal")
    assert found["converged"] and found["step"] == 6 * (5 + 2)
    assert found["best_step"] >= 6 * 5


def test_cap_without_plateau_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = ("trainer.until=plateau", "trainer.epochs=3", "trainer.plateau_span=2")
    run_here(tmp_path, "plain", *words, "trainer.plateau_gain=1e-9")
    found, out = read_summary(tmp_path, "plain"), capsys.readouterr().out
    assert not found["converged"] and found["step"] == found["steps_planned"]
    assert "trainer.until=plateau: no plateau within 3 epochs, the most allowed" in out
    assert f"{found['span_gain']:.3f} nats" in out


def test_run_too_short_for_a_span_is_not_converged(tmp_path: Path) -> None:
    run_here(tmp_path, "plain")
    found = read_summary(tmp_path, "plain")
    assert found["converged"] is False and found["span_gain"] is None


def read_rates(results: Path) -> list[float]:
    """The lr of the last step before each validation row."""
    lines = (folder_of(results, "plain") / "metrics.jsonl").read_text().splitlines()
    return [row["lr"] for row in map(json.loads, lines) if row["split"] == "valid"]


def test_lr_falls_to_zero_after_the_plateau(tmp_path: Path) -> None:
    words = (*PLATEAU, "trainer.plateau_gain=100", "trainer.cooldown=2")
    run_here(tmp_path, "plain", *words)
    # a span of two epochs, then two of six steps each; the row after step n has the lr of step n-1
    np.testing.assert_allclose(read_rates(tmp_path), [2e-3] * 3 + [2e-3 * 7 / 12, 2e-3 / 12])
    found = read_summary(tmp_path, "plain")
    assert found["converged"] and found["step"] == 6 * 4


def test_cooldown_ends_at_the_cap_without_a_plateau(tmp_path: Path) -> None:
    words = ("trainer.epochs=4", "trainer.cooldown=1", "trainer.plateau_span=2")
    run_here(tmp_path, "plain", *words, "trainer.plateau_gain=1e-9")
    np.testing.assert_allclose(read_rates(tmp_path), [2e-3] * 4 + [2e-3 / 6])
    found = read_summary(tmp_path, "plain")
    assert found["converged"] is False and found["span_gain"] > 0


def test_gain_of_the_cooldown_is_not_counted(tmp_path: Path) -> None:
    words = ("trainer.epochs=4", "trainer.plateau_span=2")
    run_here(tmp_path / "without", "plain", *words)
    run_here(tmp_path / "with", "plain", *words, "trainer.cooldown=1")
    run_here(tmp_path / "shorter", "plain", "trainer.epochs=3", "trainer.plateau_span=2")
    gains = {
        name: read_summary(tmp_path / name, "plain")["span_gain"]
        for name in ("without", "with", "shorter")
    }
    assert gains["with"] == gains["shorter"] != gains["without"]


@pytest.mark.parametrize("stop", [20, *(pytest.param(n, marks=pytest.mark.slow) for n in (7, 33))])
def test_resumed_run_stops_at_the_same_plateau(stop: int, tmp_path: Path) -> None:
    words = (*PLATEAU, "trainer.plateau_gain=1.5", "trainer.cooldown=3", "trainer.lr=5e-2")
    run_here(tmp_path / "full", "rms_tau", *words)
    run_interrupted(tmp_path / "cut", "rms_tau", *words, step=stop)
    run_here(tmp_path / "cut", "rms_tau", *words)
    full, again = (read_summary(tmp_path / name, "rms_tau") for name in ("full", "cut"))
    assert full["step"] > stop and full["converged"]
    for key in ("step", "best_step", "span_gain", "next_gain", "nelbo"):
        assert full[key] == again[key]


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("trainer.until=forever", "epochs, plateau"),
        ("trainer.plateau_span=0", "trainer.plateau_span=0"),
        ("trainer.plateau_gain=-1", "trainer.plateau_gain=-1"),
        ("trainer.cooldown=-1", "trainer.cooldown=-1"),
        ("trainer.cooldown=99", "trainer.cooldown=99"),
        ("trainer.cooldown=1 trainer.decay_patience=2", "give one of them"),
    ],
)
def test_bad_settings_are_refused(word: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        prepare(composed("head=plain", *word.split()), "plain")
