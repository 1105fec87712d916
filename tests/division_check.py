"""Under torchrun: gradients of divided models are those of one process, in float64.

    torchrun --nproc-per-node 2 tests/division_check.py

Prints each case with the largest relative difference; the exit code is 1 if one is too large.
"""

import sys
from dataclasses import replace

import torch
from conftest import composed

from uncollapse.building import prepare
from uncollapse.data.images import ImageBatch
from uncollapse.interfaces.procedure import Training
from uncollapse.processes import join_team
from uncollapse.training.division import divide_work

SMALL = ["data.train=64", "data.valid=16", "data.test=16", "data.batch_size=7"]
TRANSFORMER = ["model=transformer", "data=grammar", "model.width=16", "model.layers=1"]
CASES = [
    *[
        (head, [*TRANSFORMER, *SMALL])
        for head in ("plain", "bn_tau", "free_bits", "mmd", "vmf", "bow", "iaf", "mdr")
    ],
    ("bn_tau", ["model=lstm", "data=grammar", "model.hidden=16", *SMALL]),
    ("du", ["model=image_mlp", "data=digits", "data.batch_size=7"]),
    ("bn_mu", ["model=image_pixelcnn", "data=digits", "data.batch_size=3"]),
    ("plain", ["model=image_mlp", "data=digits", "data.batch_size=1"]),  # fewer than processes
]


def compute_gradients(training: Training, seed: int) -> tuple[float, list[torch.Tensor]]:
    """The loss of a batch, and the gradient that each weight would be moved by."""
    batch = training.data.batch("train", training.data.batches("train", 0, 0)[0])
    if isinstance(batch, ImageBatch):
        batch = replace(batch, x=batch.x.double())
    torch.manual_seed(seed)
    loss = training.loss(batch, training.model.encode(batch))
    before = [weight.detach().clone() for weight in training.model.parameters()]
    training.update(loss.total)
    moved = [
        (weight.detach() - old).clone()
        for weight, old in zip(training.model.parameters(), before, strict=True)
    ]
    return float(loss.total.detach()), moved


def make_training(head: str, words: list[str]) -> Training:
    """A training with plain gradient steps, in float64."""
    torch.set_default_dtype(torch.float64)
    parts = prepare(composed(f"head={head}", *words), head)
    model = parts.model.double().train()
    weights = [weight for listed in model.parts().values() for weight in listed]
    own = list(parts.objective.state_module().parameters())
    optimizers = {"all": torch.optim.SGD([*weights, *own], lr=1e-3)}
    return Training(
        model, parts.objective, parts.data, optimizers, None, 0, 10, torch.device("cpu")
    )


def main() -> int:
    team = join_team()
    worst = 0.0
    for head, words in CASES:
        expected_loss, expected = compute_gradients(make_training(head, words), 5)
        divided = make_training(head, words)
        divide_work(divided.model, team)
        loss, found = compute_gradients(divided, 5)
        scale = max(float(weight.abs().max()) for weight in expected)
        difference = max(
            float((one - other).abs().max()) for one, other in zip(found, expected, strict=True)
        )
        relative = max(difference / scale, abs(loss - expected_loss) / abs(expected_loss))
        print(f"{head} {words[0]}: {relative:.1e}", flush=True)
        worst = max(worst, relative)
    return int(worst > 1e-9)


if __name__ == "__main__":
    sys.exit(main())
