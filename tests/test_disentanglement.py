"""MIG and DCI: closed forms for known codes, and the evaluation of a run."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import folder_of, run_here
from sklearn.metrics import mutual_info_score

from uncollapse.errors import InputError
from uncollapse.evaluation.command import main
from uncollapse.evaluation.disentanglement import evaluate_disentanglement
from uncollapse.evaluation.settings import Settings
from uncollapse.metrics.disentanglement import (
    bin_values,
    mutual_information_gap,
    normalised_entropy,
    score_disentanglement,
    weigh_disentanglement,
)

CARDINALITIES = (2, 3, 5)
CODE_NAMES = ("mig", "dci_disentanglement", "dci_completeness", "dci_informativeness")


def draw_factors(n: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {f"f{c}": rng.integers(0, c, n) for c in CARDINALITIES}


def score(make_codes, n: int = 1500) -> dict:
    """Scores of codes that a function makes of factors [n, 3] and a generator."""
    sides = []
    for seed in (0, 1):
        factors = draw_factors(n, seed)
        table = np.stack(list(factors.values()), 1).astype(float)
        sides += [make_codes(table, np.random.default_rng(10 + seed)), factors]
    return score_disentanglement(*sides)


# ---------------------------------------------------------------- codes with known values


def test_code_equal_to_the_factors_scores_one() -> None:
    got = score(lambda f, rng: f)
    assert got["mig"] == pytest.approx(1, abs=0.01)  # other dimensions share by chance only
    for name in CODE_NAMES[1:]:
        assert got[name] == pytest.approx(1, abs=0.005), name


def test_order_sign_and_scale_of_dimensions_do_not_matter() -> None:
    got = score(lambda f, rng: f)
    moved = score(lambda f, rng: f[:, ::-1] * [-3.0, 0.01, 100.0] + 7.0)
    assert moved == pytest.approx(got, abs=0.005)


def test_rotated_code_scores_lower_and_stays_informative() -> None:
    rotation, _ = np.linalg.qr(np.random.default_rng(3).normal(0, 1, (3, 3)))

    def standardise(f: np.ndarray) -> np.ndarray:
        return (f - f.mean(0)) / f.std(0)

    got = score(lambda f, rng: standardise(f) @ rotation + rng.normal(0, 0.01, f.shape))
    assert got["mig"] < 0.5 and got["dci_disentanglement"] < 0.8 and got["dci_completeness"] < 0.8
    assert got["dci_informativeness"] > 0.95


def test_constant_code_scores_zero_and_chance() -> None:
    got = score(lambda f, rng: np.full((len(f), 4), 0.3))
    assert got["mig"] == got["dci_disentanglement"] == got["dci_completeness"] == 0
    chance = [np.mean(values == 0) for values in draw_factors(1500, 1).values()]
    assert got["dci_informativeness"] == pytest.approx(np.mean(chance), abs=0.05)


def test_noise_scores_almost_zero() -> None:
    got = score(lambda f, rng: rng.normal(0, 1, (len(f), 5)))
    assert 0 <= got["mig"] < 0.02
    assert 0 <= got["dci_disentanglement"] < 0.1 and 0 <= got["dci_completeness"] < 0.1


def test_factor_in_two_dimensions_has_no_gap_and_is_incomplete() -> None:
    got = score(lambda f, rng: f[:, [0, 0, 1, 1, 2, 2]] + rng.normal(0, 0.05, (len(f), 6)))
    # importances of equally good dimensions are shared: disentangled, not complete
    assert got["mig"] < 0.05 and got["dci_disentanglement"] > 0.9
    assert 0.3 < got["dci_completeness"] < 0.9


def test_dimension_with_all_factors_is_complete_and_entangled() -> None:
    """One dimension numbers the combinations of two factors; the other is constant."""
    rng = np.random.default_rng(0)
    factors = {"a": rng.integers(0, 2, 2000), "b": rng.integers(0, 2, 2000)}
    code = np.stack([2 * factors["a"] + factors["b"], np.zeros(2000)], 1).astype(float)
    got = score_disentanglement(code, factors, code, factors)
    assert got["dci_completeness"] == pytest.approx(1) and got["dci_informativeness"] == 1
    # both factors have the importance 1 in it
    assert got["dci_disentanglement"] == pytest.approx(0)
    assert got["mig"] == pytest.approx(1)


# ---------------------------------------------------------------- by hand


def test_gap_by_hand() -> None:
    """Eight examples: z_1 is the bit itself, z_2 agrees with it in six of eight cases."""
    bit = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    other = np.array([0, 0, 0, 1, 1, 1, 1, 0])
    shared = math.log(2) + 0.75 * math.log(0.75) + 0.25 * math.log(0.25)
    got = mutual_information_gap(np.stack([bit, other], 1).astype(float), [bit])
    assert got == pytest.approx((math.log(2) - shared) / math.log(2))
    alone = mutual_information_gap(other[:, None].astype(float), [bit])
    assert alone == pytest.approx(shared / math.log(2))


def test_bins_have_equal_width_and_hold_both_extremes() -> None:
    bins = bin_values(np.arange(201.0))
    assert bins.min() == 0 and bins.max() == 19
    assert np.bincount(bins).tolist() == [10] * 19 + [11]
    assert len(np.unique(bin_values(np.full(5, 2.0)))) == 1


def test_gap_counts_nats_of_bins() -> None:
    rng = np.random.default_rng(1)
    factor = rng.integers(0, 4, 500)
    codes = np.stack([factor + rng.normal(0, 1, 500), rng.normal(0, 1, 500)], 1)
    shared = [mutual_info_score(factor, bin_values(column)) for column in codes.T]
    entropy = mutual_info_score(factor, factor)
    assert mutual_information_gap(codes, [factor]) == pytest.approx(
        (shared[0] - shared[1]) / entropy
    )


def test_scores_of_importances_by_hand() -> None:
    """Rows (1, 1), (3, 0) and (0, 0): entropies 1, 0 and undefined, weights 2/5, 3/5 and 0."""
    importance = np.array([[1.0, 1.0], [3.0, 0.0], [0.0, 0.0]])
    np.testing.assert_allclose(normalised_entropy(importance), [1, 0, 1])
    assert weigh_disentanglement(importance) == pytest.approx(0.6)
    quarter = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75)) / math.log(3)
    np.testing.assert_allclose(normalised_entropy(importance.T), [quarter, 0], atol=1e-12)
    assert normalised_entropy(np.array([[2.0]])).tolist() == [0]


def test_workers_do_not_change_the_scores() -> None:
    rng = np.random.default_rng(0)
    factors = draw_factors(200, 0)
    codes = rng.normal(0, 1, (200, 4)) + factors["f3"][:, None]
    one, two = (score_disentanglement(codes, factors, codes, factors, n) for n in (1, 2))
    assert one == two


# ---------------------------------------------------------------- runs


def test_evaluation_adds_scores_to_the_summary(tmp_path: Path) -> None:
    run_here(tmp_path, "bn_mu", "trainer.epochs=1")
    folder = folder_of(tmp_path, "bn_mu")
    assert main([str(folder), "--metrics", "disentanglement", "--workers", "1"]) == 0
    stored = json.loads((folder / "evaluations/test-disentanglement.json").read_text())
    summary = json.loads((folder / "summary.json").read_text())
    for name in CODE_NAMES:
        assert 0 <= stored[name] <= 1 and summary[name] == stored[name]


def test_single_label_is_refused() -> None:
    labels = {"test": {"digit": np.arange(9), "constant": np.zeros(9, int)}}
    opened = SimpleNamespace(data=SimpleNamespace(labels=labels))
    with pytest.raises(InputError, match="the test split has 1 with more than"):
        evaluate_disentanglement(opened, Settings(("disentanglement",)))
    unlabelled = SimpleNamespace(data=SimpleNamespace(labels={}))
    with pytest.raises(InputError, match="test split has 0"):
        evaluate_disentanglement(unlabelled, Settings(("disentanglement",)))


def test_training_split_is_refused() -> None:
    with pytest.raises(InputError, match="disentanglement is fitted to the training split"):
        Settings(("disentanglement",), split="train").check()
    Settings(("nll", "disentanglement"), split="train").check()
