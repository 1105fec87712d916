"""From a config to the parts of a run, checked and built: model, data, objective, procedure, trainer."""

from dataclasses import dataclass
from functools import partial
from math import isqrt
from typing import Any

from omegaconf import DictConfig

from uncollapse.config import COMMON, LogConfig, build, conf_file, located, options, typed
from uncollapse.entry import enable_clean_stop
from uncollapse.errors import MOST_SIZE, InputError, check_choice, check_integer


@dataclass
class Parts:
    """Everything a run is made of, checked and built."""

    model: Any
    data: Any
    objective: Any
    procedure: Any
    trainer: Any
    log: LogConfig
    device: Any


def prepare(cfg: DictConfig, head: str, data: Any = None) -> Parts:
    """Type the sections, load the data (unless given), build the slots and the model. InputError for anything that is wrong."""
    import torch

    from uncollapse.memory import require_room
    from uncollapse.training.trainer import TrainerConfig

    log, trainer = typed(cfg.log, "log", LogConfig), typed(cfg.trainer, "trainer", TrainerConfig)
    log.check()
    trainer.check()
    device = pick_device(cfg.device)
    torch.set_num_threads(cfg.threads)
    model_cfg, data_cfg = typed(cfg.model, "model"), typed(cfg.data, "data")
    if model_cfg.takes != data_cfg.kind:
        raise InputError(
            f"{cfg.model._target_} takes {model_cfg.takes}, and {cfg.data._target_} gives {data_cfg.kind}; models that take it: "
            + ", ".join(f"model={name}" for name in models_for(data_cfg.kind))
        )
    objective, procedure = build(cfg.objective, "objective"), build(cfg.procedure, "procedure")
    posterior, decoder = partial(build, cfg.posterior, "posterior"), build(cfg.decoder, "decoder")
    # a trial with tiny data: bad knobs and sizes are refused before data is read
    size = trial_size(getattr(model_cfg, "seen", model_cfg.latent))
    require_room(partial(model_cfg.build, size, posterior, decoder), sizes_of(cfg))
    trial = model_cfg.build(size, posterior, decoder)
    require_sense(trial, objective, procedure, head, trainer.epochs)
    enable_clean_stop()
    data = data or data_cfg.load()
    torch.manual_seed(cfg.seed)
    model = model_cfg.build(data.inputs, posterior, decoder)
    if hasattr(objective, "shape"):
        objective.shape(model_cfg.latent, data.inputs)
    require_two(data)
    if normalises_over_batch(model) and data.batch_size < 2:
        raise InputError(
            f"data.batch_size={data.batch_size}: head={head} normalises over the batch; allowed is at least 2"
        )
    for part in (objective, procedure):
        if isinstance(part, torch.nn.Module):
            part.to(device)
    return Parts(model.to(device), data, objective, procedure, trainer, log, device)


def models_for(kind: str) -> list[str]:
    """Names that `model=` takes for data of a kind."""
    files = {name: conf_file("model", name) for name in options("model")}
    classes: dict[str, Any] = {
        n: located(file["_target_"], "model") for n, file in files.items() if "_target_" in file
    }
    return [name for name, found in classes.items() if found.takes == kind]


def sizes_of(cfg: DictConfig) -> dict[str, Any]:
    """The numbers that a model may be as large as: the model's own and the head's knobs, by key."""
    knobs = {str(key): value for key, value in cfg.items() if key not in COMMON}
    return {f"model.{key}": value for key, value in cfg.model.items()} | knobs


def trial_size(latent: object) -> int:
    """How many words, numbers or pixels the data of a trial have: a square, as images are, and no fewer than latent dimensions."""
    return max(8, isqrt(check_integer("model.latent", latent, 1, 2 * MOST_SIZE) - 1) + 1) ** 2


def require_sense(model: Any, objective: Any, procedure: Any, head: str, epochs: int) -> None:
    """InputError for parts that contradict each other: a KL floor that nothing asks for, a procedure that cannot treat the head, or
    that would not get to the end of its first phase."""
    from uncollapse.training.trainer import promised_floor

    floor = promised_floor(model)
    if floor and getattr(objective, "final_weight", 1.0) == 0:
        raise InputError(
            f"objective.weight=0: head={head} promises a KL of at least {floor:.3g} nats, which means nothing where the KL has no "
            "weight; give a weight above 0, or head=ae"
        )
    if hasattr(procedure, "check"):
        procedure.check(model, head)
    if getattr(procedure, "pretrain_epochs", 0) >= epochs:
        raise InputError(
            f"pretrain_epochs={procedure.pretrain_epochs:g}: with trainer.epochs={epochs} nothing would follow the autoencoder; "
            f"allowed is pretrain_epochs < {epochs}"
        )


def normalises_over_batch(model: Any) -> bool:
    from uncollapse.distributions.moments import Moments

    return any(isinstance(m, Moments) for m in model.modules())


def require_two(data: Any) -> None:
    """InputError for a split of one example: mi, the shuffled gap and every error compare examples, and batch norm needs two."""
    for split in ("train", "valid", "test"):
        if data.size(split) < 2:
            raise InputError(
                f"data.{split}: {data.size(split)} example; metrics compare examples, so at least 2 are needed"
            )


def pick_device(name: object) -> Any:
    """auto, cpu or cuda as a torch.device. InputError when it is unknown or not there."""
    import torch

    if str(name).lower() in ("gpu", "nvidia"):
        raise InputError(f"device={name}: did you mean cuda? allowed are auto, cpu, cuda")
    check_choice("device", name, ("auto", "cpu", "cuda"))
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise InputError(
            "device=cuda: no CUDA device is there; allowed on this machine are auto, cpu"
        )
    return torch.device("cuda" if there and name != "cpu" else "cpu")
