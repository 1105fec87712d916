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
from uncollapse.entry import is_interrupted
from uncollapse.errors import InputError
from uncollapse.overrides import select_effective_overrides
from uncollapse.runs.identity import list_changes, compute_identity
from uncollapse.runs.layout import (
    CONFIG,
    DATA,
    DONE,
    FAILED,
    ROWS_FILE,
    SCHEMA,
    VOCABULARY,
    Run,
    format_command,
    locate_run,
    format_title,
)
from uncollapse.runs.packed import PackedRun, name_in_pack, find_equal_packed_runs, explain_skip
from uncollapse.runs.provenance import find_provenance, package_versions
from uncollapse.runs.reading import read_config
from uncollapse.runs.results import dump_json, write_summary
from uncollapse.runs.study import find_same_run

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
        return format_title(self.head, self.overrides, self.config["seed"])


def run(cfg: DictConfig, head: object, overrides: list[str]) -> str:
    """Carry out one run; "done" or "skipped". InputError for bad input, before anything is written."""
    # 1. what is asked for
    request = understand(cfg, check_head(head), overrides)
    if reason := done_in_folder(request):
        return skipped(reason)
    copies = in_pack(request)
    if reason := done_in_pack(request, copies):
        return skipped(reason)

    # 2. everything that can be wrong with it is found here
    parts = prepare(cfg, request.head)
    if reason := done_in_pack(request, copies, parts.data.facts()):
        return skipped(reason)

    # 3. the run folder; from here on a failure is written into it
    with in_folder(request, parts):
        if reason := done_in_folder(request):  # another process was faster
            return skipped(reason)
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
    asked, base = select_effective_overrides(cfg, head, parse(overrides), overrides)
    again = config.pop("again", False)
    config = {"head": head, "overrides": asked, **config}
    run = locate_run(str(cfg.results), str(cfg.study), head, asked, cfg.seed)
    check_folder(run.folder, str(cfg.results))
    if not run.exists:
        run = find_same_run(run, config, base) or run
    return Request(head, asked, run, config, base, format_command(head, cfg.seed, overrides), again)


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


def done_in_folder(request: Request) -> str:
    """That the folder holds this very run, done; '' where it does not.

    InputError when it holds another run, or one that nobody can identify.
    """
    run = request.run
    run.require_config()
    if not run.exists:
        return ""
    if lines := list_changes(read_config(run), request.config, request.base):
        raise InputError(
            f"{run.folder} holds a run with another config (old -> new): {'; '.join(lines)}. "
            "Nothing was changed; choose another study=NAME, or move that folder away"
        )
    hint = "; move that folder away to train it again" if request.again else ""
    return f"{run.folder} is done with this config{hint}" if run.status == DONE else ""


def in_pack(request: Request) -> list[PackedRun]:
    """What the study's pack holds of this run, unless it is to be trained again."""
    if request.again:
        return []
    name = name_in_pack(request.head, request.overrides, request.config)
    return find_equal_packed_runs(request.run.study, name, request.config, request.base)


def done_in_pack(
    request: Request, copies: list[PackedRun], facts: dict[str, Any] | None = None
) -> str:
    """That the pack holds this very run; '' where it does not. `facts` are those of the data, once loaded."""
    for one in copies:
        if one.has_same_data(request.config, facts) if facts else one.has_same_missing_locations(request.config):
            return explain_skip(request.run.study)
    return ""


def skipped(reason: str) -> str:
    print(f"skipped: {reason}")
    return "skipped"


# ---------------------------------------------------------------- 3. the folder


@contextmanager
def in_folder(request: Request, parts: Parts) -> Iterator[None]:
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
                run.write(DATA, data=dump_json(parts.data.facts()))
                config = OmegaConf.to_yaml(OmegaConf.create(request.config))
                run.write(CONFIG, data=f"# {request.command}\n{config}".encode())
            run.set_aside(FAILED)
            yield
    except InputError:
        raise
    except OSError as error:
        where = error.filename or run.folder
        raise InputError(
            f"{where}: cannot write there ({error.strerror}); no file is half written: make room and give the same command to go on"
        ) from error
    except Exception as error:
        if is_interrupted():
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
    from uncollapse.runs.rows import Record, read_run_rows
    from uncollapse.training.phases import findings_after

    start, code = time.perf_counter(), find_provenance()
    mirrors = mirrors_of(request, parts)
    record = Record(request.run.path(ROWS_FILE), [m.row for m in mirrors])
    try:
        with Console(request.name) as console:
            trainer = trainer_of(cfg, request, parts, record, console)
            try:
                steps = trainer.fit().step
            except FloatingPointError as error:
                step = trainer.progress.step + 1
                raise FloatingPointError(f"step {step}, head={request.head}: {error}") from error
            rows = read_run_rows(request.run).rows
            trained = [row for row in rows if row["split"] == "train" and row["kl"] is not None]
            unfinished = findings_after(
                trainer.parts(), trainer.length, steps, request.config, trained
            )
            for note in unfinished:
                console.say(f"[{request.name}] warning: {note}")
            summary = {
                **outcome_of(request, trainer, unfinished),
                "wall_seconds": time.perf_counter() - start,
                **circumstances(cfg, parts),
                **code,
                "versions": package_versions(),
            }
        for mirror in mirrors:
            mirror.finish(summary)
    except BaseException:
        for mirror in mirrors:
            mirror.abandon()
        raise
    return summary


def mirrors_of(request: Request, parts: Parts) -> list[Any]:
    """Where rows go besides the run's own file."""
    if not parts.log.wandb:
        return []
    from uncollapse.mirror import WandbMirror

    return [WandbMirror(parts.log, request.config, request.run, request.name)]


def trainer_of(cfg: DictConfig, request: Request, parts: Parts, record: Any, console: Any) -> Any:
    """The trainer, once the user knows what the data are and what will be cut off."""
    from uncollapse.data.profile import lines, warnings
    from uncollapse.training.phases import warnings_before
    from uncollapse.training.trainer import Trainer

    facts, width = parts.data.facts(), cfg.model.get("hidden", cfg.model.get("width"))
    for line in [*lines(facts), *(f"warning: {hint}" for hint in warnings(facts, width))]:
        console.say(f"[{request.name}] {line}")
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
    return trainer


def outcome_of(request: Request, trainer: Any, unfinished: list[str]) -> dict:
    """Test the trained model; what a summary says of the run, its test rows and its end."""
    progress = trainer.progress
    steps, seconds, best_step = (
        progress.step,
        progress.seconds,
        progress.best_step,
    )  # before the test
    final_weight = trainer.last_weight()
    tested = trainer.test()
    return {
        "status": DONE,
        "schema": SCHEMA,
        "identity": compute_identity(read_config(request.run)),  # an older version may have begun it
        **{key: request.config[key] for key in ("head", "label", "overrides", "seed", "study")},
        **without_place(tested.best),
        "train_mode": without_place(tested.training_mode),
        "best": scalars(tested.best),
        "last": scalars(tested.last),
        "step": steps,
        "best_step": best_step,
        "seconds": seconds,
        "seconds_per_step": seconds / max(1, steps),
        "steps_planned": trainer.total,
        "stopped_early": steps < trainer.total,
        "final_weight": final_weight,
        "schedule_complete": not unfinished,
        "unfinished": unfinished,
    }


def circumstances(cfg: DictConfig, parts: Parts) -> dict:
    """What a summary says of the model, the data and the machine."""
    facts = parts.data.facts()
    return {
        "peak_memory_mb": peak_memory(parts.device),
        "parameters": sum(p.numel() for p in parts.model.parameters()),
        "entropy": getattr(parts.data, "entropy", None),
        "oracle_nll": facts.get("oracle_nll"),
        "unknown": facts.get("unknown", {}).get("test"),
        "threads": cfg.threads,
        "device": str(parts.device),
    }


def without_place(row: dict) -> dict:
    """What a test row found, without where it belongs."""
    return {
        key: value for key, value in row.items() if key not in ("step", "epoch", "split", "mode")
    }


def scalars(row: dict) -> dict:
    """The single numbers of a test row, and the step that its weights are from."""
    kept = {
        key: value
        for key, value in without_place(row).items()
        if value is None or isinstance(value, int | float)
    }
    return {"step": row["step"], **kept}


def length_note(head: str, parts: Parts) -> str | None:
    """What to know when batch norm meets batches of one length."""
    if getattr(parts.data, "batching", "mixed") != "by_length" or not normalises_over_batch(
        parts.model
    ):
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
    overrides: Any = OmegaConf.to_container(
        hydra.overrides.task, resolve=False
    )  # a word may refer to another key
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
        if is_interrupted():
            raise
        note("failed", words, str(error))
        traceback.print_exc()
        print(f"failed: {words}: {error}", file=sys.stderr)
        if not in_sweep:
            raise SystemExit(1) from None
