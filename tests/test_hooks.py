"""A misspelt hook is refused when its class is first used, for every kind of class."""

import inspect
import re
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from uncollapse.config import heads
from uncollapse.errors import InputError
from uncollapse.interfaces.objective import Loss, Objective, ObjectiveModule
from uncollapse.interfaces.phases import Phased
from uncollapse.interfaces.procedure import Procedure, ProcedureModule, Training
from uncollapse.objectives.elbo import ELBO
from uncollapse.procedures.joint import Joint
from uncollapse.training.schedules import Curve

MISSPELT = {  # by interface: misspelt name -> intended hook
    Objective: {
        "updte": "update",
        "phase": "phases",
        "unsetled": "unsettled",
        "wieght": "weight",
        "final_wieght": "final_weight",
        "shapes": "shape",
        "state_modul": "state_module",
    },
    Procedure: {
        "setled": "settled",
        "begn": "begin",
        "infere": "infer",
        "chek": "check",
        "phase": "phases",
        "unsetled": "unsettled",
    },
    Phased: {"phase": "phases", "unsetled": "unsettled"},
    Curve: {"end_epch": "end_epoch", "knob": "knobs", "moves_with_epoch": "moves_with_epochs"},
}
CASES = [(base, name, hook) for base, names in MISSPELT.items() for name, hook in names.items()]
COMPLETE: dict[type, dict[str, Any]] = {  # the abstract methods of each interface
    Objective: {"weight": 1.0, "__call__": lambda self, *words: ELBO()(*words)},
    Procedure: {"step": lambda self, training, batch: Joint().step(training, batch)},
    Phased: {},
    Curve: {"__call__": lambda self, epoch: 1.0},
}


def nothing(*words: Any) -> None:
    """Stands for any hook."""


@pytest.mark.parametrize("base", COMPLETE)
def test_class_without_hooks_is_accepted(base: type) -> None:
    type(base)("Mine", (base,), COMPLETE[base])()


@pytest.mark.parametrize(("base", "name", "hook"), CASES)
def test_misspelt_method_error_suggests_hook(base: type, name: str, hook: str) -> None:
    made = type(base)("Mine", (base,), {**COMPLETE[base], name: nothing})
    with pytest.raises(InputError, match=rf"^Mine\.{name}: no such hook; did you mean {hook}\?"):
        made()


@pytest.mark.parametrize(("base", "name", "hook"), CASES)
def test_misspelt_dataclass_field_is_refused(base: type, name: str, hook: str) -> None:
    space = {**COMPLETE[base], "__annotations__": {name: float}, name: 0.0}
    with pytest.raises(InputError, match=f"did you mean {hook}"):
        dataclass(frozen=True)(type(base)("Mine", (base,), space))()


@pytest.mark.parametrize(
    ("base", "name", "hook"), [case for case in CASES if case[0] in (Objective, Procedure)]
)
@pytest.mark.parametrize("kind", ["buffer", "parameter", "module", "attribute"])
def test_misspelt_module_attribute_is_refused(base: type, name: str, hook: str, kind: str) -> None:
    value: dict[str, Any] = {
        "buffer": torch.nn.Buffer(torch.tensor(0.0)),
        "parameter": torch.nn.Parameter(torch.tensor(0.0)),
        "module": torch.nn.Linear(1, 1),
        "attribute": 0.0,
    }

    class MyObjective(ObjectiveModule):
        weight = 1.0

        def __init__(self) -> None:
            super().__init__()
            setattr(self, name, value[kind])

        def forward(self, *words: Any) -> Loss:
            return ELBO()(*words)

    class MyProcedure(ProcedureModule):
        def __init__(self) -> None:
            super().__init__()
            setattr(self, name, value[kind])

        def step(self, training: Training, batch: Any) -> Loss:
            return Joint().step(training, batch)

    with pytest.raises(InputError, match=f"did you mean {hook}"):
        MyObjective() if base is Objective else MyProcedure()


def test_misspelt_hook_of_parent_class_is_refused() -> None:
    parent = type(Joint)("Parent", (Joint,), {"setled": True})
    child = type(Joint)("Child", (parent,), {})
    with pytest.raises(InputError, match=r"^Child\.setled: .* settled"):
        child()


def test_buffer_hiding_a_hook_is_refused() -> None:
    class Mine(ProcedureModule):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("settled", torch.tensor(False))

        def step(self, training: Training, batch: Any) -> Loss:
            return Joint().step(training, batch)

    with pytest.raises(KeyError, match="settled"):
        Mine()


@pytest.mark.parametrize(("base", "left_out"), [(Objective, "__call__"), (Procedure, "step")])
def test_class_without_abstract_method_is_refused(base: type, left_out: str) -> None:
    with pytest.raises(TypeError, match=f"abstract method '?{left_out}"):
        type(base)("Mine", (base,), {"weight": 1.0})()


def test_objective_without_weight_is_refused() -> None:
    mine = type(ELBO)("Mine", (Objective,), {"__call__": COMPLETE[Objective]["__call__"]})
    with pytest.raises(InputError, match=r"^Mine has no weight, which its interface requires$"):
        mine()


@pytest.mark.parametrize("weight", [torch.nn.Buffer(torch.tensor(1.0)), 1.0])
def test_module_weight_can_be_attribute_or_buffer(weight: Any) -> None:
    class Mine(ObjectiveModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight = weight

        def forward(self, *words: Any) -> Loss:
            return ELBO()(*words)

    assert Mine().weight == 1


def test_module_keeps_its_own_state_for_either_base_order() -> None:
    class Direct(torch.nn.Module, Procedure):
        def step(self, training: Training, batch: Any) -> Loss:
            return Joint().step(training, batch)

    made = Direct()
    assert made.state_module() is made and not list(Joint().state_module().parameters())


def test_class_signature_matches_constructor() -> None:
    assert list(inspect.signature(ELBO).parameters) == ["weight"]
    assert not inspect.signature(Joint).parameters


@pytest.mark.slow  # a head of one's own passes `make test` without documentation
def test_every_kl_weight_head_is_listed_in_objectives() -> None:
    """Heads that change nothing but the KL weight have no file; the package lists them."""
    import uncollapse.objectives as objectives
    from uncollapse.config import parents_of
    from uncollapse.config.knobs import read_choices

    only_weight = {
        head
        for head in heads()
        if not parents_of(head)
        and (choices := read_choices(head))
        and all(place.startswith("objective.weight") for place in choices)
    }
    listed = {
        line.split()[0] for line in str(objectives.__doc__).splitlines() if line[:4] == "    "
    }
    assert listed == only_weight and {"ae", "beta"} <= listed


@pytest.mark.parametrize(
    ("base", "name", "sentence"),
    [
        (Objective, "settled", "settled is a hook of procedures; did you mean unsettled?"),
        (Procedure, "floor", "floor is a hook of posteriors and is not called here"),
        (Procedure, "features", "features is a hook of decoders and is not called here"),
        (Objective, "begin", "begin is a hook of procedures and is not called here"),
        (Procedure, "get_phases", "no such hook; did you mean phases?"),
    ],
)
def test_hook_of_another_slot_is_refused(base: type, name: str, sentence: str) -> None:
    made = type(base)("Mine", (base,), {**COMPLETE[base], name: nothing})
    with pytest.raises(InputError, match=rf"^Mine\.{name}: {re.escape(sentence)}"):
        made()


def test_field_named_like_a_hook_of_another_slot_is_accepted() -> None:
    space = {**COMPLETE[Procedure], "__annotations__": {"weight": float}, "weight": 0.0}
    dataclass(frozen=True)(type(Procedure)("Mine", (Procedure,), space))()


@pytest.mark.parametrize(
    ("base", "name", "hook", "sentence"),
    [
        (Objective, "update", lambda self: None, "it is called as update(loss) (too many"),
        (Objective, "__call__", lambda self, nll, q, z: None, "it is called as __call__(nll, q"),
        (Objective, "shape", lambda self, a, b, c: None, "it is called as shape(latent, inputs)"),
        (Procedure, "infer", lambda self, model, batch: None, "(model, batch, generator) (too"),
        (Procedure, "settled", lambda self: False, "it is a property; add @property"),
        (Procedure, "phases", property(lambda self: []), "it is a method; remove @property"),
    ],
)
def test_hook_that_cannot_be_called_is_refused(
    base: type, name: str, hook: Any, sentence: str
) -> None:
    made = type(base)("Mine", (base,), {**COMPLETE[base], name: hook})
    with pytest.raises(InputError, match=rf"^Mine\.{name}: .*{re.escape(sentence)}"):
        made()


def test_hook_with_other_names_or_more_defaults_is_accepted() -> None:
    hook = {"update": lambda self, result, more=None: None, "shape": lambda self, *sizes: None}
    type(Objective)("Mine", (Objective,), {**COMPLETE[Objective], **hook})()
