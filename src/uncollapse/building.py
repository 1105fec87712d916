"""From a config to the components of a run, checked and built: model, data, objective and so on."""

from dataclasses import dataclass
from functools import partial
from math import isqrt
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from uncollapse.config import COMMON, LogConfig, build, conf_file, located, options, typed
from uncollapse.entry import working
from uncollapse.errors import MOST_SIZE, InputError, check_choice, check_integer

if TYPE_CHECKING:
    import torch

    from uncollapse.interfaces.objective import Objective
    from uncollapse.interfaces.procedure import Procedure
    from uncollapse.models import Model
    from uncollapse.training.config import TrainerConfig


@dataclass
class Parts:
    """The components of a run, checked and built."""

    model: Any  # a Model that is an nn.Module
    data: Any
    objective: "Objective"
    procedure: "Procedure"
    trainer: "TrainerConfig"
    log: LogConfig
    device: "torch.device"


def prepare(cfg: DictConfig, head: str, data: Any = None) -> Parts:
    """Check the sections, load the data unless given, and build the slots and the model.

    InputError for anything that is wrong.
    """
    import torch

    from uncollapse.memory import require_memory

    log, trainer = typed(cfg.log, "log", LogConfig), type_trainer(cfg)
    log.check()
    trainer.check()
    device = pick_device(cfg.device)
    torch.set_num_threads(cfg.threads)
    model_cfg, data_cfg = typed(cfg.model, "model"), typed(cfg.data, "data")
    require_same_kind(cfg, model_cfg.takes, data_cfg.kind)
    objective, procedure = build(cfg.objective, "objective"), build(cfg.procedure, "procedure")
    posterior, decoder = partial(build, cfg.posterior, "posterior"), build(cfg.decoder, "decoder")
    # a trial with tiny data: bad knobs and sizes are refused before data are read
    size = trial_size(model_cfg.seen)
    require_memory(partial(model_cfg.build, size, posterior, decoder), list_sizes(cfg))
    trial = model_cfg.build(size, posterior, decoder)
    require_floor_has_weight(trial, objective, head)
    procedure.check(trial, head, trainer.epochs)
    working()
    data = data or data_cfg.load()
    torch.manual_seed(cfg.seed)
    model = model_cfg.build(data.inputs, posterior, decoder)
    objective.shape(model_cfg.latent, data.inputs)
    require_two_examples(data)
    if normalises_over_batch(model) and data.batch_size < 2:
        raise InputError(
            f"data.batch_size={data.batch_size}: head={head} normalises over the batch; "
            "allowed is at least 2"
        )
    for component in (objective, procedure):
        component.state_module().to(device)
    return Parts(model.to(device), data, objective, procedure, trainer, log, device)


def type_trainer(cfg: DictConfig) -> "TrainerConfig":
    """The trainer section. A config saved before an option existed has its default value."""
    from uncollapse.training.config import TrainerConfig

    complete = OmegaConf.merge(conf_file("trainer", "default"), cfg.trainer)
    return typed(complete, "trainer", TrainerConfig)  # type: ignore[arg-type]


def require_same_kind(cfg: DictConfig, takes: str, kind: str) -> None:
    """InputError when the model does not take the kind of the data."""
    if takes != kind:
        names = ", ".join(f"model={name}" for name in list_models(kind))
        raise InputError(
            f"{cfg.model._target_} takes {takes}, and {cfg.data._target_} gives {kind}; "
            f"models that take it: {names}"
        )


def list_models(kind: str) -> list[str]:
    """Names that `model=` takes for data of a kind."""
    files = {name: conf_file("model", name) for name in options("model")}
    classes: dict[str, Any] = {
        name: located(file["_target_"], "model")
        for name, file in files.items()
        if "_target_" in file
    }
    return [name for name, cls in classes.items() if cls.takes == kind]


def list_sizes(cfg: DictConfig) -> dict[str, Any]:
    """The values that decide how large a model is, by key: the model's own and the head's knobs."""
    knobs = {str(key): value for key, value in cfg.items() if key not in COMMON}
    return {f"model.{key}": value for key, value in cfg.model.items()} | knobs


def trial_size(latent: object) -> int:
    """How many words, numbers or pixels the data of a trial have.

    A square, as images have, and at least as many as latent dimensions.
    """
    return max(8, isqrt(check_integer("model.latent", latent, 1, 2 * MOST_SIZE) - 1) + 1) ** 2


def require_floor_has_weight(model: "Model", objective: "Objective", head: str) -> None:
    """InputError for a head that promises a KL floor under an objective that ignores the KL."""
    from uncollapse.training.floor import promised_floor

    floor = promised_floor(model)
    if floor and objective.final_weight == 0:
        raise InputError(
            f"objective.weight=0: head={head} promises a KL of at least {floor:.3g} nats, which "
            "means nothing where the KL has no weight; give a weight above 0, or head=ae"
        )


def normalises_over_batch(model: Any) -> bool:
    from uncollapse.distributions.moments import Moments

    return any(isinstance(module, Moments) for module in model.modules())


def require_two_examples(data: Any) -> None:
    """InputError for a split of one example.

    mi, the shuffled gap and every standard error compare examples, and batch norm needs two.
    """
    for split in ("train", "valid", "test"):
        if data.size(split) < 2:
            raise InputError(
                f"data.{split}: {data.size(split)} example; metrics compare examples, "
                "so at least 2 are needed"
            )


def pick_device(name: object) -> "torch.device":
    """auto, cpu or cuda as a device. InputError when it is unknown or not available."""
    import torch

    if str(name).lower() in ("gpu", "nvidia"):
        raise InputError(f"device={name}: did you mean cuda? allowed are auto, cpu, cuda")
    check_choice("device", name, ("auto", "cpu", "cuda"))
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise InputError(
            "device=cuda: no CUDA device is available; allowed on this machine are auto, cpu"
        )
    return torch.device("cuda" if available and name != "cpu" else "cpu")
