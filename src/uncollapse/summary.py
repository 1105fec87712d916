"""The contents of summary.json: test metrics, how training ended, the model and the machine."""

from typing import TYPE_CHECKING

from uncollapse.building import Parts
from uncollapse.device import identify_gpu, peak_memory
from uncollapse.json_types import JsonObject
from uncollapse.metrics import catalogue
from uncollapse.metrics.metric import END
from uncollapse.processes import read_team
from uncollapse.request import Request
from uncollapse.runs.identity import compute_identity
from uncollapse.runs.layout import DONE, SCHEMA
from uncollapse.runs.reading import read_config

if TYPE_CHECKING:
    from uncollapse.training.trainer import Trainer


def find_unfinished(request: Request, trainer: "Trainer") -> list[str]:
    """One sentence for each phase of training that has not ended, or that has not settled."""
    from uncollapse.runs.rows import read_run_rows
    from uncollapse.training.phases import list_unfinished_phases

    rows = read_run_rows(request.run).rows
    training_rows = [row for row in rows if row["split"] == "train" and row["kl"] is not None]
    steps, phases = trainer.progress.step, trainer.list_phases()
    return list_unfinished_phases(phases, trainer.length, steps, request.config, training_rows)


def summarise_outcome(request: Request, trainer: "Trainer", unfinished: list[str]) -> JsonObject:
    """Test the trained model; return its test metrics and how training ended."""
    progress = trainer.progress
    steps = progress.step  # before the test, which changes it
    ended = catalogue.compute(END, trainer, unfinished)
    tested = trainer.test()
    return {
        "status": DONE,
        "schema": SCHEMA,
        # of the config on disk, which an older version may have written
        "identity": compute_identity(read_config(request.run)),
        **{key: request.config[key] for key in ("head", "label", "overrides", "seed", "study")},
        **drop_place(tested.best),
        "train_mode": drop_place(tested.training_mode),
        "best": select_numbers(tested.best),
        **{
            rule: select_numbers(tested.others.get(rule, tested.best))
            for rule in trainer.config.keep
        },
        "step": steps,
        "seconds": progress.seconds,
        "seconds_per_step": progress.seconds / max(1, steps),
        **ended,
        "unfinished": unfinished,
    }


def summarise_circumstances(parts: Parts, threads: int) -> JsonObject:
    """Facts about the model, the data and the machine."""
    # imports torch, which a run that is skipped does not need
    from uncollapse.models.operations import name_kernels

    facts = parts.data.facts()
    return {
        "peak_memory_mb": peak_memory(parts.device),
        "parameters": sum(p.numel() for p in parts.model.parameters()),
        "entropy": parts.data.entropy,
        "oracle_nll": facts.get("oracle_nll"),
        "unknown": facts.get("unknown", {}).get("test"),
        "threads": threads,
        **({"processes": team.size} if (team := read_team()).size > 1 else {}),
        "device": str(parts.device),
        **identify_gpu(parts.device),
        "kernels": name_kernels(parts.model),
    }


def drop_place(row: JsonObject) -> JsonObject:
    """A test row without step, epoch, split and mode."""
    place = ("step", "epoch", "split", "mode")
    return {key: value for key, value in row.items() if key not in place}


def select_numbers(row: JsonObject) -> JsonObject:
    """The single numbers of a test row, and the step that its weights are from."""
    kept = {
        key: value
        for key, value in drop_place(row).items()
        if value is None or isinstance(value, int | float)
    }
    return {"step": row["step"], **kept}
