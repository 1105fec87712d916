"""The contract of every head in conf/head, on text, images and vectors."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import composed, rows
from torch import Tensor

from uncollapse import contract
from uncollapse.config import heads
from uncollapse.contract import KINDS, TINY_DATA, Case, has_no_posterior_weights, infer_trained
from uncollapse.errors import InputError
from uncollapse.interfaces.posterior import Posterior

ALL = heads()
# further models, for the tests of how a head fits into a model; its training is tested on the kinds
# above
FURTHER = {
    "pixels": (
        "model=image_pixelcnn",
        "model.hidden=8",
        "model.channels=4",
        "model.layers=2",
        "model.latent=4",
        "data=digits",
        *TINY_DATA,
    ),
}
SETTINGS = {**KINDS, **FURTHER}
# By default the first run on all kinds of data (one or two for each slot), the second on text, too,
# and all others only on vectors, which are cheap. One more kind for each head is slow.
ON_ALL_KINDS = ("plain", "bn_mu", "control")
ON_TEXT = (
    "vmf",
    "free_bits",
    "bow",
    "bn_mu_word_dropout",
    "lipschitz",
    "lm",
    "skip",
    "word_dropout",
)
REFUSED = {  # kinds of data for which a model refuses a head
    "word_dropout": ("vectors", "images"),
    "bn_mu_word_dropout": ("vectors", "images"),
    "lipschitz": ("pixels",),
}


def pairs(*kinds: str) -> list[Any]:
    """Heads with kinds of data: those that run by default, and one more kind for each head."""
    slow = {(head, kinds[number % len(kinds)]) for number, head in enumerate(ALL)}
    return [
        pytest.param(
            (head, kind),
            marks=() if runs_by_default(head, kind) else pytest.mark.slow,
            id=f"{head}-{kind}",
        )
        for head in ALL
        for kind in kinds
        if runs_by_default(head, kind) or (head, kind) in slow
    ]


def runs_by_default(head: str, kind: str) -> bool:
    if head in ON_ALL_KINDS or kind == "vectors":
        return True
    return kind in REFUSED.get(head, ()) or (head in ON_TEXT and kind == "text")


def cases(*kinds: str) -> Any:
    """A fixture of one case for each head and kind."""

    def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
        head, kind = request.param
        found = Case(head, SETTINGS[kind], tmp_path_factory.mktemp("runs"))
        try:
            found.parts()
        except InputError as error:  # covered by tests below
            pytest.skip(str(error))
        return found

    return pytest.fixture(case, scope="module", params=pairs(*kinds))


case, placed = cases(*KINDS), cases(*KINDS, *FURTHER)


# ---------------------------------------------------------------- configuration and initial weights


@pytest.mark.parametrize("head", ALL)
def test_head_changes_only_slots_label_and_knobs(head: str, tmp_path: Path) -> None:
    contract.check_what_is_changed(Case(head, (), tmp_path))


@pytest.mark.parametrize("pair", pairs(*KINDS, *FURTHER))
def test_model_refuses_only_unsupported_heads_in_one_sentence(
    pair: tuple[str, str], tmp_path: Path
) -> None:
    head, kind = pair
    asked, reasons = Case(head, SETTINGS[kind], tmp_path), []
    if kind in ("vectors", "images"):
        reasons += [
            rf"^word_dropout={p}: .*; use model=\w+$"
            for p in [composed(f"head={head}").decoder.word_dropout]
            if p
        ]
    if kind == "pixels":
        reasons += [
            rf"^inverse_lipschitz={x:g}: .*"
            for x in [composed(f"head={head}").get("inverse_lipschitz")]
            if x
        ]
    if not reasons:
        asked.parts()
        return
    with pytest.raises(InputError, match=reasons[0]) as error:
        asked.parts()
    assert "\n" not in str(error.value)


def test_initial_weights_equal_those_of_plain(placed: Case) -> None:
    contract.check_initial_weights(placed)


# ---------------------------------------------------------------- training


@pytest.mark.parametrize("init", ["1e-3", "null", "3.0"])
@pytest.mark.filterwarnings("ignore:.*variance below:UserWarning")
def test_finite_gradients_reach_every_parameter(placed: Case, init: str) -> None:
    if placed.setting == KINDS["text"]:
        contract.check_gradients(placed, 1.0, f"model.init={init}")
    else:
        contract.check_gradients(placed, {"1e-3": 1e-3, "null": 1.0, "3.0": 3.0}[init])


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [*pairs("vectors"), *((head, "text") for head in ON_TEXT)], indirect=True
)
def test_head_fits_a_single_batch(case: Case) -> None:
    is_text = case.setting == KINDS["text"]
    rate = "3e-2" if case.setting == KINDS["vectors"] else "1e-2"
    words = ("data.train=16", "trainer.epochs=80", "trainer.eval_every=80", f"trainer.lr={rate}")
    first, last = (row["rec"] for row in rows(case.run("learn", *words)) if row["split"] == "train")
    if not is_text and has_no_posterior_weights(
        case.parts().model
    ):  # the decoder reads z alone: it can learn the mean
        assert last < first
    else:
        assert last < 0.7 * first


# ---------------------------------------------------------------- runs


def test_run_keeps_its_kl_floor(case: Case) -> None:
    contract.check_floor(case)
    is_text = case.setting == KINDS["text"]
    assert all(("ppl" in row) == is_text for row in rows(case.full))


def test_loaded_weights_give_identical_evaluation(case: Case) -> None:
    contract.check_loaded_weights(case)


def test_twice_resumed_run_equals_uninterrupted_run(case: Case) -> None:
    contract.check_resuming(case)


# ---------------- density, sampler, KL and prior of a posterior agree


@pytest.fixture(scope="module")
def trained_posterior(case: Case) -> tuple[Posterior, Callable[[Tensor], Tensor]]:
    return infer_trained(case)


def test_posterior_shapes_agree_and_generators_are_used(trained_posterior: tuple) -> None:
    contract.check_shapes(trained_posterior[0])


def test_mean_and_variance_match_samples(trained_posterior: tuple) -> None:
    contract.check_moments(trained_posterior[0])


def test_mean_log_ratio_is_the_kl(trained_posterior: tuple) -> None:
    contract.check_kl(trained_posterior[0])


def test_densities_match_samplers(trained_posterior: tuple) -> None:
    contract.check_densities(trained_posterior[0])


def test_importance_weighting_tightens_the_bound(trained_posterior: tuple) -> None:
    contract.check_bound(*trained_posterior)
