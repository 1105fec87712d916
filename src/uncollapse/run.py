"""One run, from the composed config to the finished folder, as numbered steps."""

import resource
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from uncollapse.building import Parts, normalises_over_batch, prepare
from uncollapse.config import (
    COMMON,
    LogConfig,
    check_folder,
    check_head,
    check_knobs,
    check_root,
    check_text,
    resolved,
    typed,
)
from uncollapse.entry import interrupted
from uncollapse.errors import InputError
from uncollapse.overrides import changing
from uncollapse.runs.held import Held, held_runs, holds, request_name, same_places
from uncollapse.runs.identity import changes, identity
from uncollapse.runs.layout import (
    CONFIG,
    DATA,
    DONE,
    FAILED,
    ROWS,
    SCHEMA,
    VOCABULARY,
    Run,
    command,
    run_at,
    title,
)
from uncollapse.runs.provenance import provenance, versions
from uncollapse.runs.reading import read_config
from uncollapse.runs.results import text, write_summary
from uncollapse.runs.study import twin

NOT_IN_NAME = ("head", "seed", "study", "results", "experiment", "log", "again")


@dataclass(frozen=True)
class Request:
    """What was asked for: the head, the other overrides that change something by key, the run's place on disk, the config as
    plain values, the config without these overrides, the command, and whether a packed run is trained again."""

    head: str
    overrides: dict[str, Any]
    run: Run
    config: dict[str, Any]
    base: dict[str, Any]
    command: str
    again: bool = False

    @property
    def name(self) -> str:
        return title(self.head, self.overrides, self.config["seed"])


def run(cfg: DictConfig, head: object, overrides: list[str]) -> str:
    """Carry out one run; "done" or "skipped". InputError for bad input, before anything is written."""
    # 1. what is asked for
    request = understand(cfg, check_head(head), overrides)
    if reason := finished(request):
        return skipped(reason)
    held = packed(request)
    if reason := in_pack(request, held):
        return skipped(reason)

    # 2. everything that can be wrong with it is found here
    parts = prepare(cfg, request.head)
    if reason := in_pack(request, held, parts.data.facts()):
        return skipped(reason)

    # 3. the run folder; from here on a failure is written into it
    with opened(request, parts):
        # 4. train and test
        summary = work(cfg, request, parts)
        # 5. done
        write_summary(request.run, summary)
        request.run.write(DONE, data=b"")
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
    again = config.pop("again", False)
    config = {"head": head, "overrides": asked, **config}
    run = run_at(str(cfg.results), str(cfg.study), head, asked, cfg.seed)
    check_folder(run.folder, str(cfg.results))
    if not run.exists:
        run = twin(run, config, base) or run
    return Request(head, asked, run, config, base, command(head, cfg.seed, overrides), again)


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


def finished(request: Request) -> str:
    """That the folder holds this very run, done; '' where it is not. InputError when it holds another one, or one that cannot be told."""
    run = request.run
    run.require_config()
    if not run.exists:
        return ""
    if lines := changes(read_config(run), request.config, request.base):
        raise InputError(
            f"{run.folder} holds a run with another config (old -> new): {'; '.join(lines)}. "
            "Nothing was changed; choose another study=NAME, or move that folder away"
        )
    hint = "; move that folder away to train it again" if request.again else ""
    return f"{run.folder} is done with this config{hint}" if run.status == DONE else ""


def packed(request: Request) -> list[Held]:
    """What the study's pack holds of this run, unless it is to be trained again anyhow."""
    if request.again:
        return []
    name = request_name(request.head, request.overrides, request.config)
    return held_runs(request.run.study, name, request.config, request.base)


def in_pack(request: Request, held: list[Held], facts: dict[str, Any] | None = None) -> str:
    """That the pack holds this very run: on data of the same place or, once they are loaded, on the same data."""
    for one in held:
        if same_places(one, request.config) or (facts and one.has_data(request.config, facts)):
            return holds(request.run.study)
    return ""


def skipped(reason: str) -> str:
    print(f"skipped: {reason}")
    return "skipped"


# ---------------------------------------------------------------- 3. the folder


@contextmanager
def opened(request: Request, parts: Parts) -> Iterator[None]:
    """Create or take over the run folder, alone; an exception inside becomes a `failed` file and goes on its way.

    A full disk or an interrupt is no failure of the run: the folder stays resumable.
    """
    run = request.run
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
        with run.lock():
            if not run.exists:
                if listing := parts.data.listing():
                    run.write(VOCABULARY, data=listing.encode())
                run.write(DATA, data=text(parts.data.facts()))
                config = OmegaConf.to_yaml(OmegaConf.create(request.config))
                run.write(CONFIG, data=f"# {request.command}\n{config}".encode())
            run.set_aside(FAILED)
            yield
    except InputError:
        raise
    except OSError as error:
        where = error.filename or run.folder
        raise InputError(
            f"{where}: cannot write there ({error.strerror}); what is on disk is whole: make room and give the same command to go on"
        ) from error
    except Exception as error:
        if interrupted():
            raise
        found = "".join(traceback.format_exception(error))
        if isinstance(error, FloatingPointError):
            found += f"{error}\n"
        run.write(FAILED, data=found.encode())
        raise


# ---------------------------------------------------------------- 4. the work


def work(cfg: DictConfig, request: Request, parts: Parts) -> dict:
    """Train, test, and return the summary."""
    from uncollapse.console import Console
    from uncollapse.data.profile import lines, warnings
    from uncollapse.phases import findings_after, warnings_before
    from uncollapse.runs.rows import Record, rows_of
    from uncollapse.trainer import Trainer

    start, code = time.perf_counter(), provenance()
    mirrors = []
    if parts.log.wandb:
        from uncollapse.mirror import WandbMirror

        mirrors.append(WandbMirror(parts.log, request.config, request.run, request.name))
    record = Record(request.run.path(ROWS), [m.row for m in mirrors])
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
                request.run,
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
            trained = [row for row in rows_of(request.run).rows if row["split"] == "train" and row["kl"] is not None]
            unfinished = findings_after(trainer.parts(), trainer.length, steps, request.config, trained)
            for note in unfinished:
                console.say(f"[{request.name}] warning: {note}")
            final_weight = trainer.last_weight()
            tested = trainer.test()
        summary = {
            "status": DONE,
            "schema": SCHEMA,
            "identity": identity(read_config(request.run)),  # an older version may have begun it
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
