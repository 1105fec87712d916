"""What every head must do, whichever it is: one test over the files of conf/head."""

from pathlib import Path

import pytest
import torch
from conftest import SMALL, composed, folder_of, rows, run_here

from uncollapse.checkpoint import load_model
from uncollapse.config import SLOTS, heads, knobs_of
from uncollapse.run import Parts, prepare
from uncollapse.trainer import promised_floor

ALL = heads()


def parts_of(head: str, *words: str) -> Parts:
    cfg = composed(f"head={head}", *SMALL, *words)
    return prepare(cfg, head)


def one_step(parts: Parts, seed: int = 0) -> torch.Tensor:
    """The loss of the first training batch, with gradients."""
    torch.manual_seed(seed)
    parts.model.train()
    batch = parts.data.batch("train", parts.data.batches("train", 0, 0)[0])
    q = parts.model.encode(batch)
    z = q.sample()
    return parts.objective(parts.model.nll(batch, z), q, z, 10.0, batch).total


@pytest.mark.parametrize("head", ALL)
def test_it_differs_from_plain_in_slots_label_and_knobs_only(head: str) -> None:
    plain, cfg = composed(), composed(f"head={head}")
    changed = {str(k) for k in cfg if k not in plain or cfg[k] != plain[k]}
    assert changed <= {*SLOTS, "label", *knobs_of(head)}


@pytest.mark.parametrize("head", ALL)
def test_it_starts_from_the_same_weights_as_plain(head: str) -> None:
    plain, ours = parts_of("plain").model.state_dict(), parts_of(head).model.state_dict()
    for name, weight in plain.items():
        assert torch.equal(weight, ours[name]), name


@pytest.mark.parametrize("init", ["1e-3", "null", "3.0"])
@pytest.mark.parametrize("head", ALL)
def test_its_gradients_are_finite_and_reach_every_parameter(head: str, init: str) -> None:
    parts = parts_of(head, f"model.init={init}")
    one_step(parts).backward()
    for name, parameter in parts.model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("head", ALL)
def test_its_loss_falls_on_one_batch(head: str) -> None:
    parts = parts_of(head)
    optimizer = torch.optim.Adam(parts.model.parameters(), 1e-2)
    first = one_step(parts).item()
    for seed in range(60):
        optimizer.zero_grad()
        one_step(parts, seed).backward()
        optimizer.step()
    assert one_step(parts).item() < 0.7 * first


@pytest.mark.parametrize("head", ALL)
def test_a_run_keeps_its_floor_and_its_weights_come_back(head: str, tmp_path: Path) -> None:
    run_here(tmp_path, head)
    folder = folder_of(tmp_path, head)
    floors = [row["kl_minus_floor"] for row in rows(folder) if row["mode"] == "train"]
    promised = promised_floor(parts_of(head).model)
    assert all((f is None) == (promised is None) for f in floors)
    assert all(f is None or f > -1e-4 for f in floors)

    fresh, trained = parts_of(head, "seed=9"), rows(folder)[-2]
    load_model(folder / "model.safetensors", fresh.model)
    from uncollapse.metrics.evaluation import evaluate

    again = evaluate(fresh.model, fresh.data, "test", "eval")
    assert again["kl_per_dim"] == trained["kl_per_dim"] and again["rec"] == trained["rec"]
