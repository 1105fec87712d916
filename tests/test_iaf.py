"""The inverse autoregressive flow: determinant against autograd, inverse, density and moments."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd.functional import jacobian

from uncollapse.errors import InputError
from uncollapse.posteriors import Gaussian, InverseAutoregressiveFlow
from uncollapse.posteriors.iaf import LEAST_GATE, Flow, FlowStep, make_fixed_noise

HIDDEN = 4
properties = settings(max_examples=50, deadline=None, derandomize=True)
seeds, batches, latents, depths = (
    st.integers(0, 10**6),
    st.integers(1, 4),
    st.integers(1, 7),
    st.integers(1, 4),
)
scales = st.sampled_from([0.0, 1e-4, 0.3, 1.0])
huge = st.sampled_from([0.0, 1e-4, 1.0, 30.0, 1e3, 1e6])


def make_head(seed=0, latent=3, depth=2, scale=1.0, hidden=HIDDEN) -> InverseAutoregressiveFlow:
    """A head in double precision.

    The flow's parameters are random, times `scale`; the base keeps its initial weights.
    """
    torch.manual_seed(seed)
    head = InverseAutoregressiveFlow(hidden, latent, depth=depth).double()
    with torch.no_grad():
        for parameter in head.steps.parameters():
            parameter.normal_().mul_(scale)
    return head.requires_grad_(False)


def make_flow(seed=0, batch=3, latent=3, depth=2, scale=1.0) -> Flow:
    return make_head(seed, latent, depth, scale)(torch.randn(batch, HIDDEN).double())


def select_example(step: FlowStep, example: int) -> FlowStep:
    return FlowStep(step.inner, step.outer, step.bias, step.context[example : example + 1])


def compute_jacobian(step: FlowStep, z: torch.Tensor) -> torch.Tensor:
    """dz'/dz of a step with one example, at z [D]."""
    return jacobian(lambda x: step.forward(x[None])[0][0], z)


def assert_near(ours, theirs, tolerance=1e-9):
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


# ---------------------------------------------------------------- one step


@properties
@given(seeds, latents, scales)
def test_step_is_triangular_and_determinant_matches_autograd(seed, latent, scale):
    (step,) = make_flow(seed, 1, latent, 1, scale).steps
    z = torch.randn(latent).double()
    matrix = compute_jacobian(step, z)
    assert matrix.triu(1).eq(0).all()
    diagonal = matrix.diagonal()
    assert ((diagonal >= LEAST_GATE) & (diagonal <= 1)).all()
    assert_near(step.forward(z[None])[1], diagonal.log().sum()[None])


def test_step_depends_on_every_earlier_dimension_and_h():
    head = make_head(latent=5, depth=1)
    (step,) = head(torch.randn(1, HIDDEN).double()).steps
    matrix = compute_jacobian(step, torch.randn(5).double())
    assert matrix.tril(-1).ne(0).sum() == 5 * 4 / 2
    z = torch.randn(1, 5).double()
    by_h = jacobian(lambda h: head.steps[0](h[None]).forward(z)[0][0], torch.randn(HIDDEN).double())
    assert by_h.ne(0).all()  # the first dimension depends on nothing else


@properties
@given(seeds, latents, scales)
def test_step_matches_independent_equations(seed, latent, scale):
    """Unit (u, i) reads z_<i and h; m_j and s_j read units i <= j; z' = gate z + (1 - gate) m."""
    (step,) = make_flow(seed, 1, latent, 1, scale).steps
    z, units = torch.randn(1, latent).double(), len(step.inner)
    context = step.context[0].view(units, latent)
    hidden = [
        [
            math.tanh(context[u, i] + sum(step.inner[u, i, j] * z[0, j] for j in range(i)))
            for i in range(latent)
        ]
        for u in range(units)
    ]
    expected = []
    for j in range(latent):
        m, s = (
            step.bias[k, j]
            + sum(step.outer[k, u, j, i] * hidden[u][i] for u in range(units) for i in range(j + 1))
            for k in (0, 1)
        )
        gate = LEAST_GATE + (1 - LEAST_GATE) / (1 + torch.exp(-s))
        expected.append(gate * z[0, j] + (1 - gate) * m)
    assert_near(step.forward(z)[0][0], torch.stack(expected))


@properties
@given(seeds, batches, latents, huge)
def test_inverse_undoes_a_step_for_any_weights(seed, batch, latent, scale):
    (step,) = make_flow(seed, batch, latent, 1, scale).steps
    z = 3 * torch.randn(5, batch, latent).double()
    before, log_det = step.inverse(z.permute(2, 0, 1))
    before = before.permute(1, 2, 0)
    again, the_same = step.forward(before)
    rounding = 1e-13 * (1 + scale) * (1 + before.abs().amax(-1, keepdim=True))
    assert ((again - z).abs() <= rounding).all()
    assert_near(log_det, the_same, 1e-9 * (1 + scale))


@properties
@given(seeds, batches, latents, scales)
def test_inverse_undoes_a_step(seed, batch, latent, scale):
    (step,) = make_flow(seed, batch, latent, 1, scale).steps
    z = 3 * torch.randn(5, batch, latent).double()
    there, log_det = step.forward(z)
    back, again = step.inverse(there.permute(2, 0, 1))
    # the inverse multiplies rounding errors in z' by at most 1 / (the smallest singular value of
    # the step's Jacobian)
    matrices = [
        compute_jacobian(select_example(step, b), z[n, b]) for n in range(5) for b in range(batch)
    ]
    kept = min(torch.linalg.svdvals(m)[-1].item() for m in matrices)
    assert (back.permute(1, 2, 0) - z).abs().max() <= 1e-12 / kept
    assert_near(again, log_det, 1e-11 / kept)


# ---------------------------------------------------------------- the complete flow


@properties
@given(seeds, latents, depths, scales)
def test_log_q_matches_change_of_variables(seed, latent, depth, scale):
    q = make_flow(seed, 1, latent, depth, scale)
    noise = torch.randn(1, latent).double()
    matrix = jacobian(lambda x: q.transform_noise(x)[0][0], noise)[:, 0]
    z, log_q = q.transform_noise(noise)
    sign, log_det = torch.linalg.slogdet(matrix)
    rounding = 1e-14 * torch.linalg.cond(matrix).item()  # of the reference
    assert_near(log_q, -0.5 * noise.square().sum(-1) - log_det, 1e-9 + rounding)
    assert sign.abs() == 1
    assert_near(q.log_prior(z), -0.5 * z.square().sum(-1))


@properties
@given(seeds, batches, latents, depths, st.sampled_from([0.0, 1e-4, 0.3]))
def test_log_ratio_of_drawn_codes_matches_sampling(seed, batch, latent, depth, scale):
    q = make_flow(seed, batch, latent, depth, scale)
    assert_near(q.log_ratio(q.sample()), q.kl[:, 0], 1e-8)
    z, log_q = q.transform_noise(torch.randn(4, batch, latent).double())
    assert_near(q.log_ratio(z), log_q - q.log_prior(z), 1e-8)


@pytest.mark.parametrize("scale", [30.0, 1e3, 1e6])
def test_huge_weights_give_finite_densities(scale):
    q = make_flow(1, 50, 6, 3, scale)
    assert (
        q.sample().isfinite().all()
        and q.kl.isfinite().all()
        and q.log_ratio(q.sample()).isfinite().all()
    )
    assert q.log_ratio(1e3 * torch.randn(20, 1, 6).double()).isfinite().all()


@pytest.mark.parametrize("rows", [1, 7, 1 << 14])
def test_log_ratio_shapes_and_chunking(rows, monkeypatch):
    monkeypatch.setattr("uncollapse.posteriors.iaf.PAIRS_AT_A_TIME", rows)
    q = make_flow(batch=5, latent=4)
    one, many, codes = (
        torch.randn(5, 4).double(),
        torch.randn(9, 5, 4).double(),
        torch.randn(6, 1, 4).double(),
    )
    assert (
        q.log_ratio(one).shape == (5,)
        and q.log_ratio(many).shape == (9, 5)
        and q.log_ratio(codes).shape == (6, 5)
    )
    for n, b in ((0, 0), (3, 2), (5, 4)):
        alone = Flow(
            type(q.base)(q.base.mean[b : b + 1], q.base.std[b : b + 1], q.base.log_var[b : b + 1]),
            [select_example(step, b) for step in q.steps],
        )
        assert_near(q.log_ratio(codes)[n, b], alone.log_ratio(codes[n])[0])
        assert_near(q.log_ratio(many)[n, b], alone.log_ratio(many[n, b : b + 1])[0])
    assert_near(q.log_ratio(codes), q.log_ratio(codes.expand(6, 5, 4)))
    assert_near(q.log_ratio(one), q.log_ratio(one[None])[0])


@pytest.mark.parametrize("seed", range(3))
def test_density_integrates_to_one_and_gives_kl_and_moments(seed):
    """In two dimensions, on a grid."""
    head = make_head(seed, latent=2, depth=2, scale=0.6)
    q = head(torch.randn(1, HIDDEN).double())
    far, _ = q.transform_noise(2 * torch.randn(20_000, 1, 2).double())
    axes = [
        torch.linspace(low, high, 1201).double()
        for low, high in zip(far.amin((0, 1)), far.amax((0, 1)), strict=True)
    ]
    grid = torch.cartesian_prod(*axes)
    cell = math.prod((axis[1] - axis[0]).item() for axis in axes)
    ratio = q.log_ratio(grid[:, None])[:, 0]
    mass = cell * torch.exp(ratio - 0.5 * grid.square().sum(-1) - math.log(2 * math.pi))
    assert abs(mass.sum().item() - 1) < 2e-3
    z, log_q = q.transform_noise(
        torch.randn(50_000, 1, 2, generator=torch.Generator().manual_seed(0)).double()
    )
    estimates = (log_q - q.log_prior(z))[:, 0]
    assert (
        abs(estimates.mean() - (mass * ratio).sum())
        < 5 * estimates.std() / math.sqrt(len(estimates)) + 1e-3
    )
    mean = (mass[:, None] * grid).sum(0)
    assert_near(z.mean((0, 1)), mean, 0.02)
    # 64 draws, in pairs: right to about 1/8 of a standard deviation where the flow is far from
    # linear
    spread = ((mass[:, None] * grid.square()).sum(0) - mean.square()).sqrt()
    assert ((q.mean[0] - mean).abs() < 0.3 * spread).all()
    assert ((q.variance[0].sqrt() / spread - 1).abs() < 0.4).all()


def test_gradients_reach_every_parameter_and_match_formula():
    torch.manual_seed(0)
    head = InverseAutoregressiveFlow(HIDDEN, 3, depth=2).double()
    h, noise, parameters = (
        torch.randn(5, HIDDEN).double(),
        torch.randn(5, 3).double(),
        list(head.parameters()),
    )
    z, log_q = head(h).transform_noise(noise)
    drawn = torch.autograd.grad((log_q - head(h).log_prior(z)).sum(), parameters)
    assert all(g.abs().sum() > 0 for g in drawn)
    # the second way: gradients through z and the inverse
    z = head(h).transform_noise(noise)[0]
    inverted = torch.autograd.grad(head(h).log_ratio(z).sum(), parameters)
    for a, b in zip(drawn, inverted, strict=True):
        assert_near(a, b)


# ---------------- drawing, moments, the start, bad input


def test_shapes_and_code_sampled_once():
    q = make_flow(batch=6)
    assert q.mean.shape == q.variance.shape == q.sample().shape == (6, 3) and q.kl.shape == (6, 1)
    assert (
        q.sample(4).shape == (4, 6, 3)
        and q.sample(1).shape == (1, 6, 3)
        and q.sample_prior(7).shape == (7, 3)
    )
    assert q.sample() is q.sample() and q.kl.equal(q.kl)
    twins = [q.sample(3, torch.Generator().manual_seed(5)) for _ in range(2)]
    assert twins[0].equal(twins[1]) and not q.sample(1)[0].equal(q.sample())


def test_fixed_noise_is_constant_with_normal_moments():
    state = torch.get_rng_state()
    noise = make_fixed_noise(5)
    assert torch.get_rng_state().equal(state) and noise.equal(make_fixed_noise(5))
    assert_near(noise.mean(0), torch.zeros(5).double(), 1e-12)
    assert_near(noise.square().mean(0), torch.ones(5).double(), 1e-12)


def test_mean_is_constant_when_posterior_ignores_x():
    head = make_head(latent=4)
    for layer in (head.linear, *(step.context for step in head.steps)):
        layer.weight.zero_()
    q = head(torch.randn(30, HIDDEN).double())
    assert q.mean.eq(q.mean[0]).all() and q.mean.var(0).max() < 1e-30


def test_moments_are_exact_for_affine_flow():
    head = make_head(latent=3, scale=0.0)
    head.steps[0].bias.copy_(torch.tensor([[1.0, -2.0, 3.0], [0.5, 0.0, -1.0]]))
    h = torch.randn(4, HIDDEN).double()
    q = head(h)
    mean, variance = q.base.mean, q.base.variance
    for step in q.steps:
        m, gate = step.bias[0], LEAST_GATE + (1 - LEAST_GATE) * torch.sigmoid(step.bias[1])
        mean, variance = (
            (gate * mean + (1 - gate) * m).flip(-1),
            (gate.square() * variance).flip(-1),
        )
    assert_near(q.mean, mean)
    assert_near(q.variance, variance)


def test_one_dimension_works_and_stays_gaussian():
    q = make_flow(latent=1, batch=4)
    z = torch.linspace(-3, 3, 7).double()[:, None, None]
    exact = torch.distributions.Normal(q.mean, q.variance.sqrt()).log_prob(z)
    assert_near(q.log_ratio(z), (exact - torch.distributions.Normal(0.0, 1.0).log_prob(z))[..., 0])


def test_flow_starts_close_to_plain_without_buffers():
    torch.manual_seed(0)
    plain = Gaussian(HIDDEN, 16)
    torch.manual_seed(0)
    head, h = InverseAutoregressiveFlow(HIDDEN, 16, depth=2), torch.randn(2000, HIDDEN)
    assert head.linear.weight.equal(plain.linear.weight) and head.linear.bias.equal(
        plain.linear.bias
    )
    # otherwise the harness would collect population statistics needlessly
    assert not list(head.buffers())
    q = head(h)
    gate = LEAST_GATE + (1 - LEAST_GATE) * torch.sigmoid(torch.tensor(2.0))
    rates = q.variance.log().mean() - q.base.log_var.mean()
    assert abs(rates - 4 * gate.log()) < 0.2
    assert (q.kl.mean() - plain(h).kl.sum(-1).mean()).abs() < 1.5


@pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0, 30.0])
def test_single_precision_suffices(scale):
    torch.manual_seed(0)
    head, h = InverseAutoregressiveFlow(HIDDEN, 4, depth=3), torch.randn(16, HIDDEN)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.mul_(scale)
    q = head(h)
    (q.kl.mean() + q.sample().square().mean()).backward()
    assert q.kl.isfinite().all() and q.log_ratio(q.sample(3)).isfinite().all()
    assert all(p.grad.isfinite().all() for p in head.parameters())
    if scale <= 1:
        torch.testing.assert_close(q.log_ratio(q.sample()), q.kl[:, 0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("value", [0, -1, 2.5, "2", True, None])
def test_depth_must_be_an_integer(value):
    with pytest.raises(InputError) as caught:
        InverseAutoregressiveFlow(HIDDEN, 2, depth=value)
    assert str(caught.value) == f"depth={value}: allowed is an integer of at least 1"
