"""The same tests for every head in conf/head, on text, images and vectors.

They use what a run uses: the trainer's step, its checkpoints, and the encoding of evaluation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SMALL, composed, folder_of, rows, summary
from omegaconf import DictConfig
from scipy.stats import sem

from uncollapse.building import Parts, build_trainer, prepare
from uncollapse.config import SLOTS, heads, knobs_of
from uncollapse.console import Console
from uncollapse.errors import InputError
from uncollapse.metrics.likelihood import importance_weighted, log_weights
from uncollapse.metrics.one_pass import evaluate
from uncollapse.run import run
from uncollapse.runs.checkpoint import load_model
from uncollapse.runs.layout import Run
from uncollapse.training.trainer import Trainer

ALL = heads()
DIGITS = ("data=digits", "data.train=96", "data.valid=32", "data.test=32", "data.batch_size=16")
KINDS = {
    "text": tuple(SMALL),
    "vectors": (
        "model=linear",
        "model.latent=4",
        "data=gaussian",
        "data.train=96",
        "data.valid=32",
        "data.test=32",
        "data.batch_size=16",
    ),
    "images": ("model=image_mlp", "model.hidden=12", "model.latent=4", *DIGITS),
}
# further models, for the tests of how a head fits into a model; its training is tested on the kinds
# above
FURTHER = {
    "pixels": (
        "model=image_pixelcnn",
        "model.hidden=8",
        "model.channels=4",
        "model.layers=2",
        "model.latent=4",
        *DIGITS,
    ),
}
# durations of remedies, made short: something must happen within a few steps
SHORT = {"pretrain_epochs": 1, "inner_max": 6, "inner_check": 3, "svi_steps": 2}
# 24 steps in epochs of 6; checkpoints at 7, 14 and 21 lie within epochs
RUN = ("trainer.epochs=4", "trainer.eval_every=7", "trainer.lr=1e-2")
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


@cache
def config(*words: str) -> DictConfig:
    return composed(*words)


@dataclass
class Case:
    """One head on one kind of data; `folder` is for runs."""

    head: str
    kind: str
    folder: Path

    def words(self, *more: str) -> list[str]:
        short = [f"{knob}={SHORT[knob]}" for knob in sorted(knobs_of(self.head) & SHORT.keys())]
        return [*{**KINDS, **FURTHER}[self.kind], *short, *more]

    def parts(self, *more: str) -> Parts:
        return prepare(config(f"head={self.head}", *self.words(*more)), self.head)

    def run(self, name: str, *more: str) -> Path:
        """The folder of a run; the same name resumes the same run."""
        words = self.words(*more)
        cfg = config(f"head={self.head}", *words).copy()
        cfg.results = str(self.folder / name)
        run(cfg, self.head, words)
        return folder_of(self.folder / name, self.head)

    @cached_property
    def full(self) -> Path:
        """The folder of a short run from beginning to end, made once."""
        return self.run("full", *RUN)

    def trained(self) -> Parts:
        """Components with another initialisation, then loaded with the weights of that run."""
        fresh = self.parts(*RUN, "seed=9")
        load_model(self.full / "model.safetensors", fresh.model)
        return fresh


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
        found = Case(*request.param, tmp_path_factory.mktemp("runs"))
        try:
            found.parts()
        except InputError as error:  # covered by tests below
            pytest.skip(str(error))
        return found

    return pytest.fixture(case, scope="module", params=pairs(*kinds))


case, placed = cases(*KINDS), cases(*KINDS, *FURTHER)


def trainer_of(parts: Parts, folder: Path) -> Trainer:
    """The trainer of a run, without files."""
    silent: Any = None
    return build_trainer(parts, Run(folder), silent, seed=0, reporter=silent)


def one_step(trainer: Trainer, step: int) -> None:
    """One training step at a given position, on the first batch."""
    batch = trainer.data.batch("train", trainer.data.batches("train", 0, 0)[0])
    trainer.model.train()
    trainer.training.step = step
    loss = trainer.procedure.step(trainer.training, batch)
    trainer.objective.update(loss)


def has_no_posterior_weights(model: Any) -> bool:
    """Whether the posterior has no weights.

    Then there is no code, and nothing that an encoder could learn.
    """
    return not list(model.posterior.parameters())


# ---------------------------------------------------------------- configuration and initial weights


@pytest.mark.parametrize("head", ALL)
def test_head_changes_only_slots_label_and_knobs(head: str) -> None:
    plain, cfg = config("head=plain"), config(f"head={head}")
    changed = {str(k) for k in cfg if k not in plain or cfg[k] != plain[k]}
    assert changed <= {*SLOTS, "label", *knobs_of(head)}


@pytest.mark.parametrize("pair", pairs(*KINDS, *FURTHER))
def test_model_refuses_only_unsupported_heads_in_one_sentence(
    pair: tuple[str, str], tmp_path: Path
) -> None:
    head, kind = pair
    asked, reasons = Case(head, kind, tmp_path), []
    if kind in ("vectors", "images"):
        reasons += [
            rf"^word_dropout={p}: .*; use model=\w+$"
            for p in [config(f"head={head}").decoder.word_dropout]
            if p
        ]
    if kind == "pixels":
        reasons += [
            rf"^inverse_lipschitz={x:g}: .*"
            for x in [config(f"head={head}").get("inverse_lipschitz")]
            if x
        ]
    if not reasons:
        asked.parts()
        return
    with pytest.raises(InputError, match=reasons[0]) as error:
        asked.parts()
    assert "\n" not in str(error.value)


def test_initial_weights_equal_those_of_plain(placed: Case) -> None:
    case = placed
    plain, model = (
        Case("plain", case.kind, case.folder).parts().model.state_dict(),
        case.parts().model,
    )
    ours = model.state_dict()
    for name, weight in plain.items():
        if name.startswith("posterior.") and has_no_posterior_weights(model):
            continue
        assert torch.equal(weight, ours[name]), name


# ---------------------------------------------------------------- training


@pytest.mark.parametrize("init", ["1e-3", "null", "3.0"])
@pytest.mark.filterwarnings("ignore:.*variance below:UserWarning")
def test_finite_gradients_reach_every_parameter(placed: Case, init: str) -> None:
    case = placed
    if case.kind != "text":
        parts = case.parts()
        with torch.no_grad():
            for parameter in parts.model.parameters():
                parameter.mul_({"1e-3": 1e-3, "null": 1, "3.0": 3}[init])
    else:
        parts = case.parts(f"model.init={init}")
    trainer = trainer_of(parts, case.folder)
    own = parts.objective.named_parameters() if isinstance(parts.objective, torch.nn.Module) else ()
    named = {**dict(parts.model.named_parameters()), **{f"objective.{name}": p for name, p in own}}
    reached = set()

    def note(name: str) -> Callable[[torch.Tensor], None]:
        def hook(gradient: torch.Tensor) -> None:
            assert gradient.isfinite().all(), name
            reached.add(name)

        return hook

    for name, parameter in named.items():
        parameter.register_hook(note(name))
    encoder = (
        {id(p) for p in parts.model.parts()["encoder"]}
        if has_no_posterior_weights(parts.model)
        else set()
    )
    expected = {name for name, parameter in named.items() if id(parameter) not in encoder}
    for step in (0, 10 * trainer.length.per_epoch + 1):  # schedules begin and have ended
        reached.clear()
        one_step(trainer, step)
        assert reached == expected
    assert all(parameter.isfinite().all() for parameter in named.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [*pairs("vectors"), *((head, "text") for head in ON_TEXT)], indirect=True
)
def test_head_fits_a_single_batch(case: Case) -> None:
    rate = {"text": "1e-2", "vectors": "3e-2", "images": "1e-2"}[case.kind]
    words = ("data.train=16", "trainer.epochs=80", "trainer.eval_every=80", f"trainer.lr={rate}")
    first, last = (row["rec"] for row in rows(case.run("learn", *words)) if row["split"] == "train")
    if case.kind != "text" and has_no_posterior_weights(
        case.parts().model
    ):  # the decoder reads z alone: it can learn the mean
        assert last < first
    else:
        assert last < 0.7 * first


# ---------------------------------------------------------------- runs


def test_run_keeps_its_kl_floor(case: Case) -> None:
    trained = case.trained()
    promised = trained.model.posterior.floor()
    for row in rows(case.full):
        assert np.isfinite(row["nelbo"]) and (row["floor"] is None) == (promised is None)
        assert ("ppl" in row) == (case.kind == "text")
        if row["mode"] == "train" and promised is not None:
            assert row["kl_minus_floor"] > -1e-4


def test_loaded_weights_give_identical_evaluation(case: Case) -> None:
    trained, recorded = case.trained(), rows(case.full)[-2]
    again = evaluate(
        trained.model,
        trained.data,
        "test",
        "eval",
        encode=partial(trained.procedure.infer, trained.model),
    )
    assert again["kl_per_dim"] == recorded["kl_per_dim"] and again["rec"] == recorded["rec"]


class Stop(BaseException):
    """Stands for a power failure: nothing in the code under test may catch it."""


def test_twice_resumed_run_equals_uninterrupted_run(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    for last in (10, 16):  # the last checkpoints are of steps 7 and 14, an epoch has 6

        def cut(console: Console, step: int, *rest: object, last: int = last) -> None:
            if step == last:
                raise Stop

        with monkeypatch.context() as patch, pytest.raises(Stop):
            patch.setattr(Console, "stepped", cut)
            case.run("cut", *RUN)
    cut_twice, full = case.run("cut", *RUN), case.full
    assert rows(full) == rows(cut_twice) and summary(full) == summary(cut_twice)
    assert (full / "model.safetensors").read_bytes() == (
        cut_twice / "model.safetensors"
    ).read_bytes()
    clock = {"seconds": 0, "digest": ""}  # the digest covers times, too
    one, other = (
        torch.load(folder / "state.pt", weights_only=True) for folder in (full, cut_twice)
    )
    require_same({**one, **clock}, {**other, **clock})


def require_same(one: Any, other: Any, where: str = "state") -> None:
    """Nested dictionaries and lists of tensors, numbers and strings are equal bit for bit."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            require_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            require_same(a, b, f"{where}[{i}]")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    else:
        assert one == other, where


# ---------------- density, sampler, KL and prior of a posterior agree


@pytest.fixture(scope="module")
def trained_posterior(case: Case) -> tuple[Any, Callable[[torch.Tensor], torch.Tensor]]:
    """A trained posterior of 96 examples in evaluation mode, and decode.

    decode: z [n, B, D] -> -log p(x|z) [n, B]."""
    torch.manual_seed(0)
    parts = case.trained()
    parts.model.eval()
    batch = parts.data.batch("train", np.arange(96))
    with torch.no_grad():
        q = parts.procedure.infer(parts.model, batch, seeded(3))

    def decode(z: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return parts.model.nll(batch, z)

    return q, decode


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def test_posterior_shapes_agree_and_generators_are_used(trained_posterior: tuple) -> None:
    q, _ = trained_posterior
    count, latent = q.mean.shape
    assert q.variance.shape == (count, latent) and (q.variance >= 0).all()
    assert q.kl.shape in ((count, latent), (count, 1)) and q.kl.sum(-1).isfinite().all()
    z, prior = q.sample(5, seeded(1)), q.sample_prior(7, seeded(1))
    assert (
        q.sample().shape == (count, latent)
        and z.shape == (5, count, latent)
        and prior.shape == (7, latent)
    )
    assert torch.equal(z, q.sample(5, seeded(1))) and torch.equal(
        prior, q.sample_prior(7, seeded(1))
    )
    if q.variance.any():
        assert not torch.equal(z, q.sample(5, seeded(2))) and not torch.equal(
            prior, q.sample_prior(7, seeded(2))
        )

    together = q.log_ratio(z)
    assert together.shape == (5, count)
    for k in range(5):
        np.testing.assert_allclose(q.log_ratio(z[k]), together[k], rtol=1e-3, atol=1e-3)
    for b in (0, count - 1):  # each code under every posterior, including its own
        pairs = q.log_ratio(z[:, b : b + 1])
        assert pairs.shape == (5, count)
        np.testing.assert_allclose(pairs[:, b], together[:, b], rtol=1e-3, atol=1e-3)
    everywhere = q.log_ratio(prior[:, None])
    np.testing.assert_allclose(
        everywhere,
        q.log_ratio(prior[:, None].expand(7, count, latent).contiguous()),
        rtol=1e-3,
        atol=1e-3,
    )


@torch.no_grad()
def test_mean_and_variance_match_samples(trained_posterior: tuple) -> None:
    """Within a sixth: without a closed form they are estimates, too."""
    q, _ = trained_posterior
    z, spread = q.sample(500, seeded(1)), q.variance.sqrt()
    assert torch.equal(z.isfinite(), torch.ones_like(z, dtype=torch.bool))
    away = (z - q.mean)[:, :, spread.gt(0).all(0)] / spread[:, spread.gt(0).all(0)]
    assert (away.mean((0, 1)).abs() < 0.16).all() and (
        (away.square().mean((0, 1)) - 1).abs() < 0.16
    ).all()


@torch.no_grad()
def test_mean_log_ratio_is_the_kl(trained_posterior: tuple) -> None:
    q, _ = trained_posterior
    gap = q.kl.sum(-1).double() - q.log_ratio(q.sample(200, seeded(2))).double().mean(0)
    assert abs(gap.mean()) < 4.5 * sem(gap) + 1e-4


@torch.no_grad()
def test_densities_match_samplers(trained_posterior: tuple) -> None:
    """For any q, p and h: E_q[h p / (p + q)] = E_p[h q / (p + q)], here with h = 1 and h = z_d.

    Bridge identity of Meng & Wong 1996: p / (p + q) is the logistic function of minus the log
    ratio, hence bounded.
    """
    q, _ = trained_posterior
    z, prior = q.sample(1000, seeded(5)), q.sample_prior(1000, seeded(6))
    from_q, from_p = (
        torch.sigmoid(-q.log_ratio(z).double()),
        torch.sigmoid(q.log_ratio(prior[:, None]).double()),
    )
    h = torch.cat([torch.ones_like(z[..., :1]), z], -1)  # [1000, B, 1 + D]
    h_prior = torch.cat([torch.ones_like(prior[:, :1]), prior], -1)
    gaps = ((from_q[..., None] * h).mean(1) - from_p.mean(1, keepdim=True) * h_prior).numpy()
    error = sem(gaps)  # rows are independent
    if from_q.mean() < 0.02:
        # samples of p rarely fall where q is, and missed regions are not in the empirical error;
        # but E_p[(h q / (p + q))^2] is at most E_p[h^2 q / (p + q)] = E_q[h^2 p / (p + q)]
        error = np.sqrt((from_q[..., None] * h.square()).mean((0, 1)).numpy() / len(gaps))
    assert (np.abs(gaps.mean(0)) <= 5 * error + 1e-6).all()


def test_importance_weighting_tightens_the_bound(trained_posterior: tuple) -> None:
    """ELBO <= IWAE_1 = ELBO in expectation <= IWAE_64, errors paired over the examples."""
    q, decode = trained_posterior
    nelbo = (decode(q.sample(64, seeded(7))).mean(0) + q.kl.sum(-1)).detach().double().numpy()
    with torch.no_grad():
        one, many = (
            importance_weighted(log_weights(decode, q, k, seeded(8)))["nll"] for k in (1, 64)
        )
    for tighter in (nelbo - many, one - many):
        assert tighter.mean() > -4.5 * sem(tighter) - 1e-4
    assert abs((nelbo - one).mean()) < 4.5 * sem(nelbo - one) + 1e-4
