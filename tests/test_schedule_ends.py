"""Runs that are too short for their schedules.

Every schedule and component knows its end; it is reported before and after training and marked in
the report.
"""

import importlib
import json
import math
import pkgutil
from pathlib import Path

import pandas as pd
import pytest
from conftest import ROOT, folder_of, run_here
from test_report import write_run

import uncollapse.objectives
import uncollapse.procedures
from uncollapse.interfaces.objective import Objective
from uncollapse.interfaces.phases import Phased
from uncollapse.objectives.bow import BagOfWords
from uncollapse.objectives.capacity import Capacity
from uncollapse.objectives.control import Control
from uncollapse.objectives.elbo import ELBO
from uncollapse.objectives.mdr import MinimumRate
from uncollapse.objectives.mmd import InfoVAE
from uncollapse.procedures.ae_pretrain import AEPretrain
from uncollapse.procedures.aggressive import Aggressive
from uncollapse.report.notes import cut_off
from uncollapse.report.page import format_terminal as terminal
from uncollapse.report.page import write_report
from uncollapse.report.results import read_study
from uncollapse.report.tables.files import format_latex as latex
from uncollapse.report.tables.paired import paired_table as paired
from uncollapse.report.tables.runs import runs_table as every_run
from uncollapse.report.tables.summary import summary_table as summary
from uncollapse.training.config import TrainerConfig
from uncollapse.training.phases import (
    Length,
    list_phase_warnings,
    list_unfinished_phases,
    select_unfinished,
)
from uncollapse.training.schedules import (
    Constant,
    Cyclical,
    Delayed,
    Linear,
    Logistic,
    ScaledSchedule,
    final_value,
    weight_at,
    weight_phases,
)
from uncollapse.yaml_files import read_yaml

# ---------------------------------------------------------------- where schedules end


@pytest.mark.parametrize(
    ("schedule", "ends"),
    [
        (Linear(10), 10),
        (Linear(0), 0),
        (Delayed(2, 1), 3),
        (Delayed(2, 0), 2),
        (Logistic(1, 8), 1 + math.log(99) / 8),
        (
            Cyclical(20, 4, 0.5),
            17.5,
        ),  # the last cycle starts at 15 and takes 5 epochs, half of them for the ramp
        (Cyclical(20, 4, 1), 20),
        (Cyclical(20, 4, 0), 0),
        (ScaledSchedule(Linear(10), 0.1), 10),
        (ScaledSchedule(Linear(10), 0), 0),
        (ScaledSchedule(0.3, 0.1), 0),
        (Constant(0.4), 0),
    ],
)
def test_schedule_knows_its_end(schedule, ends):
    assert schedule.end_epoch == pytest.approx(ends)
    near = 0.01 * final_value(schedule) + 1e-9 if isinstance(schedule, Logistic) else 1e-9
    for epoch in (ends + 1e-7, ends + 0.3, ends + 50):
        assert weight_at(schedule, epoch) == pytest.approx(final_value(schedule), abs=near)
    if ends:
        assert weight_at(schedule, ends - 0.05) < final_value(schedule)
    assert len(weight_phases(schedule)) == (ends > 0)


def test_logistic_curve_ends_at_99_percent():
    schedule = Logistic(1, 8)
    assert schedule(schedule.end_epoch) == pytest.approx(0.99)


def test_numbers_and_unknown_functions_have_no_end():
    assert weight_phases(0.5) == [] and weight_phases(lambda epoch: epoch) == []


@pytest.mark.parametrize(("steps", "over"), [(59, False), (60, False), (61, True)])
def test_phase_ends_after_one_step_at_final_value(steps, over):
    """6 steps an epoch: step 60 is the last of epoch 10 and still has 59/60 of the weight."""
    last = Length(steps, 6, 20, None).last_position(steps)
    assert (weight_at(Linear(10), last) == 1) is over
    assert (select_unfinished(weight_phases(Linear(10)), last) == []) is over


@pytest.mark.parametrize(("epochs", "complete"), [(1, False), (2, False), (3, True)])
def test_scale_warns_when_final_factors_are_never_reached(epochs, complete, tmp_path, capsys):
    run_here(tmp_path, "scale", f"trainer.epochs={epochs}")
    found = json.loads((folder_of(tmp_path, "scale") / "summary.json").read_text())
    assert found["schedule_complete"] is complete
    said = "std=1: training ends after" in capsys.readouterr().out
    assert said is not complete and bool(found["unfinished"]) is not complete


@pytest.mark.parametrize(("kl", "settled"), [(3.7, True), (4.3, True), (0.2, False), (9.0, False)])
def test_unreached_capacity_is_reported(kl, settled):
    said = Capacity(1.0, 4.0, 1).unsettled([{"step": 1, "kl": 0.0}, {"step": 2, "kl": kl}])
    assert (said is None) is settled and (settled or f"ended at {kl:.2f} nats" in said)
    assert Capacity(1.0, 0.0, 1).unsettled([{"step": 2, "kl": kl}]) is None


def test_rounding_does_not_hide_schedule_end():
    for per_epoch in range(1, 400):
        for epochs in (0.1, 0.3, 0.7, 1.1, 7.7):
            steps = math.ceil(epochs * per_epoch - 1e-9) + 1
            length = Length(steps, per_epoch, 100, steps)
            assert (
                select_unfinished(weight_phases(Linear(epochs)), length.last_position(steps)) == []
            )
            (phase,) = select_unfinished(
                weight_phases(Linear(epochs)), length.last_position(steps - 1)
            )
            assert Length(steps - 1, per_epoch, 100, steps - 1).find_longer(phase) == [
                f"trainer.max_steps of at least {steps}"
            ]


# ---------------------------------------------------------------- ends of objectives and procedures


def list_classes(package):
    """The classes that the modules of a package define and that a config can name for its slot."""
    for found in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{found.name}")
        yield from (
            c
            for c in vars(module).values()
            if isinstance(c, type) and c.__module__ == module.__name__
        )


def test_every_objective_and_procedure_reports_its_end():
    objectives = list(list_classes(uncollapse.objectives))
    procedures = list(list_classes(uncollapse.procedures))
    assert len(objectives) >= 10 and len(procedures) >= 4
    assert [c.__name__ for c in (*objectives, *procedures) if not issubclass(c, Phased)] == []


def test_component_without_schedule_has_no_end():
    for part in (ELBO(), InfoVAE(alpha=0.5, scale=1.0), BagOfWords(1.0, 4), Phased()):
        assert part.phases() == [] and part.unsettled([]) is None


def test_component_with_schedule_names_its_end():
    assert [p.ends for p in Capacity(1.0, 4.0, 3).phases()] == [3]
    assert Capacity(1.0, 4.0, 4).phases()[0].state(1.0) == "at a capacity of 1.00 of 4 nats"
    assert Capacity(1.0, 0.0, 3).phases() == Capacity(1.0, 4.0, 0).phases() == []
    assert [p.ends for p in AEPretrain(2).phases()] == [2] and AEPretrain(0).phases() == []
    assert [p.ends for p in Aggressive(100, 15).phases()] == [1] and Aggressive(
        0, 15
    ).phases() == []
    assert [p.ends for p in MinimumRate(1.0, 0.1, Linear(5)).phases()] == [5]
    both = trainer_config(decay_patience=2, decay_from_epoch=15)
    assert [p.ends for p in both.phases()] == [15]
    assert trainer_config(decay_from_epoch=15).phases() == []
    assert trainer_config(decay_patience=2).phases() == []


def trainer_config(**changes) -> TrainerConfig:
    """The defaults of conf/trainer/default.yaml, changed."""
    return TrainerConfig(**{**read_yaml(ROOT / "conf/trainer/default.yaml"), **changes})


def row(step, kl, weight=0.0):
    return {"step": step, "kl": kl, "weight": weight}


@pytest.mark.parametrize(
    ("kls", "betas", "expected"),
    [
        ((4.0, 4.1), (0.5, 0.52), None),
        ((4.0, 4.5), (0.5, 0.5), "the KL ended at 4.50 nats in training mode, with beta at 0.500"),
        ((4.0, 3.5), (0.5, 0.5), "the KL ended at 3.50"),
        ((4.0, 4.0), (0.3, 0.5), "beta went from 0.300 to 0.500"),
        ((4.0, 4.0), (0.0, 0.0), None),
    ],
)
def test_controller_settles_when_kl_is_reached_and_beta_is_stable(kls, betas, expected):
    control = Control(4.0, 0.01, 1e-3)
    control.beta.fill_(betas[1])
    message = control.unsettled(
        [row(50, kls[0], betas[0]), row(95, 9.9, 0.9), row(100, kls[1], betas[1])]
    )
    assert (
        message is None
        if expected is None
        else message.startswith("set_point=4: ") and expected in message
    )


@pytest.mark.parametrize(
    ("kl", "u", "expected"),
    [
        (4.0, 0.7, None),
        (9.0, 0.0, None),
        (3.0, 0.7, "below the rate"),
        (30.0, 0.9, "above the rate"),
        (3.7, 0.9, None),
    ],
)
def test_multiplier_settles_when_rate_is_kept(kl, u, expected):
    objective = MinimumRate(4.0, 1e-3)
    objective.multiplier.fill_(u)
    message = objective.unsettled([row(100, kl)])
    assert (
        message is None
        if expected is None
        else message.startswith("rate=4: ") and expected in message
    )
    assert MinimumRate(0.0, 1e-3).unsettled([row(100, kl)]) is None


@pytest.mark.parametrize(
    ("aggressive", "information", "expected"),
    [
        (True, 1.3, "never ended"),
        (False, 0.01, "before the codes carried information"),
        (False, 1.3, None),
    ],
)
def test_endless_or_useless_aggressive_phase_is_reported(aggressive, information, expected):
    procedure = Aggressive(100, 15)
    procedure.aggressive.fill_(aggressive)
    procedure.information.fill_(information)
    message = procedure.unsettled([])
    assert message is None if expected is None else expected in message
    off = Aggressive(0, 15)
    assert off.unsettled([]) is None


def test_unfinished_schedule_is_not_checked_for_convergence():
    objective = MinimumRate(4.0, 1e-3, Linear(10))
    parts = [(objective.phases(), objective)]
    short, long = Length(6, 6, 1, None), Length(120, 6, 20, None)
    assert len(list_unfinished_phases(parts, short, 6, {}, [row(6, 0.0)])) == 1
    assert [
        "multiplier" in message
        for message in list_unfinished_phases(parts, long, 120, {}, [row(120, 0.0)])
    ] == [True]


# ---------------------------------------------------------------- warning texts


def test_warning_names_knob_length_weight_and_fix():
    parts = [(weight_phases(Linear(10)), None)]
    assert list_phase_warnings(parts, Length(313, 313, 1, None), {"anneal_epochs": 10}) == [
        "anneal_epochs=10: training ends after 1 epoch, at weight 0.10; "
        "the KL never has its full weight; "
        "give trainer.epochs above 10 or anneal_epochs below 1"
    ]
    # another knob's value; and two limits that both end the run early
    assert list_phase_warnings(parts, Length(100, 313, 1, 100), {"anneal_epochs": 2}) == [
        "objective.weight=Linear(epochs=10): training ends after 0.319 epochs "
        "(trainer.max_steps=100), at weight 0.03; "
        "the KL never has its full weight; give trainer.epochs above 10 and "
        "trainer.max_steps of at least 3131 or an end "
        "before epoch 0.319"
    ]


def test_cyclical_warning_does_not_suggest_more_epochs():
    parts = [(weight_phases(Cyclical(6, 4, 1)), None)]
    (message,) = list_phase_warnings(parts, Length(60, 10, 6, None), {"cycles": 4, "ramp": 1})
    assert "in cycle 4 of 4, at weight 0.93" in message and message.endswith("give ramp below 1")
    assert (
        list_phase_warnings(
            [(weight_phases(Cyclical(6, 4, 0.5)), None)], Length(60, 10, 6, None), {}
        )
        == []
    )


# ---------------------------------------------------------------- runs


def read_final_summary(results: Path, head: str) -> dict:
    return json.loads((folder_of(results, head) / "summary.json").read_text())


def test_unfinished_ramp_is_reported_before_training_and_in_summary(tmp_path, capsys):
    run_here(tmp_path, "kl_anneal", "anneal_epochs=10")
    out = capsys.readouterr().out
    warning, first_row = (
        out.index("warning: anneal_epochs=10: training ends after 2 epochs"),
        out.index("step 0 valid"),
    )
    assert warning < first_row and "give trainer.epochs above 10 or anneal_epochs below 2" in out
    found = read_final_summary(tmp_path, "kl_anneal")
    assert found["final_weight"] == pytest.approx(11 / 60)  # the twelfth step, of 6 an epoch
    assert (
        found["schedule_complete"] is False
        and found["steps_planned"] == 12
        and found["stopped_early"] is False
    )
    assert found["unfinished"] == [
        "anneal_epochs=10: training ended after 2 epochs, at weight 0.18"
    ]


CUT = {
    "kl_logistic midpoint=3": (
        "midpoint=3, steepness=8: training ended after 2 epochs, at weight 8.8e-05"
    ),
    "kl_cyclical trainer.max_steps=3": (
        "cycles=4, ramp=0.5: training ended after 0.5 epochs (trainer.max_steps=3), in cycle 1"
    ),
    "bn_tau_cyclical trainer.max_steps=5": "cycles=4, ramp=0.5: training ended after 0.833 epochs",
    "bow_anneal anneal_epochs=4": "anneal_epochs=4: training ended after 2 epochs, at weight 0.46",
    "ae_pretrain pretrain_epochs=1 trainer.max_steps=4": "while the model is still an autoencoder",
    "capacity capacity_epochs=4": (
        "capacity_epochs=4: training ended after 2 epochs, at a capacity of 1.83 of 4 nats"
    ),
    "aggressive inner_max=2 trainer.max_steps=3": (
        "before the first test of whether the aggressive phase should end"
    ),
    "control": "set_point=4: the controller has not settled",
    "mdr": "rate=4: the multiplier has not settled",
    "plain objective.weight={_target_:uncollapse.training.schedules.Linear,epochs:10}": (
        "objective.weight=Linear(epochs=10): training"
    ),
    (
        "plain trainer.decay_patience=2 trainer.decay_from_epoch=9"
    ): "trainer.decay_from_epoch=9: training ended",
}


@pytest.mark.parametrize("words", CUT)
def test_each_kind_of_schedule_reports_that_it_is_unfinished(words, tmp_path, capsys):
    head, *overrides = words.split()
    run_here(tmp_path, head, *overrides)
    found = read_final_summary(tmp_path, head)
    assert found["schedule_complete"] is False and any(
        CUT[words] in message for message in found["unfinished"]
    ), found["unfinished"]
    assert "warning: " + found["unfinished"][0] in capsys.readouterr().out


@pytest.mark.parametrize(
    "words", ["plain", "beta", "kl_anneal anneal_epochs=1", "kl_cyclical", "bn_tau"]
)
def test_complete_run_has_no_warning(words, tmp_path, capsys):
    head, *overrides = words.split()
    run_here(tmp_path, head, *overrides)
    found = read_final_summary(tmp_path, head)
    assert found["schedule_complete"] is True and found["unfinished"] == []
    assert "training ends" not in capsys.readouterr().out
    assert found["final_weight"] == (0.4 if head == "beta" else 1.0)


def test_patience_counts_from_the_end_of_the_schedule(tmp_path, monkeypatch):
    import uncollapse.training.trainer as trainer

    honest = trainer.evaluate
    # no evaluation is better
    monkeypatch.setattr(trainer, "evaluate", lambda *a: {**honest(*a), "objective": 1.0})
    run_here(tmp_path, "kl_anneal", "trainer.epochs=40", "anneal_epochs=8", "trainer.patience=3")
    found = read_final_summary(tmp_path, "kl_anneal")
    assert found["stopped_early"] is True and found["steps_planned"] == 240
    assert found["step"] == 6 * (8 + 3) and found["best_step"] == 6 * 8
    assert found["unfinished"] == []


def test_custom_objective_without_base_class_trains(tmp_path, monkeypatch):
    class WithoutBase(Objective):
        weight = 1.0

        def __call__(self, *words):
            return ELBO()(*words)

    from uncollapse import building

    honest = building.build
    monkeypatch.setattr(
        building, "build", lambda *a, **k: WithoutBase() if "objective" in a else honest(*a, **k)
    )
    run_here(tmp_path, "plain")
    assert read_final_summary(tmp_path, "plain")["schedule_complete"] is True


# ---------------------------------------------------------------- the report

UNFINISHED = "anneal_epochs=10: training ended after 1 epoch, at weight 0.10"
OPEN = {
    "schedule_complete": False,
    "final_weight": 0.1,
    "unfinished": [UNFINISHED],
    "steps_planned": 9,
}
COMPLETE = {"schedule_complete": True, "final_weight": 1.0, "unfinished": []}


@pytest.fixture
def study(tmp_path: Path, no_figures: None) -> Path:
    """plain is complete, kl_anneal unfinished in one seed of two, bn_mu from an older version."""
    for seed in range(2):
        write_run(tmp_path / "s", "plain", seed, evaluations=3, final=COMPLETE)
        write_run(
            tmp_path / "s", "kl_anneal", seed, evaluations=3, final=OPEN if seed else COMPLETE
        )
        write_run(tmp_path / "s", "bn_mu", seed, evaluations=3)
    return tmp_path / "s"


def test_unfinished_group_is_marked_and_named(study: Path):
    runs = read_study(study).runs
    table = summary(runs)
    assert table.text["group"].tolist() == ["Plain VAE", "BN on μ", "KL annealing †"]
    assert f"KL annealing ({UNFINISHED})." in table.title
    assert cut_off(runs).sum() == 1
    assert (
        paired(runs).text["group"].tolist() == ["BN on μ", "KL annealing †"]
        and "†: training was cut off" in paired(runs).title
    )
    text = every_run(runs).text
    assert [name for name in text["group"] if "†" in name] == [
        "KL annealing †"
    ] and UNFINISHED in text["message"].tolist()
    assert r"\dag{}" in latex(table) and "†" not in latex(table).split("\n", 1)[1]
    page, message = write_report(study)
    assert (
        "KL annealing †" in page.read_text()
        and "KL annealing †" in message
        and UNFINISHED in message
    )


def test_csv_lists_unfinished_schedules_and_omits_old_runs(study: Path):
    write_report(study)
    runs = pd.read_csv(study / "report" / "tables" / "runs.csv")
    assert runs["schedule_complete"].tolist()[:2] == [1, 1] and runs[
        "unfinished"
    ].dropna().tolist() == [UNFINISHED]
    assert (
        runs.loc[runs["head"] == "bn_mu", ["schedule_complete", "final_weight"]]
        .isna()
        .all(axis=None)
    )
    table = pd.read_csv(study / "report" / "tables" / "summary.csv").set_index("group")
    assert table["cut_off"].to_dict() == {"Plain VAE": 0, "BN on μ": 0, "KL annealing": 1}
    old = summary(read_study(study).runs[lambda runs: runs["head"] == "bn_mu"])
    assert "†" not in old.title + "".join(old.text["group"])


def test_unfinished_groups_are_counted_and_few_named(tmp_path: Path):
    for tau in range(1, 10):
        write_run(tmp_path / "s", "bn_tau", 0, overrides=f"tau=0.{tau}", evaluations=3, final=OPEN)
    assert summary(read_study(tmp_path / "s").runs).title.count("τ=0.") == 6
    study = read_study(tmp_path / "s")
    assert (
        "and 3 more" in summary(study.runs).title
        and terminal(study, summary(study.runs)).count("†") == 10
    )
