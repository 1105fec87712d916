"""The lines of Python that the page shows for a head: each runs as it stands."""

import pytest
import torch

from uncollapse.config import heads, parents_of
from uncollapse.config.snippets import NEEDS_TRAINER, OWN_LOOP, merge_slots, write_snippet

HEADS = sorted(heads())


@pytest.mark.parametrize("head", HEADS)
def test_lines_run_in_a_loop_of_ones_own(head: str) -> None:
    snippet, words = write_snippet(head)
    assert all(word in snippet for word in words.values())
    if not snippet:
        needs = {head, *parents_of(head)} & set(NEEDS_TRAINER)
        assert needs or set(merge_slots(head)) - set(OWN_LOOP)
        return
    torch.manual_seed(0)
    encoder, decoder = torch.nn.Linear(5, 8), torch.nn.Linear(3, 5)
    x = torch.randn(6, 5)

    def rec(x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return (decoder(z) - x).square().sum(-1)

    names = {"x": x, "rec": rec, "hidden": 8, "latent": 3, "epoch": 0.5}
    names |= {"epochs": 4, "h": encoder(x)}
    exec(compile(snippet, head, "exec"), names)
    assert names["z"].shape == (6, 3)  # type: ignore[union-attr]
    assert all(weight.grad is not None for weight in decoder.parameters())
    if head != "lm":  # which has no code
        assert encoder.weight.grad is not None and encoder.weight.grad.isfinite().all()


def test_lines_of_known_heads() -> None:
    assert "BatchNormTau(hidden, latent, tau=0.5)" in write_snippet("bn_tau").text
    assert "from uncollapse.posteriors import BatchNormTau\n" in write_snippet("bn_tau").text
    assert write_snippet("free_bits").words == {"lambda": "free=0.25"}
    annealed = write_snippet("kl_anneal").text
    assert "objective = ELBO(weight=Linear(epochs=2))" in annealed
    assert "from uncollapse.objectives import ELBO, Linear\n" in annealed
    assert write_snippet("semi_amortized").text == ""  # its steps are those of a procedure
