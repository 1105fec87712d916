"""scripts/bench: the training cost of a head in each phase, and up to its best weights."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from conftest import SMALL as SHORT

from bench import best, command, generated, harness, heads, likelihood, published, training
from uncollapse.errors import InputError

SMALL = [*SHORT, "trainer.epochs=3"]  # longer than ae_pretrain's first phase


@pytest.mark.slow
def test_head_is_timed_in_each_phase() -> None:
    names = ["bn_mu", "bow", "mdr", "aggressive", "semi_amortized", "ae_pretrain"]
    costs = heads.measure_step_costs(names, rounds=19, warm_up=2, overrides=SMALL)
    two_phases = {"aggressive", "ae_pretrain"}
    assert set(costs) == {"plain", *names, *(f"{name}, afterwards" for name in two_phases)}
    assert costs["plain"].ratio == 1 and all(cost.seconds > 0 for cost in costs.values())
    aggressive, afterwards = costs["aggressive"], costs["aggressive, afterwards"]
    assert aggressive.inner_steps is not None and aggressive.inner_steps >= 15
    assert aggressive.ratio > heads.SLOW
    assert aggressive.rounds == 2 and afterwards.rounds == 19
    assert afterwards.inner_steps is None


def test_ae_pretrain_restarts_decoder_after_timing() -> None:
    plain = harness.assemble(SMALL)
    phases = heads.list_phases("ae_pretrain", harness.assemble(SMALL, "ae_pretrain", plain.data))
    for entrant in phases.values():
        entrant.step(plain.data.batches("train", 0, 0)[0])
    assert [bool(entrant.parts.procedure.settled) for entrant in phases.values()] == [False, True]


def test_both_loops_have_same_loss_on_generated_text() -> None:
    shape = generated.TextShape(60, mean=8, spread=3, shortest=2, longest=15)
    size = harness.ModelSize(tuple(SHORT[3:]), steps=2, quick=1, warm_up=1, text=shape)
    speed = training.compare_steps(size, steps=2)
    assert speed.loss_difference < 1e-5 and speed.ratio > 0 and speed.steps == 2
    costs = likelihood.compare_nll(size.assemble(), count=2, candidates=2)
    assert costs.difference < 1e-3 and costs.sentences == 2


def write_run(
    study: Path, head: str, seed: int, rows: dict[int, float], best: int, **overrides: object
) -> None:
    """`rows` maps a step to the training seconds so far."""
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


def write_study(study: Path) -> None:
    write_run(study, "plain", 0, {10: 2.0, 20: 4.0}, best=10)
    write_run(study, "plain", 1, {10: 5.0, 20: 10.0}, best=20)
    write_run(study, "bn_tau", 0, {10: 3.0, 20: 6.0}, best=20, tau=0.3)
    write_run(study, "bn_tau", 1, {10: 5.0, 20: 20.0}, best=10, tau=0.3)
    write_run(study, "bn_tau", 2, {10: 7.0}, best=10, tau=0.3)  # plain has no run with this seed
    write_run(study, "bn_mu", 0, {10: 1.0}, best=10, **{"trainer.lr": 1})  # nor this run


def test_time_to_best_weights_is_paired_with_plain_by_seed(tmp_path: Path) -> None:
    write_study(tmp_path)
    costs = best.read_best_costs(tmp_path)
    assert costs["plain"].ratio == 1 and costs["plain"].runs == 2
    assert asdict(costs["bn_tau tau=0.3"]) == {
        "seconds": 6.0,
        "ratio": pytest.approx((6 / 2 + 5 / 10) / 2),
        "ratio_whole_run": pytest.approx((6 / 4 + 20 / 10) / 2),
        "runs": 3,
    }
    assert costs["bn_mu"].ratio is None
    with pytest.raises(InputError, match="no folder"):
        best.read_best_costs(tmp_path / "nothing")


def test_command_reads_study_once_and_writes_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_study(tmp_path / "study")
    reads = []

    def count_reads(study: Path) -> dict[str, best.BestCost]:
        reads.append(study)
        return best.read_best_costs(study)

    step_cost = heads.StepCost(0.01, 1.0, (0.9, 1.1), rounds=20, inner_steps=None)
    monkeypatch.setattr(command, "measure_heads", lambda quick, names: {"plain": step_cost})
    monkeypatch.setattr(command, "read_best_costs", count_reads)
    words = ["heads", "--study", str(tmp_path / "study"), "--json", str(tmp_path / "out.json")]
    monkeypatch.setattr(sys, "argv", ["bench", *words])
    assert command.main() == 0
    assert reads == [tmp_path / "study"]
    results = json.loads((tmp_path / "out.json").read_text())["heads"]
    assert results["steps"]["plain"]["quartiles"] == [0.9, 1.1]
    assert results["best"]["bn_tau tau=0.3"]["runs"] == 3


def test_published_loop_trains_the_same_model_on_batches_of_one_length() -> None:
    shape = generated.TextShape(60, mean=8, spread=3, shortest=2, longest=15)
    size = harness.ModelSize(tuple(SHORT[3:]), steps=2, quick=1, warm_up=1, text=shape)
    parts = size.assemble()
    lengths = parts.data.corpora["train"].lengths
    batches = published.iterate_equal_lengths(parts)
    step = published.make_published_step(parts)
    for _ in range(3):
        examples = next(batches)
        assert len(set(lengths[examples])) == 1
        step(examples)
    speed = published.compare_loops(size, steps=3)
    low, high = speed.ratio_quartiles
    assert 0 < low <= speed.ratio <= high and speed.steps == 3
    for each in published.PUBLISHED_SIZES.values():
        assert "trainer=published" in each.overrides
