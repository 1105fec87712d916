"""Checks a config and builds the components of a run: model, data, objective and the others."""

from dataclasses import dataclass
from functools import partial
from math import isqrt
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from uncollapse.config import options, read_option
from uncollapse.config.sections import LogConfig, load_section
from uncollapse.config.targets import build, locate_class, resolve_node
from uncollapse.device import keep_freed_memory, pick_device
from uncollapse.entry import enable_clean_stop
from uncollapse.errors import MAX_SIZE, InputError, check_integer
from uncollapse.metrics import catalogue
from uncollapse.metrics.metric import END, PASS, TRAINING

if TYPE_CHECKING:
    import torch

    from uncollapse.decoders import WatchedOptions
    from uncollapse.interfaces.data import Data
    from uncollapse.interfaces.model import Model
    from uncollapse.interfaces.objective import Objective
    from uncollapse.interfaces.procedure import Procedure
    from uncollapse.runs.layout import Run
    from uncollapse.runs.rows import Record
    from uncollapse.training.config import TrainerConfig
    from uncollapse.training.reporter import Reporter
    from uncollapse.training.trainer import Trainer


@dataclass
class Parts:
    """The components of a run, checked and built."""

    model: "Model"
    data: "Data"
    objective: "Objective"
    procedure: "Procedure"
    trainer: "TrainerConfig"
    log: LogConfig
    device: "torch.device"


def prepare(cfg: DictConfig, head: str, data: "Data | None" = None) -> Parts:
    """Check the sections, load the data unless given, and build the slots and the model.

    InputError for a bad setting, data set, or metric function that cannot be imported.
    """
    import torch

    from uncollapse.decoders import WatchedOptions
    from uncollapse.memory import list_sizes, require_memory
    from uncollapse.model_trial import try_own_parts
    from uncollapse.training.config import TrainerConfig

    log, trainer = (
        load_section(cfg.log, "log", LogConfig),
        load_section(cfg.trainer, "trainer", TrainerConfig),
    )
    log.check()
    trainer.check()
    # otherwise the functions of END would be imported only after all training
    catalogue.require_functions(PASS, TRAINING, END)
    device = pick_device(cfg.device)
    # null only where a caller leaves its process as it is
    if cfg.threads is not None:
        torch.set_num_threads(cfg.threads)
        keep_freed_memory()
    model_cfg, data_cfg = load_section(cfg.model, "model"), load_section(cfg.data, "data")
    require_same_kind(cfg, model_cfg.takes, data_cfg.kind)
    objective, procedure = build(cfg.objective, "objective"), build(cfg.procedure, "procedure")
    posterior, decoder = partial(build, cfg.posterior, "posterior"), build(cfg.decoder, "decoder")
    # build a trial model for tiny data first: bad knobs and sizes are refused before data are read
    size = trial_size(model_cfg.seen)
    require_memory(partial(model_cfg.build, size, posterior, decoder), list_sizes(cfg))
    watched = WatchedOptions(decoder)
    trial = model_cfg.build(size, posterior, watched)
    require_model(trial, cfg.model._target_)
    require_decoder_used(watched, head, cfg.model._target_)
    require_floor_has_weight(trial, objective, head)
    procedure.check(trial, head, trainer.epochs)
    # from here on the work may take minutes, so Ctrl-C should leave a run that can be resumed
    enable_clean_stop()
    data = data or data_cfg.load()
    # after the trial model and the data, which may have drawn random numbers
    torch.manual_seed(cfg.seed)
    model = model_cfg.build(data.inputs, posterior, decoder)
    objective.shape(model_cfg.latent, data.inputs)
    require_two_examples(data)
    require_batch_of_two(model, data, head)
    slots = {slot: resolve_node(cfg[slot], slot) for slot in ("model", "posterior", "decoder")}
    try_own_parts(model, data, model_cfg.latent, slots)
    model.check_data(data)
    for component in (objective, procedure):
        component.state_module().to(device)
    return Parts(model.to(device), data, objective, procedure, trainer, log, device)


def build_trainer(
    parts: Parts, run: "Run", record: "Record", seed: int, reporter: "Reporter"
) -> "Trainer":
    """The trainer of a run; nothing is written before `fit` is called."""
    from uncollapse.training.trainer import Trainer, TrainerSetup

    setup = TrainerSetup(
        config=parts.trainer,
        model=parts.model,
        data=parts.data,
        objective=parts.objective,
        procedure=parts.procedure,
        run=run,
        record=record,
        seed=seed,
        reporter=reporter,
    )
    return Trainer(setup)


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
    from uncollapse.interfaces.model import ModelConfig

    files = {name: read_option("model", name) for name in options("model")}
    classes = {
        name: locate_class(file["_target_"], "model")
        for name, file in files.items()
        if "_target_" in file
    }
    return [
        name for name, cls in classes.items() if issubclass(cls, ModelConfig) and cls.takes == kind
    ]


def trial_size(latent: object) -> int:
    """The number of words, numbers or pixels in the data of a trial model.

    A square number, as images need, and at least as large as `latent`.
    """
    return max(8, isqrt(check_integer("model.latent", latent, 1, 2 * MAX_SIZE) - 1) + 1) ** 2


def require_model(model: object, name: str) -> None:
    """InputError unless a model has what trainer, procedures and metrics need."""
    from uncollapse.interfaces.model import Model
    from uncollapse.interfaces.posterior import PosteriorHead

    if not isinstance(model, Model):
        raise InputError(
            f"{name}: `build` returned a {type(model).__name__}; allowed is a subclass of "
            "uncollapse.interfaces.model.Model"
        )
    if not isinstance(dict(model.named_children()).get("posterior"), PosteriorHead):
        raise InputError(
            f"{name}: the model has no `posterior`, which must be the head that `build` was given "
            "a function for: self.posterior = posterior(hidden, latent)"
        )


def require_decoder_used(decoder: "WatchedOptions", head: str, name: str) -> None:
    """InputError for a head that changes the decoder, if the model never asked for the change.

    Such a run would train as plain.
    """
    unread = set(decoder.options.changes) - decoder.read
    for change in sorted(unread):
        use = {
            "word_dropout": "hides words with decoder.word_dropout",
            "output": "builds its output layer with decoder.output(latent, outputs)",
        }[change]
        raise InputError(
            f"head={head} changes decoder.{change}, which {name} does not read, so the run would "
            f"train as plain; a model that supports it {use}"
        )


def require_floor_has_weight(model: "Model", objective: "Objective", head: str) -> None:
    """InputError for a head that promises a KL floor under an objective that ignores the KL."""
    floor = model.posterior.floor()
    if floor and objective.final_weight == 0:
        raise InputError(
            f"objective.weight=0: head={head} promises a KL of at least {floor:.3g} nats, which "
            "has no meaning where the KL has no weight; give a weight above 0, or head=ae"
        )


def require_batch_of_two(model: "Model", data: "Data", head: str) -> None:
    """InputError for a batch-norm head whose batches hold a single example."""
    if normalises_over_batch(model) and data.batch_size < 2:
        raise InputError(
            f"data.batch_size={data.batch_size}: head={head} normalises over the batch; "
            "allowed is at least 2"
        )


def normalises_over_batch(model: "Model") -> bool:
    """Whether a component of the model uses batch statistics."""
    from uncollapse.distributions.moments import Moments

    return any(isinstance(module, Moments) for module in model.modules())


def require_two_examples(data: "Data") -> None:
    """InputError for a split of one example.

    mi, the shuffled gap and every standard error compare examples, and batch norm needs two.
    """
    for split in ("train", "valid", "test"):
        if data.size(split) < 2:
            raise InputError(
                f"data.{split}: {data.size(split)} example; metrics compare examples, "
                "so at least 2 are needed"
            )
