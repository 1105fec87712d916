"""What every head and every model must do, as checks that your own tests can call.

    from uncollapse import contract

    contract.check_head("my_head", "text", tmp_path)
    contract.check_model("my_model", tmp_path, "data=my_data")

A check trains a tiny model for a few steps as a run does: with the trainer's step, its checkpoints,
and the encoding of evaluation. AssertionError, or the InputError of a refused config, says what
does not hold.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from omegaconf import DictConfig
from scipy.stats import sem
from torch import Tensor

from uncollapse import config
from uncollapse.building import Parts, build_trainer, prepare
from uncollapse.config import SLOTS, knobs_of
from uncollapse.config.overrides import compose_config
from uncollapse.console import Console
from uncollapse.interfaces.model import Model
from uncollapse.interfaces.posterior import Posterior
from uncollapse.metrics.likelihood import importance_weighted, log_weights
from uncollapse.metrics.one_pass import evaluate
from uncollapse.plugins import read_project
from uncollapse.run import run
from uncollapse.runs.checkpoint import load_model
from uncollapse.runs.layout import ROWS_FILE, STATE, SUMMARY, WEIGHTS, Run
from uncollapse.training.trainer import Trainer

TINY_DATA = ("data.train=96", "data.valid=32", "data.test=32", "data.batch_size=16")
TINY_TEXT_MODEL = ("model.embedding=8", "model.hidden=12", "model.latent=4")
# kind of data -> words for a tiny model of such data
KINDS = {
    "text": (*TINY_DATA, *TINY_TEXT_MODEL),
    "vectors": ("model=linear", "model.latent=4", "data=gaussian", *TINY_DATA),
    "images": (
        "model=image_mlp",
        "model.hidden=12",
        "model.latent=4",
        "data=digits",
        *TINY_DATA,
    ),
}
# durations of remedies, made short: something must happen within a few steps
SHORT = {"pretrain_epochs": 1, "inner_max": 6, "inner_check": 3, "svi_steps": 2}
# 24 steps in epochs of 6; checkpoints at 7, 14 and 21 lie within epochs
RUN = ("trainer.epochs=4", "trainer.eval_every=7", "trainer.lr=1e-2")
EPOCH, LAST_STEPS = 6, (10, 16)  # steps in an epoch; where the runs that are resumed are cut
# with which heads a model is checked: one for each slot, and two that use batch statistics
MODEL_HEADS = ("plain", "bn_mu", "bn_tau", "free_bits", "aggressive", "vmf")
# of rows and summaries: what differs between two equal runs
CIRCUMSTANCES = (
    "seconds",
    "seconds_per_step",
    "wall_seconds",
    "peak_memory_mb",
    "commit",
    "tree_changed",
    "study",
)


@dataclass
class Case:
    """A head on tiny data, described by override words; `folder` is for runs."""

    head: str
    setting: tuple[str, ...]
    folder: Path

    def words(self, *more: str) -> list[str]:
        """The override words of this case, and more."""
        short = [f"{knob}={SHORT[knob]}" for knob in sorted(knobs_of(self.head) & SHORT.keys())]
        return [*self.setting, *short, *more]

    def config(self, *more: str) -> DictConfig:
        words = (f"head={self.head}", *self.words(*more))
        return compose_config(config.CONF, words).copy()

    def parts(self, *more: str) -> Parts:
        return prepare(self.config(*more), self.head)

    def run(self, name: str, *more: str) -> Path:
        """The folder of a run; the same name resumes the same run."""
        cfg = self.config(*more)
        cfg.results = str(self.folder / name)
        run(without_hydra(cfg), self.head, self.words(*more))
        (found,) = (self.folder / name / "scratch/runs" / self.head).glob("*/seed=0")
        return found

    @cached_property
    def full(self) -> Path:
        """The folder of a short run from beginning to end, made once."""
        return self.run("full", *RUN)

    def trained(self) -> Parts:
        """Components with another initialisation, then loaded with the weights of that run."""
        fresh = self.parts(*RUN, "seed=9")
        load_model(self.full / WEIGHTS, fresh.model)
        return fresh


def without_hydra(cfg: DictConfig) -> DictConfig:
    """The config that a job of Hydra gets: without its own section."""
    return DictConfig({key: cfg._get_node(key) for key in cfg if key != "hydra"})


# ---------------------------------------------------------------- all checks


def check_head(head: str, kind: str, folder: Path, *words: str) -> None:
    """Every check of a head on a kind of data: text, vectors or images.

    `words` are further overrides, such as `model=my_model`.
    """
    read_project()
    check_case(Case(head, (*KINDS[kind], *words), folder))


def check_model(model: str, folder: Path, *words: str) -> None:
    """Every check of a model, with some heads. `words`: overrides that make model and data tiny."""
    read_project()
    for head in MODEL_HEADS:
        check_case(Case(head, (f"model={model}", *words), folder / head))


def check_case(case: Case) -> None:
    """Every check."""
    check_what_is_changed(case)
    check_initial_weights(case)
    check_gradients(case)
    check_floor(case)
    check_loaded_weights(case)
    check_resuming(case)
    q, decode = infer_trained(case)
    for check in (check_shapes, check_moments, check_kl, check_densities):
        check(q)
    check_bound(q, decode)


# ---------------------------------------------------------------- configuration and initial weights


def check_what_is_changed(case: Case) -> None:
    """A head changes only slots, its label and its knobs."""
    plain, cfg = Case("plain", case.setting, case.folder).config(), case.config()
    changed = {str(k) for k in cfg if k not in plain or cfg[k] != plain[k]}
    allowed = {*SLOTS, "label", "hydra", *knobs_of(case.head)}
    assert changed <= allowed, f"head={case.head} sets {', '.join(sorted(changed - allowed))}"


def check_initial_weights(case: Case) -> None:
    """Weights that plain has as well start from the same values."""
    plain = Case("plain", case.setting, case.folder).parts().model.state_dict()
    model = case.parts().model
    ours = model.state_dict()
    for name, weight in plain.items():
        if name.startswith("posterior.") and has_no_posterior_weights(model):
            continue
        assert torch.equal(weight, ours[name]), f"{name} starts from other values than in plain"


def has_no_posterior_weights(model: Model) -> bool:
    """Whether the posterior has no weights.

    Then there is no code, and nothing that an encoder could learn.
    """
    return not list(model.posterior.parameters())


# ---------------------------------------------------------------- training


def make_trainer(parts: Parts, folder: Path) -> Trainer:
    """The trainer of a run, without files."""
    silent: Any = None
    return build_trainer(parts, Run(folder), silent, seed=0, reporter=silent)


def make_one_step(trainer: Trainer, step: int) -> None:
    """One training step at a given position, on the first batch."""
    batch = trainer.data.batch("train", trainer.data.batches("train", 0, 0)[0])
    trainer.model.train()
    trainer.training.step = step
    loss = trainer.procedure.step(trainer.training, batch)
    trainer.objective.update(loss)


def check_gradients(case: Case, scale: float = 1.0, *words: str) -> None:
    """Finite gradients reach every parameter, before and after schedules; weights times scale."""
    parts = case.parts(*words)
    with torch.no_grad():
        for parameter in parts.model.parameters():
            parameter.mul_(scale)
    trainer = make_trainer(parts, case.folder)
    own = parts.objective.named_parameters() if isinstance(parts.objective, torch.nn.Module) else ()
    named = {**dict(parts.model.named_parameters()), **{f"objective.{name}": p for name, p in own}}
    reached: set[str] = set()
    for name, parameter in named.items():
        parameter.register_hook(partial(note_gradient, name, reached))
    # without a code nothing reaches the encoder
    unused = parts.model.parts()["encoder"] if has_no_posterior_weights(parts.model) else []
    expected = named.keys() - {n for n, p in named.items() if any(p is other for other in unused)}
    for step in (0, 10 * trainer.length.per_epoch + 1):  # schedules begin and have ended
        reached.clear()
        make_one_step(trainer, step)
        assert reached == expected, f"no gradient of {', '.join(sorted(expected - reached))}"
    for name, parameter in named.items():
        assert parameter.isfinite().all(), f"{name} is not finite after a step"


def note_gradient(name: str, reached: set[str], gradient: Tensor) -> None:
    """Note that a finite gradient reached a parameter."""
    assert gradient.isfinite().all(), f"the gradient of {name} is not finite"
    reached.add(name)


# ---------------------------------------------------------------- runs


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of a run without times, so that two runs can be compared."""
    lines = (folder / ROWS_FILE).read_text().splitlines()
    return [drop_circumstances(json.loads(line)) for line in lines]


def drop_circumstances(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key not in CIRCUMSTANCES}


def check_floor(case: Case) -> None:
    """Rows are finite, and in training mode the KL is never below the floor that is promised."""
    promised = case.trained().model.posterior.floor()
    for row in read_rows(case.full):
        assert np.isfinite(row["nelbo"]), f"nelbo {row['nelbo']}"
        assert (row["floor"] is None) == (promised is None)
        if row["mode"] == "train" and promised is not None:
            assert row["kl_minus_floor"] > -1e-4, f"kl {row['kl']} is below {row['floor']}"


def check_loaded_weights(case: Case) -> None:
    """Another model with the weights of a run has the same metrics."""
    trained, recorded = case.trained(), read_rows(case.full)[-2]
    infer = partial(trained.procedure.infer, trained.model)
    again = evaluate(trained.model, trained.data, "test", "eval", encode=infer)
    for name in ("kl_per_dim", "rec"):
        assert again[name] == recorded[name], f"{name} of the loaded weights differs"


class Stop(BaseException):
    """Stands for a power failure: nothing in the code under test may catch it."""


def check_resuming(case: Case) -> None:
    """A run that was cut off twice equals an uninterrupted one bit for bit."""
    for last in LAST_STEPS:
        try:
            with patch.object(Console, "stepped", partial(stop_at, last)):
                case.run("cut", *RUN)
        except Stop:
            continue
        raise AssertionError("the run ended before it was cut off")
    cut, full = case.run("cut", *RUN), case.full
    assert read_rows(full) == read_rows(cut), "rows of the resumed run differ"
    ends = [drop_circumstances(json.loads((f / SUMMARY).read_text())) for f in (full, cut)]
    assert ends[0] == ends[1], "the summary of the resumed run differs"
    assert (full / WEIGHTS).read_bytes() == (cut / WEIGHTS).read_bytes(), "weights differ"
    clock = {"seconds": 0, "digest": ""}  # the digest covers times, too
    states = [torch.load(folder / STATE, weights_only=True) for folder in (full, cut)]
    require_same({**states[0], **clock}, {**states[1], **clock})


def stop_at(last: int, step: int, *_: object) -> None:
    if step == last:
        raise Stop


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
    elif isinstance(one, Tensor):
        assert torch.equal(one, other), where
    else:
        assert one == other, where


# ---------------- density, sampler, KL and prior of a posterior agree


def infer_trained(case: Case) -> tuple[Posterior, Callable[[Tensor], Tensor]]:
    """A trained posterior of 96 examples in evaluation mode, and decode.

    decode: z [n, B, D] -> -log p(x|z) [n, B]."""
    torch.manual_seed(0)
    parts = case.trained()
    parts.model.eval()
    batch = parts.data.batch("train", np.arange(96))
    with torch.no_grad():
        q = parts.procedure.infer(parts.model, batch, seeded(3))

    def decode(z: Tensor) -> Tensor:
        with torch.no_grad():
            return parts.model.nll(batch, z)

    return q, decode


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@torch.no_grad()
def check_shapes(q: Posterior) -> None:
    """Shapes agree, generators are used, and log_ratio broadcasts."""
    count, latent = q.mean.shape
    assert q.variance.shape == (count, latent) and (q.variance >= 0).all()
    assert q.kl.shape in ((count, latent), (count, 1)) and q.kl.sum(-1).isfinite().all()
    z, prior = q.sample(5, seeded(1)), q.sample_prior(7, seeded(1))
    assert q.sample().shape == (count, latent)
    assert z.shape == (5, count, latent) and prior.shape == (7, latent)
    assert torch.equal(z, q.sample(5, seeded(1))), "sample does not use its generator"
    assert torch.equal(prior, q.sample_prior(7, seeded(1)))
    if q.variance.any():
        assert not torch.equal(z, q.sample(5, seeded(2)))
        assert not torch.equal(prior, q.sample_prior(7, seeded(2)))
    close = partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-3)
    together = q.log_ratio(z)
    assert together.shape == (5, count)
    for k in range(5):
        close(q.log_ratio(z[k]), together[k])
    for b in (0, count - 1):  # each code under every posterior, including its own
        pairs = q.log_ratio(z[:, b : b + 1])
        assert pairs.shape == (5, count)
        close(pairs[:, b], together[:, b])
    everywhere = prior[:, None].expand(7, count, latent).contiguous()
    close(q.log_ratio(prior[:, None]), q.log_ratio(everywhere))


@torch.no_grad()
def check_moments(q: Posterior) -> None:
    """Mean and variance match samples, within a sixth: without a closed form they are estimates."""
    z, spread = q.sample(500, seeded(1)), q.variance.sqrt()
    assert z.isfinite().all()
    spreads = spread.gt(0).all(0)
    away = (z - q.mean)[:, :, spreads] / spread[:, spreads]
    assert (away.mean((0, 1)).abs() < 0.16).all(), "the mean is not that of samples"
    squares = away.square().mean((0, 1))
    assert ((squares - 1).abs() < 0.16).all(), "the variance is not that of samples"


@torch.no_grad()
def check_kl(q: Posterior) -> None:
    """The mean log ratio of samples is the KL."""
    gap = q.kl.sum(-1).double() - q.log_ratio(q.sample(200, seeded(2))).double().mean(0)
    assert abs(gap.mean()) < 4.5 * sem(gap) + 1e-4, "log_ratio and kl disagree"


@torch.no_grad()
def check_densities(q: Posterior) -> None:
    """For any q, p and h: E_q[h p / (p + q)] = E_p[h q / (p + q)], here with h = 1 and h = z_d.

    Bridge identity of Meng & Wong 1996: p / (p + q) is the logistic function of minus the log
    ratio, hence bounded.
    """
    z, prior = q.sample(1000, seeded(5)), q.sample_prior(1000, seeded(6))
    from_q = torch.sigmoid(-q.log_ratio(z).double())
    from_p = torch.sigmoid(q.log_ratio(prior[:, None]).double())
    h = torch.cat([torch.ones_like(z[..., :1]), z], -1)  # [1000, B, 1 + D]
    h_prior = torch.cat([torch.ones_like(prior[:, :1]), prior], -1)
    gaps = ((from_q[..., None] * h).mean(1) - from_p.mean(1, keepdim=True) * h_prior).numpy()
    error = sem(gaps)  # rows are independent
    if from_q.mean() < 0.02:
        # samples of p rarely fall where q is, and missed regions are not in the empirical error;
        # but E_p[(h q / (p + q))^2] is at most E_p[h^2 q / (p + q)] = E_q[h^2 p / (p + q)]
        error = np.sqrt((from_q[..., None] * h.square()).mean((0, 1)).numpy() / len(gaps))
    assert (np.abs(gaps.mean(0)) <= 5 * error + 1e-6).all(), "samples are not of the density"


def check_bound(q: Posterior, decode: Callable[[Tensor], Tensor]) -> None:
    """ELBO <= IWAE_1 = ELBO in expectation <= IWAE_64, errors paired over the examples."""
    nelbo = (decode(q.sample(64, seeded(7))).mean(0) + q.kl.sum(-1)).detach().double().numpy()
    with torch.no_grad():
        one, many = (
            importance_weighted(log_weights(decode, q, k, seeded(8)))["nll"] for k in (1, 64)
        )
    for tighter in (nelbo - many, one - many):
        assert tighter.mean() > -4.5 * sem(tighter) - 1e-4, "importance weighting is no bound"
    assert abs((nelbo - one).mean()) < 4.5 * sem(nelbo - one) + 1e-4
