"""scripts/bench.py measures the cost of a head in each phase and until its best weights."""

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from conftest import ROOT
from conftest import SMALL as SHORT

from uncollapse.errors import InputError

SMALL = [*SHORT, "trainer.epochs=3"]  # longer than ae_pretrain's first phase


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench", ROOT / "scripts/bench.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_head_is_timed_in_each_of_its_phases(bench: ModuleType) -> None:
    names = ["bn_mu", "bow", "mdr", "aggressive", "semi_amortized", "ae_pretrain"]
    costs = bench.step_costs(names, rounds=19, warm_up=2, overrides=SMALL)
    twice = {"aggressive", "ae_pretrain"}
    assert set(costs) == {"plain", *names, *(f"{name}, afterwards" for name in twice)}
    assert costs["plain"]["ratio"] == 1 and all(cost["seconds"] > 0 for cost in costs.values())
    assert costs["aggressive"]["inner_steps"] >= 15 and costs["aggressive"]["ratio"] > bench.SLOW
    assert costs["aggressive"]["rounds"] == 2 and costs["aggressive, afterwards"]["rounds"] == 19
    assert costs["aggressive, afterwards"]["inner_steps"] is None


def test_ae_pretrain_restarts_its_decoder_afterwards(bench: ModuleType) -> None:
    plain = bench.assemble(SMALL)
    found = bench.phases("ae_pretrain", bench.assemble(SMALL, "ae_pretrain", plain.data))
    for entrant in found.values():
        entrant.step(plain.data.batches("train", 0, 0)[0])
    assert [bool(entrant.parts.procedure.settled) for entrant in found.values()] == [False, True]


def write_run(
    study: Path, head: str, seed: int, rows: dict[int, float], best: int, **overrides: object
) -> None:
    """rows: step -> training seconds so far."""
    name = ",".join(f"{key}={value}" for key, value in overrides.items()) or "default"
    folder = study / "runs" / head / name / f"seed={seed}"
    folder.mkdir(parents=True)
    lines = [
        {"step": step, "split": "valid", "mode": "eval", "seconds": seconds}
        for step, seconds in rows.items()
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    summary = {
        "head": head,
        "seed": seed,
        "overrides": overrides,
        "best_step": best,
        "seconds": max(rows.values()),
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "config.yaml").write_text(json.dumps({"head": head, "seed": seed}))
    (folder / "done").touch()


def test_time_to_the_best_weights_is_paired_with_plain_by_seed(
    bench: ModuleType, tmp_path: Path
) -> None:
    write_run(tmp_path, "plain", 0, {10: 2.0, 20: 4.0}, best=10)
    write_run(tmp_path, "plain", 1, {10: 5.0, 20: 10.0}, best=20)
    write_run(tmp_path, "bn_tau", 0, {10: 3.0, 20: 6.0}, best=20, tau=0.3)
    write_run(tmp_path, "bn_tau", 1, {10: 5.0, 20: 20.0}, best=10, tau=0.3)
    write_run(tmp_path, "bn_tau", 2, {10: 7.0}, best=10, tau=0.3)  # plain has no such seed
    write_run(tmp_path, "bn_mu", 0, {10: 1.0}, best=10, **{"trainer.lr": 1})  # nor such a run
    found = bench.costs_to_best(tmp_path)
    assert found["plain"]["ratio"] == 1 and found["plain"]["runs"] == 2
    assert found["bn_tau tau=0.3"] == {
        "seconds": 6.0,
        "ratio": pytest.approx((6 / 2 + 5 / 10) / 2),
        "ratio_whole_run": pytest.approx((6 / 4 + 20 / 10) / 2),
        "runs": 3,
    }
    assert found["bn_mu"]["ratio"] is None
    with pytest.raises(InputError, match="no folder"):
        bench.costs_to_best(tmp_path / "nothing")
