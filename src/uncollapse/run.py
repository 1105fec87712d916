"""One run, from the composed config to the finished folder, as numbered steps."""

import hashlib
import json
import re
import resource
import shlex
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import isqrt
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from uncollapse.config import (
    COMMON,
    LogConfig,
    build,
    check_folder,
    check_head,
    check_knobs,
    check_root,
    check_text,
    conf_file,
    located,
    options,
    resolved,
    typed,
)
from uncollapse.disk import locked, write_atomic
from uncollapse.entry import interrupted, working
from uncollapse.errors import MOST_SIZE, InputError, one_of, whole
from uncollapse.overrides import changing
from uncollapse.runs.identity import changes, twin
from uncollapse.runs.provenance import provenance, versions
from uncollapse.yaml_files import read_config

NOT_IN_NAME = ("head", "seed", "study", "results", "experiment", "log")


@dataclass(frozen=True)
class Request:
    """What was asked for: the head, the other overrides that change something by key, the folder, the whole config as plain
    values, the config without these overrides, and the command."""

    head: str
    overrides: dict[str, Any]
    folder: Path
    config: dict[str, Any]
    base: dict[str, Any]
    command: str

    @property
    def name(self) -> str:
        return " ".join([self.head, *(f"{k}={v}" for k, v in self.overrides.items()), f"seed={self.config['seed']}"])


def run(cfg: DictConfig, head: object, overrides: list[str]) -> str:
    """Carry out one run; "done" or "skipped". InputError for bad input, before anything is written."""
    # 1. what is asked for
    request = understand(cfg, check_head(head), overrides)
    if finished(request):
        print(f"skipped: {request.folder} is done with this config")
        return "skipped"

    # 2. everything that can be wrong with it is found here
    parts = prepare(cfg, request.head)

    # 3. the run folder; from here on a failure is written into it
    with opened(request, parts):
        # 4. train and test
        summary = work(cfg, request, parts)
        # 5. done
        write_atomic(request.folder / "summary.json", (json.dumps(summary, indent=1) + "\n").encode())
        write_atomic(request.folder / "done", b"")
    return "done"


# ---------------------------------------------------------------- 1. what is asked for


def understand(cfg: DictConfig, head: str, overrides: list[str]) -> Request:
    """The request behind a composed config and the override words it came from. InputError for unknown knobs and bad roots."""
    check_knobs(cfg, head)
    typed(cfg.log, "log", LogConfig).check()
    config = resolved(cfg, "")
    check_text({"overrides": overrides, **config}, "")
    for key in COMMON:
        check_root(key, config[key])
    asked, base = changing(cfg, head, parse(overrides), overrides)
    config = {"head": head, "overrides": asked, **config}
    folder = Path(str(cfg.results)) / str(cfg.study) / "runs" / head / folder_name(asked) / f"seed={cfg.seed}"
    check_folder(folder, str(cfg.results))
    if not (folder / "config.yaml").exists():
        folder = twin(folder, config, base) or folder
    return Request(head, asked, folder, config, base, command(head, cfg.seed, overrides))


def command(head: str, seed: int, overrides: list[str]) -> str:
    """The words that make this one run again, wherever results lie."""
    others = [word for word in overrides if not word.startswith(("head=", "seed=", "results="))]
    return shlex.join(["python", "train.py", f"head={head}", *others, f"seed={seed}"])


def parse(overrides: list[str]) -> dict[str, Any]:
    """Override words that belong in a run's name, by key, in alphabetical order; values as Hydra parses them."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_overrides(overrides)
    named = {
        o.key_or_group: None if o.is_delete() else o.value()
        for o in parsed
        if o.key_or_group.split(".")[0] not in NOT_IN_NAME
    }
    return {
        key: named[key] if isinstance(named[key], int | float | bool | None) else str(named[key])
        for key in sorted(named)
    }


def folder_name(overrides: dict[str, Any]) -> str:
    """The overrides as one folder name, or "default"; what paths dislike becomes `-`, and then a digest keeps names apart."""
    name = ",".join(f"{key}={value}" for key, value in overrides.items()) or "default"
    safe = re.sub(r"[^\w.,=+-]+", "-", name)
    if safe != name or len(safe.encode()) > 200:  # a file system takes 255 bytes
        safe = f"{safe.encode()[:180].decode(errors='ignore')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return safe


def finished(request: Request) -> bool:
    """Whether the folder holds this very run, done. InputError when it holds another one."""
    if not (request.folder / "config.yaml").exists():
        return False
    lines = changes(read_config(request.folder), request.config, request.base)
    if lines:
        raise InputError(
            f"{request.folder} holds a run with another config (old -> new): {'; '.join(lines)}. "
            "Nothing was changed; choose another study=NAME, or move that folder away"
        )
    return (request.folder / "done").exists()


# ---------------------------------------------------------------- 2. the parts


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
    from uncollapse.trainer import TrainerConfig

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
    working()
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
    classes: dict[str, Any] = {n: located(file["_target_"], "model") for n, file in files.items() if "_target_" in file}
    return [name for name, found in classes.items() if found.takes == kind]


def sizes_of(cfg: DictConfig) -> dict[str, Any]:
    """The numbers that a model may be as large as: the model's own and the head's knobs, by key."""
    knobs = {str(key): value for key, value in cfg.items() if key not in COMMON}
    return {f"model.{key}": value for key, value in cfg.model.items()} | knobs


def trial_size(latent: object) -> int:
    """How many words, numbers or pixels the data of a trial have: a square, as images are, and no fewer than latent dimensions."""
    return max(8, isqrt(whole("model.latent", latent, 1, 2 * MOST_SIZE) - 1) + 1) ** 2


def require_sense(model: Any, objective: Any, procedure: Any, head: str, epochs: int) -> None:
    """InputError for parts that contradict each other: a KL floor that nothing asks for, a procedure that cannot treat the head, or
    that would not get to the end of its first phase."""
    from uncollapse.trainer import promised_floor

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
    from uncollapse.posteriors.moments import Moments

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
    one_of("device", name, ("auto", "cpu", "cuda"))
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise InputError("device=cuda: no CUDA device is there; allowed on this machine are auto, cpu")
    return torch.device("cuda" if there and name != "cpu" else "cpu")


# ---------------------------------------------------------------- 3. the folder


@contextmanager
def opened(request: Request, parts: Parts) -> Iterator[None]:
    """Create or take over the run folder, alone; an exception inside becomes a `failed` file and goes on its way.

    A full disk or an interrupt is no failure of the run: the folder stays resumable.
    """
    folder = request.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder, "run"):
            if not (folder / "config.yaml").exists():
                parts.data.save(folder)
                text = f"# {request.command}\n{OmegaConf.to_yaml(OmegaConf.create(request.config))}"
                write_atomic(folder / "config.yaml", text.encode())
            set_aside(folder / "failed")
            yield
    except InputError:
        raise
    except OSError as error:
        where = error.filename or folder
        raise InputError(
            f"{where}: cannot write there ({error.strerror}); what is on disk is whole: make room and give the same command to go on"
        ) from error
    except Exception as error:
        if interrupted():
            raise
        text = "".join(traceback.format_exception(error))
        if isinstance(error, FloatingPointError):
            text += f"{error}\n"
        write_atomic(folder / "failed", text.encode())
        raise


def set_aside(path: Path) -> None:
    """Rename a file to the first free `name.1`, `name.2` ...: a retry keeps the old traceback."""
    if path.exists():
        number = next(n for n in range(1, 10_000) if not path.with_name(f"{path.name}.{n}").exists())
        path.rename(path.with_name(f"{path.name}.{number}"))


# ---------------------------------------------------------------- 4. the work


def work(cfg: DictConfig, request: Request, parts: Parts) -> dict:
    """Train, test, and return the summary."""
    from uncollapse.console import Console
    from uncollapse.data.profile import lines, warnings
    from uncollapse.phases import findings_after, warnings_before
    from uncollapse.runs.rows import Record, read_rows
    from uncollapse.trainer import Trainer

    start, code = time.perf_counter(), provenance()
    mirrors = []
    if parts.log.wandb:
        from uncollapse.mirror import WandbMirror

        mirrors.append(WandbMirror(parts.log, request.config, request.folder, request.name))
    record = Record(request.folder / "metrics.jsonl", [m.row for m in mirrors])
    try:
        with Console(request.name) as console:
            facts, width = parts.data.facts(), cfg.model.get("hidden", cfg.model.get("width"))
            for text in [*lines(facts), *(f"warning: {text}" for text in warnings(facts, width))]:
                console.say(f"[{request.name}] {text}")
            if note := length_note(request.head, parts):
                console.say(f"[{request.name}] warning: {note}")
            trainer = Trainer(
                parts.trainer,
                parts.model,
                parts.data,
                parts.objective,
                parts.procedure,
                request.folder,
                record,
                cfg.seed,
                console,
            )
            for note in warnings_before(trainer.parts(), trainer.length, request.config):
                console.say(f"[{request.name}] warning: {note}")
            try:
                progress = trainer.fit()
            except FloatingPointError as error:
                raise FloatingPointError(f"step {trainer.progress.step + 1}, head={request.head}: {error}") from error
            steps, seconds, best = progress.step, progress.seconds, progress.best_step
            trained = [row for row in read_rows(record.path) if row["split"] == "train" and row["kl"] is not None]
            unfinished = findings_after(trainer.parts(), trainer.length, steps, request.config, trained)
            for note in unfinished:
                console.say(f"[{request.name}] warning: {note}")
            final_weight = trainer.last_weight()
            tested = trainer.test()
        summary = {
            "status": "done",
            **{key: request.config[key] for key in ("head", "label", "overrides", "seed", "study")},
            **told(tested.best),
            "train_mode": told(tested.training_mode),
            "best": scalars(tested.best),
            "last": scalars(tested.last),
            **{"step": steps, "best_step": best, "seconds": seconds, "seconds_per_step": seconds / max(1, steps)},
            **{"steps_planned": trainer.total, "stopped_early": steps < trainer.total},
            **{"final_weight": final_weight, "schedule_complete": not unfinished, "unfinished": unfinished},
            "wall_seconds": time.perf_counter() - start,
            "peak_memory_mb": peak_memory(parts.device),
            "parameters": sum(p.numel() for p in parts.model.parameters()),
            "entropy": getattr(parts.data, "entropy", None),
            "oracle_nll": facts.get("oracle_nll"),
            "unknown": facts.get("unknown", {}).get("test"),
            "threads": cfg.threads,
            "device": str(parts.device),
            **code,
            "versions": versions(),
        }
        for mirror in mirrors:
            mirror.finish(summary)
    except BaseException:
        for mirror in mirrors:
            mirror.abandon()
        raise
    return summary


def told(row: dict) -> dict:
    """What a test row found, without where it belongs."""
    return {key: value for key, value in row.items() if key not in ("step", "epoch", "split", "mode")}


def scalars(row: dict) -> dict:
    """The single numbers of a test row, and the step that its weights are from."""
    kept = {key: value for key, value in told(row).items() if value is None or isinstance(value, int | float)}
    return {"step": row["step"], **kept}


def length_note(head: str, parts: Parts) -> str | None:
    """What to know when batch norm meets batches of one length."""
    if getattr(parts.data, "batching", "mixed") != "by_length" or not normalises_over_batch(parts.model):
        return None
    return (
        f"data.batching=by_length with head={head}: batch norm takes the length out of mu in training, where all sentences of a "
        "batch share it, and puts it back at evaluation; the evaluation KL can be several times the floor by length alone "
        "(data.batching=mixed avoids it)"
    )


def peak_memory(device: Any) -> float:
    """The most memory that this process (on a GPU: its tensors) has held, in MiB; runs that share a process share it."""
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there, in KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


# ---------------------------------------------------------------- called by Hydra


def main(cfg: DictConfig) -> None:
    """One Hydra job. Alone, an error ends the process with one sentence; in a sweep it is noted and the sweep goes on."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from uncollapse.sweep import note

    hydra = HydraConfig.get()
    head = hydra.runtime.choices.get("head")
    overrides: Any = OmegaConf.to_container(hydra.overrides.task, resolve=False)  # a word may refer to another key
    in_sweep = hydra.mode == RunMode.MULTIRUN
    words = " ".join(overrides)
    try:
        note(run(cfg, head, overrides), words)
    except InputError as error:
        note("refused", words, str(error))
        print(f"error: {error}" if not in_sweep else f"[{words}] error: {error}", file=sys.stderr)
        if not in_sweep:
            raise SystemExit(2) from None
    except (KeyboardInterrupt, Exception) as error:
        if interrupted():
            raise
        note("failed", words, str(error))
        traceback.print_exc()
        print(f"failed: {words}: {error}", file=sys.stderr)
        if not in_sweep:
            raise SystemExit(1) from None
