"""`diagnose` on an external VAE: numbers by brute force, accepted and refused inputs, the page."""

import math
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Independent, MultivariateNormal, Normal
from torch.utils.data import DataLoader, TensorDataset

from uncollapse import diagnose
from uncollapse.diagnosis import verdict
from uncollapse.diagnosis.model import CheckedModel
from uncollapse.errors import InputError
from uncollapse.models.linear import log_likelihood
from uncollapse.posteriors import BatchNormTau, DiagonalGaussian
from uncollapse.report.diagnosis import DIAGNOSIS_MARK as MARK
from uncollapse.report.diagnosis_numbers import format_with_error as measured

HEADS_ALONE = """
import torch
from uncollapse.posteriors import BatchNormTau

body, head, decoder = torch.nn.Linear(784, 256), BatchNormTau(256, 32, tau=0.5), torch.nn.Linear(32, 784)
x = torch.rand(64, 784).round()
q = head(torch.relu(body(x)))
rec = torch.nn.functional.binary_cross_entropy_with_logits(decoder(q.sample()), x, reduction="none").sum(-1)
loss = (rec + q.kl.sum(-1)).mean()
loss.backward()
"""  # noqa: E501  (as the README prints it)
DIAGNOSE = """
from uncollapse import diagnose

model.eval()
found = diagnose(
    model.encode,                                                      # x -> (mean, log_var), each [B, D]
    lambda x, z: -model.decode(z).log_prob(x).flatten(1).sum(1),       # -log p(x|z), [B]
    x_test, labels=y_test, page="diagnosis",                           # writes diagnosis/index.html
)
print(found["verdict"], found["nll"], found["nll_se"])
"""  # noqa: E501  (as the README prints it)

# ---------------------------------------------------------------- external models


class MLP(nn.Module):
    """A VAE that uses nothing of this package."""

    def __init__(self, inputs: int = 24, latent: int = 6):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(inputs, 32), nn.Tanh(), nn.Linear(32, 2 * latent))
        self.decoder = nn.Sequential(nn.Linear(latent, 32), nn.Tanh(), nn.Linear(32, inputs))

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mu, log_var = self.encoder(x).chunk(2, -1)
        return mu, log_var

    def decode(self, z: Tensor) -> Bernoulli:
        return Bernoulli(logits=self.decoder(z))

    def nll(self, x: Tensor, z: Tensor) -> Tensor:
        return -self.decode(z).log_prob(x).sum(-1)


def toy(n: int) -> tuple[Tensor, Tensor]:
    """Examples of four noisy patterns of 24 bits, and the pattern of each."""
    g = torch.Generator().manual_seed(3)
    patterns = torch.rand(4, 24, generator=g).round()
    kind = torch.randint(4, (n,), generator=g)
    flipped = torch.rand(n, 24, generator=g) < 0.1
    return torch.where(flipped, 1 - patterns[kind], patterns[kind]), kind


@pytest.fixture(scope="module", autouse=True)
def one_core() -> Iterator[None]:
    """One thread: on a busy machine several threads slow these small products down."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def trained(one_core: None) -> tuple[MLP, Tensor, Tensor]:
    torch.manual_seed(0)
    x, kind = toy(1200)
    model = MLP()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(300):
        batch = x[(step * 64) % 800 :][:64]
        mu, log_var = model.encode(batch)
        z = mu + torch.exp(0.5 * log_var) * torch.randn_like(mu)
        kl = 0.5 * (mu**2 + log_var.exp() - log_var - 1).sum(-1)
        loss = (model.nll(batch, z) + kl).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval(), x[800:], kind[800:]


def linear_gaussian(n: int = 300) -> tuple[Any, Any, Tensor, Tensor]:
    """encode and nll of x = W z + b + noise with the exact posterior, x, and log p(x)."""
    g = torch.Generator().manual_seed(5)
    w, b, s2 = torch.tensor([[2.0, 0], [0, 1], [0, 0]]), torch.tensor([1.0, 0, -1]), 0.5
    x = torch.randn(n, 2, generator=g) @ w.T + b + math.sqrt(s2) * torch.randn(n, 3, generator=g)
    # the axes are orthogonal, so the posterior has independent dimensions
    precision = 1 + w.square().sum(0) / s2

    def encode(x: Tensor) -> tuple[Tensor, Tensor]:
        mean = (x - b) @ w / s2 / precision
        return mean, (-precision.log()).expand_as(mean)

    def nll(x: Tensor, z: Tensor) -> Tensor:
        return -Normal(z @ w.T + b, math.sqrt(s2)).log_prob(x).sum(-1)

    return encode, nll, x, log_likelihood(w, b, s2, x)


def same(a: Any, b: Any) -> bool:
    """Equal up to rounding, also in lists and dicts; None equals None."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == pytest.approx(b, rel=1e-4, abs=1e-4) if isinstance(a, float) else a == b


# ---------------------------------------------------------------- the numbers


def sample_by_brute_force(model: Any, x: torch.Tensor) -> tuple:
    """The posterior, its KL [N, 6], and from 64 codes each: nll, nll of foreign codes, log weights
    (all [64, N]) and mi."""
    with torch.no_grad():
        torch.manual_seed(11)
        q = Normal(model.encode(x)[0], torch.exp(0.5 * model.encode(x)[1]))
        prior = Normal(0.0, 1.0)
        z = q.sample((64,))
        nll = torch.stack([model.nll(x, code) for code in z])
        kl = torch.distributions.kl_divergence(q, Normal(torch.zeros_like(q.mean), 1.0))
        weights = -nll + prior.log_prob(z).sum(-1) - q.log_prob(z).sum(-1)
        foreign = torch.stack([model.nll(x, code[torch.arange(len(x)) - 1]) for code in z])
        pairs = torch.stack(
            [Normal(q.mean, q.stddev).log_prob(code).sum(-1) for code in z[0][:, None]]
        )
        mi = (q.log_prob(z[0]).sum(-1) - (pairs.logsumexp(1) - math.log(len(x)))).mean()
    return q, kl, nll, foreign, weights, mi


def test_numbers_of_trained_model_match_brute_force(trained: Any) -> None:
    model, x, kind = trained
    found = diagnose(model.encode, model.nll, x, samples=64, labels=kind)
    q, kl, nll, foreign, weights, mi = sample_by_brute_force(model, x)

    def near(name: str, value: Any) -> None:
        assert abs(found[name] - float(value)) < 5 * found[f"{name}_se"] + 1e-6, name

    assert found["kl"] == pytest.approx(float(kl.sum(-1).mean()), rel=1e-5)
    assert found["kl_per_dim"] == pytest.approx(kl.mean(0).tolist(), rel=1e-4, abs=1e-6)
    assert found["kl_per_dim_se"] == pytest.approx((kl.std(0) / 20).tolist(), rel=1e-3, abs=1e-6)
    assert found["moments"]["mu_sq"] == pytest.approx(
        q.mean.square().mean(0).tolist(), rel=1e-4, abs=1e-6
    )
    assert (
        found["au"] == int((q.mean.var(0) > 0.01).sum())
        and found["examples"] == found["nll_examples"] == 400
    )
    near("rec", nll.mean())
    near("nelbo", nll.mean() + kl.sum(-1).mean())
    near("shuffle_gap", foreign.mean() - nll.mean())
    near("mi", mi)
    assert found["nll"] == pytest.approx(
        float((math.log(64) - weights.logsumexp(0)).mean()), abs=0.05
    )
    assert found["nelbo"] > found["nll"] and found["mi_ceiling"] == math.log(400)
    assert found["kl"] == pytest.approx(
        found["mi"] + found["total_correlation"] + found["dimension_kl"]
    )
    assert found["probe"] > 0.9 and found["probe_labels"] == 100
    used = sum(mi > 0.05 for mi in found["mi_per_dim"])
    assert found["verdict"].startswith("not collapsed: the decoder reads z: shuffled gap ")
    assert f"into {used} of 6 dimensions" in found["verdict"] and not any(
        name in found for name in ("floor", "ppl")
    )


def test_collapsed_model_has_zero_gap_and_collapsed_verdict() -> None:
    x, _ = toy(50)
    found = diagnose(
        lambda x: (0.6 * x[:, :3], x[:, :3] * 0 - 1), lambda x, z: x.sum(-1), x, samples=3
    )
    assert found["shuffle_gap"] == found["shuffle_gap_se"] == 0
    assert found["verdict"].startswith(
        "collapsed: the decoder ignores z: shuffled gap 0.00 ± 0.00 nats, yet the encoder writes "
    )
    found = diagnose(lambda x: (x[:, :2] * 0, x[:, :2] * 0), lambda x, z: x.sum(-1), x, samples=3)
    assert (
        "no single dimension holds more than 0.05 nats" in found["verdict"]
        and found["collapse"]["share"] == [1.0] * 17
    )


def test_exact_posterior_nll_matches_closed_form_and_bounds_hold() -> None:
    encode, nll, x, log_prob = linear_gaussian()
    for k in (2, 7):
        found = diagnose(encode, nll, x, samples=k, log_prob=log_prob)
        assert found["nll"] == pytest.approx(-float(log_prob.mean()), abs=1e-4)
        assert found["oracle_gap"] == pytest.approx(0, abs=1e-4) and found["nll_mc_se"] < 1e-4

    def wide(x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_var = encode(x)
        return mean, log_var + 0.7

    loose = diagnose(wide, nll, x, samples=20, log_prob=log_prob)
    more = diagnose(wide, nll, x, samples=500, log_prob=log_prob)
    truth = -float(log_prob.mean())
    assert loose["nelbo"] > loose["nll"] > more["nll"] - 3 * loose["nll_mc_se"]
    assert more["nll"] == pytest.approx(truth, abs=4 * more["nll_mc_se"])
    assert more["nelbo"] > more["nll"] and more["oracle_gap"] == pytest.approx(more["nll"] - truth)


# ---------------------------------------------------------------- accepted inputs


def test_tensor_array_batches_and_loader_agree(
    trained: Any,
) -> None:
    model, x, _ = trained
    met: list[int] = []

    def encode(x: Tensor) -> tuple[Tensor, Tensor]:
        met.append(len(x))
        return model.encode(x)

    full = diagnose(encode, model.nll, x[:200], samples=5, batch=64)
    assert met == [
        64,
        64,
        32,
        64,
        64,
        8,
    ]
    batches = list(x[:200].split(64))
    assert full == diagnose(model.encode, model.nll, x[:200].numpy(), samples=5, batch=64)
    assert full == diagnose(model.encode, model.nll, batches, samples=5)
    assert full == diagnose(model.encode, model.nll, (b for b in batches), samples=5)
    assert full != diagnose(model.encode, model.nll, batches, samples=5, seed=1)
    loader = DataLoader(TensorDataset(x[:200]), batch_size=64)  # its batches are lists [x]
    loaded = diagnose(
        lambda b: model.encode(b[0]), lambda b, z: model.nll(b[0], z), loader, samples=5
    )
    assert full == loaded
    dicts = [{"x": b, "i": torch.arange(len(b))} for b in batches]
    assert full == diagnose(
        lambda b: model.encode(b["x"]), lambda b, z: model.nll(b["x"], z), dicts, samples=5
    )


def test_unrepeatable_batch_is_decoded_one_code_at_a_time(trained: Any) -> None:
    model, x, _ = trained

    class Opaque:
        def __init__(self, x: Tensor):
            self.x = x

    opaque = [Opaque(b) for b in x[:100].split(50)]
    single = diagnose(
        lambda b: model.encode(b.x), lambda b, z: model.nll(b.x, z), opaque, samples=5
    )
    assert same(single, diagnose(model.encode, model.nll, x[:100], samples=5, batch=50))


def test_codes_match_their_examples_within_row_limit() -> None:
    rows: list[int] = []

    def nll(x: Tensor, z: Tensor) -> Tensor:
        rows.append(len(z))
        return 100 * x + z[:, 0]

    x, z = torch.arange(6.0), torch.rand(7, 6, 2)
    found = CheckedModel(lambda x: x, nll, 20).nll(number_batch(x), z)
    assert torch.equal(found, 100 * x + z[..., 0]) and rows == [18, 18, 6]
    rows.clear()
    assert (
        torch.equal(CheckedModel(lambda x: x, nll, 4).nll(number_batch(x), z), found)
        and rows == [6] * 7
    )


def number_batch(x: Tensor) -> Any:
    from uncollapse.diagnosis.model import NumberedBatch

    return NumberedBatch(x, 0)


def test_tuple_normal_and_posterior_are_equivalent(trained: Any) -> None:
    model, x, _ = trained
    encoders = [
        model.encode,
        lambda x: list(model.encode(x)),
        lambda x: Normal(model.encode(x)[0], torch.exp(0.5 * model.encode(x)[1])),
        lambda x: Independent(Normal(model.encode(x)[0], torch.exp(0.5 * model.encode(x)[1])), 1),
        lambda x: DiagonalGaussian.from_log_var(*model.encode(x)),
    ]
    first, *others = [diagnose(encode, model.nll, x[:100], samples=5) for encode in encoders]
    assert all(same(first, other) for other in others)


def test_diagnosis_is_repeatable_and_has_no_side_effects(trained: Any) -> None:
    model, x, _ = trained
    state, grads = torch.get_rng_state(), torch.is_grad_enabled()
    loader = DataLoader(TensorDataset(x[:60]), batch_size=20, shuffle=True)
    runs = [
        diagnose(lambda b: model.encode(b[0]), lambda b, z: model.nll(b[0], z), loader, samples=3)
        for _ in range(2)
    ]
    assert runs[0] == runs[1]
    assert torch.equal(state, torch.get_rng_state()) and torch.is_grad_enabled() == grads
    assert all(p.grad_fn is None and p.requires_grad for p in model.parameters())


def test_single_example_batch_is_excluded_from_gap_only(trained: Any) -> None:
    model, x, _ = trained
    found = diagnose(model.encode, model.nll, x[:65], samples=3, batch=64)
    assert found["examples"] == 65 and found["shuffle_gap"] > 0 and found["mi_n"] == 65
    alone = diagnose(model.encode, model.nll, list(x[:9].split(1)), samples=3)
    assert alone["shuffle_gap"] is None and alone["verdict"].startswith(
        "cannot tell whether the decoder reads z"
    )


def test_head_trains_in_external_model_and_is_diagnosed() -> None:
    torch.manual_seed(0)
    x, _ = toy(400)
    body, head, decoder = nn.Linear(24, 256), BatchNormTau(256, 32, tau=0.5), nn.Linear(32, 24)
    optimizer = torch.optim.Adam(
        [*body.parameters(), *head.parameters(), *decoder.parameters()], 3e-3
    )
    losses = []
    for step in range(120):
        batch = x[(step * 64) % 320 :][:64]
        q = head(torch.relu(body(batch)))
        rec = nn.functional.binary_cross_entropy_with_logits(
            decoder(q.sample()), batch, reduction="none"
        ).sum(-1)
        loss = (rec + q.kl.sum(-1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-20:]) < np.mean(losses[:20])
    head.eval()
    found = diagnose(
        lambda x: head(torch.relu(body(x))),
        lambda x, z: -Bernoulli(logits=decoder(z)).log_prob(x).sum(-1),
        x,
        samples=5,
    )
    assert found["kl"] > 0.8 * head.floor() and "the decoder reads z" in found["verdict"]


def test_readme_code_blocks_run(
    trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    readme = (Path(__file__).resolve().parents[1] / "README.md").read_text()
    printed = re.findall(r"```python\n(.*?)```", readme, re.S)
    heads = [
        b for b in printed if "q.kl.sum(-1)" in b and "import torch" in b and "class " not in b
    ] or [HEADS_ALONE]
    diagnoses = [b for b in printed if "import diagnose" in b] or [DIAGNOSE]
    for code in heads:
        exec(compile(code, "README", "exec"), {})
    model, x, kind = trained
    for code in diagnoses:
        exec(
            compile(code, "README", "exec"), {"model": model, "x_test": x[:60], "y_test": kind[:60]}
        )
        assert (tmp_path / "diagnosis/index.html").exists()
    assert all(len(code.strip().splitlines()) <= 10 for code in (HEADS_ALONE, DIAGNOSE))


# ---------------------------------------------------------------- the verdict


def test_verdict_matches_the_numbers() -> None:
    def said(gap: float | None, error: float | None = 0.01, **other: Any) -> str:
        found = {
            "shuffle_gap": gap,
            "shuffle_gap_se": error,
            "kl": 3.0,
            "mi": 2.0,
            "mi_se": 0.1,
            "mi_saturated": False,
        }
        return verdict({**found, "mi_n": 10, "mi_ceiling": 2.3, "mi_per_dim": None, **other})

    assert said(0.004).startswith(
        "collapsed: the decoder gains nothing from z: shuffled gap 0.00 ± 0.01 nats, yet"
    )
    assert said(-0.004, kl=0.01).startswith(
        "collapsed: the decoder gains nothing from z: shuffled gap 0.00 ± 0.01 nats; the"
    )
    assert said(0.05).startswith("collapsed: the decoder gains next to nothing from z")
    assert said(0.3, 0.2).startswith(
        "cannot tell whether the decoder reads z: shuffled gap 0.30 ± 0.20"
    )
    assert said(-1.0).startswith("something is wrong: examples are decoded better from another")
    assert said(1.0).startswith("not collapsed: the decoder reads z")
    assert "at least about 2.00 nats about x" in said(
        1.0, mi_saturated=True
    ) and "ln 10 = 2.30" in said(1.0, mi_saturated=True)
    dims = {"mi_per_dim": [0.0, 0.9, 0.04, 0.3], "mi_per_dim_se": [0.01, 0.1, 0.001, 0.2]}
    assert said(1.0, **dims).endswith("into 1 of 4 dimensions (z[1]).")


def test_numbers_are_rounded_to_two_digits_of_error() -> None:
    assert (
        measured(12.3456, 0.213) == "12.35 ± 0.21" and measured(1.23456, 0.0123) == "1.235 ± 0.012"
    )
    assert (
        measured(123.4, 5.0) == "123.40 ± 5.00"
        and measured(0.0) == "0.00"
        and measured(0.5, float("nan")) == "0.50"
    )


# ---------------------------------------------------------------- refused inputs


def bad_encoder(mean: float = 0.0, log_var: float = 0.0) -> Any:
    """An encoder whose second batch holds one bad entry."""

    def encode(x: Tensor) -> tuple[Tensor, Tensor]:
        m, v = x[:, :2] * 0.0, x[:, :2] * 0.0
        if len(x) == 2:
            m[0, 0], v[1, 1] = mean, log_var
        return m, v

    return encode


def good(x: Tensor) -> tuple[Tensor, Tensor]:
    return x[:, :2] * 1.0, x[:, :2] * 0.0


def cost(x: Tensor, z: Tensor) -> Tensor:
    return (x[:, :2] - z).square().sum(-1)


class Deck:
    """Indexed batches whose number of examples is not known in advance."""

    def __init__(self, x: Tensor):
        self.x = x

    def __len__(self) -> int:
        return 2

    def __getitem__(self, i: int) -> Tensor:
        return self.x.split(5)[i]


X = torch.arange(40.0).view(10, 4) / 40
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"samples": 0}, r"samples=0: allowed is an integer of at least 1"),
    ({"batch": 1}, r"batch=1: allowed .* at least 2"),
    ({"rows": 0}, r"rows=0"),
    ({"mixture": 1}, r"mixture=1"),
    ({"seed": -1}, r"seed=-1"),
    ({"data": X[:1]}, r"data: 1 example; .* at least 2"),
    ({"data": [X[:1]]}, r"data: 1 example"),
    ({"data": X[:0]}, r"data: no example"),
    ({"data": (b for b in [X[:1]])}, r"data: 1 example"),
    ({"data": iter([])}, r"data: no batch in it"),
    ({"data": None}, r"data: a NoneType; allowed is a tensor"),
    ({"data": {"x": X}}, r"data: a dict; allowed"),
    ({"data": "mnist"}, r"data: a str; allowed"),
    ({"data": np.array(["a", "b"])}, r"data: an array that makes no tensor"),
    ({"data": torch.tensor(1.0)}, r"data: a tensor without dimensions"),
    ({"encode": bad_encoder(mean=math.nan)}, (r"encode: mean has 1 of 4 values that are not finite "
                                        r".* in batch 1")),
    ({"encode": bad_encoder(log_var=math.inf)}, (r"encode: log_var has 1 of 4 values that are not "
                                           r"finite .* in batch 1")),
    ({"encode": bad_encoder(log_var=1000.0)}, r"encode: the kl of the posterior has 1 of 4"),
    ({"encode": lambda x: (x[:, :2], x[:, :1])}, (r"encode: mean is of shape \[8, 2\] and "
                                                  r"log_var of "
                                                 r"shape \[8, 1\]")),
    ({"encode": lambda x: (x[:, 0], x[:, 0])}, (r"encode: mean is of shape \[8\] .* allowed are "
                                               r"floats \[B, D\]")),
    ({"encode": lambda x: (x[:, :2].long(), x[:, :2])}, (r"encode: mean is of shape \[8, 2\] and "
                                                         r"type "
                                                        r"torch.int64")),
    ({"encode": lambda x: (x[:, :2], x[:, :2], x)}, (r"encode: returned a tuple of Tensor and "
                                                     r"Tensor "
                                                     r"and Tensor; "
                                                    r"allowed is a tuple")),
    ({"encode": lambda x: x[:, :2]}, r"encode: returned a Tensor; allowed is a tuple"),
    ({"encode": lambda x: MultivariateNormal(x[:, :2], torch.eye(2))}, (r"encode: returned a "
                                                                        r"MultivariateNormal; "
                                                                       r"allowed")),
    ({"encode": lambda x: Normal(x[:, :2], x[:, :2] - 0.1, validate_args=False)},
    (r"encode: scale has 3 of 16 "
                                                                                   r"values "
                                                                                   r"that "
                                                                                   r"are "
                                                                                   r"not "
                                                                                  r"above 0")),
    ({"encode": lambda x: good(x[:3])}, (r"data: batch 0 has tensors of 8 rows, and encode "
                                        r"returned 3")),
    ({"encode": lambda b: good(b[0]), "data": [(X, X[:7])]}, (r"batch 0 has tensors of 10 and 7 "
                                                             r"rows")),
    ({"encode": lambda x: (x[:, : len(x) // 2], x[:, : len(x) // 2]), "nll": lambda x, z: z[:,
    0]}, (r"encode: 1 and 4 latent "
                                                                                                    r"dimensions")),
    ({"nll": lambda x, z: cost(x, z).mean()}, (r"nll: returned shape \[\] .* for 16 rows of z in "
                                               r"batch 0; "
                                              r"allowed are floats \[16\]")),
    ({"nll": lambda x, z: (x[:, :2] - z).square()}, r"nll: returned shape \[16, 2\]"),
    ({"nll": lambda x, z: cost(x, z)[:, None]}, r"nll: returned shape \[16, 1\]"),
    ({"nll": lambda x, z: cost(x, z).log().log()}, r"nll has \d+ of 16 values that are not finite"),
    ({"nll": lambda x, z: 1.0}, r"nll: returned a float; allowed is a tensor"),
    ({"labels": np.zeros(9, int)}, r"labels: label has 9 entries; allowed are 10"),
    ({"labels": {"kind": [0] * 11}, "data": Deck(X)}, (r"labels: kind has 11 entries; "
        r"allowed are 10")),
    ({"labels": np.linspace(0, 1, 10)}, (r"labels: label is of shape \[10\] and type "
        r"float64; allowed are integers")),
    ({"labels": np.zeros((10, 1), int)}, r"labels: label is of shape \[10, 1\]"),
    ({"labels": [0, 1, 0], "data": X[:3]}, r"labels: 3 examples; .* at least 4"),
    ({"log_prob": np.zeros(9)}, r"log_prob: 9 entries; allowed are 10"),
    ({"log_prob": [math.nan] * 10}, r"log_prob: .* allowed are finite numbers"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED]
)
def test_bad_input_is_refused_in_one_sentence(change: dict[str, Any], message: str) -> None:
    call = {"encode": good, "nll": cost, "data": X, "batch": 8, "samples": 3} | change
    encode, nll, data = (call.pop(name) for name in ("encode", "nll", "data"))
    state = torch.get_rng_state()
    with pytest.raises(InputError, match=message) as refusal:
        diagnose(encode, nll, data, **call)
    assert (
        "\n" not in str(refusal.value)
        and torch.equal(state, torch.get_rng_state())
        and torch.is_grad_enabled()
    )


def test_bad_input_is_refused_before_any_work() -> None:
    def never(*_: Any) -> Any:
        raise AssertionError

    for change in ({"labels": [0] * 9}, {"log_prob": [0.0]}, {"samples": 0}, {"page": __file__}):
        for data in (X, list(X.split(5))):
            with pytest.raises(InputError):
                diagnose(never, never, data, **change)


# ---------------------------------------------------------------- the page


def test_page_holds_every_number_and_is_reproducible(trained: Any, tmp_path: Path) -> None:
    model, x, kind = trained
    bytes_of = []
    for _ in range(2):
        found = diagnose(
            model.encode, model.nll, x, samples=5, labels={"kind": kind, "even": kind % 2},
            log_prob=-torch.ones(400), page=tmp_path / "a/b"
        )  # fmt: skip
        bytes_of.append({f.name: f.read_bytes() for f in (tmp_path / "a/b").iterdir()})
    assert bytes_of[0] == bytes_of[1]
    assert sorted(bytes_of[0]) == ["diagnosis.pdf", "diagnosis.png", "diagnosis.svg", "index.html"]
    page = bytes_of[0]["index.html"].decode()
    assert (
        MARK in page
        and 'src="diagnosis.svg"' in page
        and found["verdict"][1:].replace("'", "&#39;") in page
    )
    scalars = [
        k
        for k, v in found.items()
        if (not isinstance(v, str | list | dict) and not k.endswith("_se")) or k == "nll_mc_se"
    ]
    assert len(scalars) > 20
    for name in scalars:
        assert f"<code>{name}</code>" in page, name
    assert f"{found['kl']:.2f}" in page and "±" in page


def test_foreign_page_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "index.html"
    page.write_text("mine")
    with pytest.raises(InputError, match=r"its index\.html was not written by diagnose;"):
        diagnose(good, cost, X, samples=2, page=tmp_path)
    assert page.read_text() == "mine"
    with pytest.raises(InputError, match="it is not a folder"):
        diagnose(good, cost, X, samples=2, page=page)


def test_undecomposable_posterior_has_a_page(tmp_path: Path) -> None:
    class Undecomposable:
        """A Gaussian that gives its KL in one number."""

        def __init__(self, q: DiagonalGaussian):
            self.q, self.mean, self.variance = q, q.mean, q.variance
            self.kl, self.sample, self.log_ratio = q.kl.sum(1, keepdim=True), q.sample, q.log_ratio

    found = diagnose(
        lambda x: Undecomposable(DiagonalGaussian.from_log_var(*good(x))),
        cost,
        X,
        samples=2,
        page=tmp_path,
    )
    assert found["mi_per_dim"] is None and len(found["kl_per_dim"]) == 1
    assert (
        "<td>z[1]</td>" in (tmp_path / "index.html").read_text()
        and "not known" in (tmp_path / "index.html").read_text()
    )


# ---------------------------------------------------------------- imports


IMPORTS = """
import sys
import uncollapse, uncollapse.posteriors
heavy = ["hydra", "omegaconf", "wandb", "datasets", "pandas", "matplotlib", "sklearn", "jinja2"]
print([name for name in heavy if name in sys.modules])
import torch
from uncollapse import diagnose
x = torch.rand(8, 2)
diagnose(lambda x: (x, x), lambda x, z: z.sum(1), x)
print([name for name in heavy if name in sys.modules])
diagnose(lambda x: (x, x), lambda x, z: z.sum(1), x, labels=[0, 1] * 4, page="page")
print([name for name in heavy[:4] if name in sys.modules])
"""


def test_unneeded_packages_are_not_imported(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.stdout.split() == ["[]"] * 3, done.stderr
    assert (tmp_path / "page/index.html").exists()


def test_unknown_name_raises_attribute_error() -> None:
    import uncollapse

    assert not hasattr(uncollapse, "nothing") and uncollapse.diagnose is diagnose
