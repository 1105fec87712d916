"""Checks of initial weights and gradients."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from uncollapse.building import Parts, build_trainer
from uncollapse.config import SLOTS, knobs_of
from uncollapse.contract.case import Case
from uncollapse.interfaces.model import Model
from uncollapse.runs.layout import Run
from uncollapse.training.trainer import Trainer

# its linear layer is that of plain, so that both start from the same weights; kappa is constant
UNUSED_OUTPUTS = ("vmf",)


def check_what_is_changed(case: Case) -> None:
    """A head changes only slots, its label and its knobs."""
    plain, cfg = Case("plain", case.setting, case.folder).config(), case.config()
    changed = {str(k) for k in cfg if k not in plain or cfg[k] != plain[k]}
    allowed = {*SLOTS, "label", "hydra", *knobs_of(case.head)}
    assert changed <= allowed, f"head={case.head} sets {', '.join(sorted(changed - allowed))}"


def check_initial_weights(case: Case) -> None:
    """Weights that plain has as well start from the same values."""
    plain = Case("plain", case.setting, case.folder).parts().model.state_dict()
    model = case.parts().model
    ours = model.state_dict()
    for name, weight in plain.items():
        if name.startswith("posterior.") and has_no_posterior_weights(model):
            continue
        assert torch.equal(weight, ours[name]), f"{name} starts from other values than in plain"


def has_no_posterior_weights(model: Model) -> bool:
    """Whether the posterior has no weights.

    Then there is no code, and nothing that an encoder could learn.
    """
    return not list(model.posterior.parameters())


# ---------------------------------------------------------------- training


def make_silent_trainer(parts: Parts, folder: Path) -> Trainer:
    """The trainer of a run, without files."""
    silent: Any = None
    return build_trainer(parts, Run(folder), silent, seed=0, reporter=silent)


def make_one_step(trainer: Trainer, step: int) -> None:
    """One training step at a given position, on the first batch."""
    batch = trainer.data.batch("train", trainer.data.batches("train", 0, 0)[0])
    trainer.model.train()
    trainer.training.step = step
    loss = trainer.procedure.step(trainer.training, batch)
    trainer.objective.update(loss)


def check_gradients(case: Case, scale: float = 1.0, *words: str) -> None:
    """Finite gradients reach every parameter, before and after schedules; weights times scale.

    In the posterior they also reach every row of a weight: a row without makes an unused output.
    """
    parts = case.parts(*words)
    with torch.no_grad():
        for parameter in parts.model.parameters():
            parameter.mul_(scale)
    trainer = make_silent_trainer(parts, case.folder)
    own = parts.objective.named_parameters() if isinstance(parts.objective, torch.nn.Module) else ()
    named = {**dict(parts.model.named_parameters()), **{f"objective.{name}": p for name, p in own}}
    reached: dict[str, Tensor] = {}
    used: dict[str, Tensor] = {}
    for name, parameter in named.items():
        parameter.register_hook(partial(note_gradient, name, reached))
    # without a code nothing reaches the encoder
    unused = parts.model.parts()["encoder"] if has_no_posterior_weights(parts.model) else []
    expected = named.keys() - {n for n, p in named.items() if any(p is other for other in unused)}
    for step in (0, 10 * trainer.length.per_epoch + 1):  # schedules begin and have ended
        reached.clear()
        make_one_step(trainer, step)
        missed = expected - reached.keys()
        assert reached.keys() == expected, f"no gradient of {', '.join(sorted(missed))}"
        used = {name: rows | used.get(name, False) for name, rows in reached.items()}
    for name, rows in used.items():
        if name.startswith("posterior.") and case.head not in UNUSED_OUTPUTS:
            without = (~rows).nonzero().flatten().tolist()
            assert not without, f"the gradient of {name} is 0 in rows {without}: nothing uses them"
    for name, parameter in named.items():
        assert parameter.isfinite().all(), f"{name} is not finite after a step"


def note_gradient(name: str, reached: dict[str, Tensor], gradient: Tensor) -> None:
    """Note in which rows of a parameter a finite gradient is not 0; a vector counts as one row."""
    assert gradient.isfinite().all(), f"the gradient of {name} is not finite"
    rows = (gradient if gradient.dim() > 1 else gradient.reshape(1, -1)).ne(0).flatten(1).any(1)
    reached[name] = rows | reached.get(name, False)
