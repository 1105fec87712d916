"""The amortisation gap: what the bound loses because one encoder serves all examples.

Cremer, Li & Duvenaud, "Inference Suboptimality in Variational Autoencoders", ICML 2018 (arXiv
1801.03558), section 3: -log p(x) is the nelbo of the best q of the family minus the approximation
gap, and the encoder's nelbo lies above that of the best q by the amortisation gap. Kim et al.,
"Semi-Amortized Variational Autoencoders", ICML 2018 (arXiv 1802.02550), find the best q by gradient
steps on each example, as is done here for the mean and log variance of a diagonal Gaussian.

    nelbo(q) = E_q [-log p(x|z) + log q(z|x) - log p(z)]

Both densities are averaged over the codes, so an estimate has no noise where q is the model's own
posterior, and any prior will do. Gradients pass through the codes only, not through the parameters
of log q(z|x), whose contribution is 0 in expectation: these have no noise there either (Roeder, Wu
& Duvenaud, "Sticking the Landing", NeurIPS 2017, arXiv 1703.09194, section 3).

Rounds of STEPS steps of Adam start from the best parameters so far, with fresh noise in each step.
After a round, an example takes the new parameters if they are better by more than one standard
error of the difference over CHECK_CODES codes with the same noise. Where a round gains less than
LEAST_GAIN on average, the learning rate is multiplied by DECAY, and the third such round is the
last. As small gains do not count, the gap is an underestimate: by 0.01 to 0.02 nats in linear VAEs
and in an LSTM of the grammar.
"""

import torch
from torch import Tensor

from uncollapse.distributions.normal import log_of_variance
from uncollapse.distributions.precision import wide
from uncollapse.interfaces.posterior import Posterior
from uncollapse.metrics.likelihood import DecodeCodes, log_weights

REFINING_RATE, DECAY, DECAYS = 0.1, 0.3, 2  # Adam; how often the rate is lowered
STEPS, MOST_ROUNDS = 20, 20
LEAST_GAIN = 0.01  # nats, mean over the examples of a batch
GRADIENT_CODES, CHECK_CODES = 4, 128  # per example: of a step, of the test after a round
FINAL_CODES = 200  # fresh codes for the nelbos that are reported

Parameters = tuple[Tensor, Tensor]  # mean and log variance, [B, D] each


def refine(decode: DecodeCodes, q: Posterior, generator: torch.Generator) -> Posterior:
    """The posterior with the lowest nelbo of each example that gradient steps from `q` find.

    q.is_gaussian must hold. Parameters of the model get no gradients.
    """
    best: Parameters = (
        q.mean.detach(),
        log_of_variance(q.variance.detach()),
    )
    seed = draw_seed(generator)  # of the noise of all checks
    held = weigh(decode, q, CHECK_CODES, seed)
    rate, lowered = REFINING_RATE, 0
    for _ in range(MOST_ROUNDS):
        moved = descend(decode, q, best, rate, generator)
        found = weigh(decode, q.replace_gaussian(*moved), CHECK_CODES, seed)
        gain = found - held  # [K, B]
        better = gain.mean(0) > gain.std(0) / len(gain) ** 0.5
        best = choose(better, moved, best)
        held = torch.where(better, found, held)
        if float(torch.where(better, gain.mean(0), 0.0).mean()) < LEAST_GAIN:
            if lowered == DECAYS:
                break
            rate, lowered = rate * DECAY, lowered + 1
    return q.replace_gaussian(*best)


def descend(
    decode: DecodeCodes, q: Posterior, start: Parameters, rate: float, generator: torch.Generator
) -> Parameters:
    """Mean and log variance after STEPS steps of Adam on the nelbo of each example."""
    mean, log_var = (values.clone().requires_grad_() for values in start)
    optimizer = torch.optim.Adam([mean, log_var], lr=rate)
    for _ in range(STEPS):
        with torch.enable_grad():
            z = q.replace_gaussian(mean, log_var).sample(GRADIENT_CODES, generator)
            fixed = q.replace_gaussian(mean.detach(), log_var.detach())
            # an example's nelbo depends on its own parameters only, so the sum has the gradient of
            # each
            total = (wide(decode(z)) + fixed.log_ratio(z)).mean(0).sum()
        mean.grad, log_var.grad = torch.autograd.grad(total, (mean, log_var))
        optimizer.step()
    return mean.detach(), log_var.detach()


def choose(better: Tensor, moved: Parameters, held: Parameters) -> Parameters:
    """The moved parameters of the examples where `better` [B], and those held of the others."""
    mean, log_var = (
        torch.where(better[:, None], new, old) for new, old in zip(moved, held, strict=True)
    )
    return mean, log_var


def weigh(decode: DecodeCodes, q: Posterior, codes: int, seed: int) -> Tensor:
    """log p(x, z) / q(z|x) of codes with seeded noise, [K, B] float64; minus its mean is nelbo."""
    generator = torch.Generator(q.mean.device).manual_seed(seed)
    with torch.no_grad():
        return log_weights(decode, q, codes, generator).double()


def draw_seed(generator: torch.Generator) -> int:
    """A seed for a generator of its own."""
    return int(torch.randint(2**40, (), generator=generator, device=generator.device))
