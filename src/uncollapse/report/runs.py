"""One run folder on disk -> one flat record with its rows. Reads, never writes; survives files cut off in writing.

Text is made fit to be shown here, for every table, figure and page; only `path` is as on disk.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from uncollapse.runs.identity import identity
from uncollapse.yaml_files import read_config

from .text import shown, shown_command, shown_folder, shown_keys

NO_KNOBS = ("seed", "threads")
MOST_LABEL, MOST_MESSAGE, MOST_FACTS = 120, 1000, 2000  # characters
SLOTS = ("posterior", "objective", "procedure", "decoder")  # what a head can change
METRICS = ("nelbo", "rec", "kl", "ppl", "au", "shuffle_gap", "floor", "kl_minus_floor", "seconds_per_step")
TESTED = (  # on test rows and in the summary, beside METRICS
    "nelbo_se", "rec_se", "kl_se", "shuffle_gap_se", "mi", "mi_se", "mi_n", "mi_ceiling", "mi_saturated",
    "marginal_kl", "marginal_kl_se", "total_correlation", "dimension_kl",
    "nelbo_per_char", "nelbo_per_byte", "ppl_char", "ppl_byte",
)  # fmt: skip
EVALUATED = (  # in the summary once scripts/evaluate.py has been there
    "nll", "nll_se", "nll_samples", "nll_examples", "nll_mc_se", "nll_ess", "nll_ess_low", "nll_bias", "nll_bias_se",
    "nll_ppl", "nll_per_char", "nll_per_byte", "nll_ppl_char", "nll_ppl_byte",
    "oracle_gap", "oracle_gap_se", "probe", "probe_se", "probe_chance", "probe_labels",
)  # fmt: skip
ENDED = ("best_step", "steps_planned", "stopped_early", "final_weight", "schedule_complete")  # how training ended
BOTH = ("nelbo", "kl", "mi", "shuffle_gap")  # test metrics in which the last weights are held against the best
LAST = ("last_step", *(f"last_{name}{end}" for name in BOTH for end in ("", "_se")))  # of the last weights
SAMPLED = (  # and with --metrics samples
    "sample_grammatical", "sample_oracle_ppl", "sample_lm_ppl", "sample_lm_ppl_data", "sample_distinct", "sample_novel",
    "sample_self_bleu", "sample_self_bleu_data", "sample_words",
    "response_bleu4", "response_distinct_1", "response_distinct_1_data", "response_distinct_2", "response_distinct_2_data",
    "response_variety", "response_words", "response_words_data",
)  # fmt: skip
CHANGED = ", with changes that no commit holds"
UNKNOWN = "no commit known (installed outside a checkout)"
ROW_KEYS = ("step", "epoch", "split", "mode", *METRICS, "kl_per_dim")
COMMA = re.compile(r",(?![^\[\](){}]*[\])}])")  # commas between overrides, not those inside a list


def read_run(path: Path, study: Path, notes: list[str]) -> dict[str, Any] | None:
    """One run as a flat record plus its `rows`; None (and a note) where the config cannot be read."""
    name = shown_folder(path.relative_to(study).as_posix() if path != study else path.name)
    try:
        config = read_config(path)
        text = (path / "config.yaml").read_text(encoding="utf-8")
        head, seed = str(config["head"]), int(config["seed"])
    except (OSError, TypeError, KeyError, ValueError) as error:
        notes.append(f"{name}: left out, its config.yaml cannot be read ({type(error).__name__}).")
        return None
    rows = read_rows(path / "metrics.jsonl", name, notes)
    status = status_of(path)
    return {
        "path": path,
        "folder": name,
        "identity": identity(config),
        "head": shown(head),
        "label": shown(config.get("label") or head, MOST_LABEL),
        "seed": seed,
        "study": shown(config.get("study", "")),
        "override_list": override_list(config, path.parent.name),
        "status": status,
        "message": shown(failure(path), MOST_MESSAGE) if status == "failed" else "",
        "command": shown_command(command(text, config, path)),
        "step": max((row["step"] for row in rows), default=0),
        "latent": number((config.get("model") or {}).get("latent")),
        "tau": number(config.get("tau")),
        "slots": {slot: config[slot] for slot in SLOTS if slot in config},
        "one_sided": one_sided(config, rows),
        "knobs": {key: value for key, value in config.items() if type(value) in (int, float) and key not in NO_KNOBS},
        **data_facts(read_json(path / "data.json", name, notes)),
        **finals(read_json(path / "summary.json", name, notes), rows, done=status == "done"),
        "rows": rows,
    }


def one_sided(config: dict[str, Any], rows: list[dict[str, Any]]) -> bool:
    """Whether nothing is traded: the KL has weight 0 (an autoencoder), or is exactly 0 throughout (no code at all)."""
    objective = config.get("objective")
    free = isinstance(objective, dict) and objective.get("weight") in (0, 0.0)
    return free or (bool(rows) and all(row["kl"] == 0 for row in rows))


def status_of(path: Path) -> str:
    """done wins over failed: a run that failed once may have been resumed to its end."""
    return next((status for status in ("done", "failed") if (path / status).exists()), "unfinished")


def failure(path: Path) -> str:
    lines = (path / "failed").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "no message"


def command(text: str, config: dict[str, Any], path: Path) -> str:
    """The command that made the run: the comment on line 1, or one rebuilt from the folder."""
    first = text.split("\n", 1)[0]
    if first.startswith("#"):
        return first.lstrip("# ").strip()
    others = override_list(config, path.parent.name)
    parts = [f"head={config['head']}", *others, f"seed={config['seed']}", f"study={config.get('study', 'scratch')}"]
    return " ".join(["python train.py", *parts])


def read_rows(path: Path, name: str, notes: list[str]) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl as written; torn lines are skipped and noted, non-finite numbers are None."""
    if not path.is_file():
        return []
    lines = path.read_bytes().split(b"\n")
    torn: list[int] = []
    odd: list[str] = []
    latest: dict[tuple[Any, ...], dict[str, Any]] = {}  # a resumed run may repeat an evaluation: the later one counts
    for i, line in enumerate(lines, 1):
        if not line.strip():
            continue
        row = parse_row(line, odd)
        if row is None:
            torn.append(i)
        else:
            latest[row["step"], row["split"], row["mode"]] = row
    notes.extend(torn_notes(torn, len(lines), name))
    if odd:
        notes.append(f"{name}: {len(odd)} numbers in metrics.jsonl are not finite ({odd[0]}); they count as missing.")
    return list(latest.values())


def parse_row(line: bytes, odd: list[str]) -> dict[str, Any] | None:
    """One row, cut to what reports use: what only test figures show is kept on test only, since it is most bytes."""
    try:
        row = json.loads(line, parse_constant=odd.append)
        kept = {key: row.get(key) for key in ROW_KEYS}
        kept["step"] = int(row["step"])
        if row["split"] == "test":
            kept |= {key: row.get(key) for key in (*TESTED, "moments", "collapse", "weights")}
        kept["kl_per_dim"] = np.array(row.get("kl_per_dim") or [], dtype=float)
        return kept if row["mode"] else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def torn_notes(torn: list[int], last: int, name: str) -> Iterator[str]:
    middle = [i for i in torn if i < last]
    if middle:
        yield f"{name}: {len(middle)} unreadable line(s) in metrics.jsonl skipped (first: line {middle[0]})."
    if last in torn:  # the file does not end in a newline: the writer was stopped
        yield f"{name}: the last line of metrics.jsonl is torn (the run was stopped while writing); skipped."


def read_json(path: Path, name: str, notes: list[str]) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_bytes(), parse_constant=lambda _: None)
        return content if isinstance(content, dict) else {}
    except (ValueError, RecursionError):
        notes.append(f"{name}: {path.name} is unreadable and was ignored.")
        return {}


def data_facts(data: dict[str, Any]) -> dict[str, Any]:
    oracle = data.get("oracle_nll") or {}
    return {
        "data": shown(facts_text({**data, "content": None}), MOST_FACTS),  # it is for machines
        "level": shown(data.get("level") or "word"),
        "entropy": number(data.get("entropy")),
        "oracle_valid": number(oracle.get("valid")),
        "oracle_test": number(oracle.get("test")),
    }


def finals(summary: dict[str, Any], rows: list[dict[str, Any]], done: bool) -> dict[str, Any]:
    """Test metrics of a finished run from its summary, or from its last test rows where that is missing something."""
    evaluation, training = last_test(rows, "eval"), last_test(rows, "train")
    if done:
        evaluation |= summary
        training |= summary.get("train_mode") or {}
    evaluation["probe_chance"] = chance(evaluation)
    ended = summary if done else {}
    last = mapping(ended.get("last"))
    machine = {key: summary[key] for key in ("versions", "threads", "device") if summary.get(key) is not None}
    return {
        **{key: number(evaluation.get(key)) if done else np.nan for key in (*METRICS, *TESTED, *EVALUATED, *SAMPLED)},
        **{key: number(ended.get(key)) for key in ENDED},
        **{key: number(last.get(key.removeprefix("last_"))) for key in LAST},
        "weights": shown(ended.get("weights") or ""),
        "unfinished": shown(sentences(ended.get("unfinished")), MOST_MESSAGE),
        "kl_train_mode": number(training.get("kl")) if done else np.nan,
        "moments": evaluation.get("moments") if done else None,
        "moments_train_mode": training.get("moments") if done else None,
        "collapse": evaluation.get("collapse") if done else None,
        "probe_curves": named_curves(evaluation.get("probe_curves")) if done else None,
        "machine": shown(facts_text(machine), MOST_FACTS),
        **made_by(summary),
    }


def made_by(summary: dict[str, Any]) -> dict[str, Any]:
    """`commit`, `tree_changed` and both in words; older summaries mark a change with +."""
    stated = str(summary.get("commit") or "")
    commit = shown(stated.rstrip("+"))
    changed = stated.endswith("+") or bool(summary.get("tree_changed")) if commit else None
    words = f"commit {commit}" + CHANGED * bool(changed) if commit else UNKNOWN * bool(summary)
    return {"commit": commit, "tree_changed": changed, "code": words}


def named_curves(curves: Any) -> Any:
    """Probe curves with names of factors that can be shown."""
    factors = curves.get("factors") if isinstance(curves, dict) else None
    if not isinstance(factors, dict):
        return curves
    return {**curves, "factors": shown_keys(factors)}


def chance(evaluation: dict[str, Any]) -> Any:
    """The chance level of the probe: as the result says it, else the mean over the factors of its curves."""
    factors = mapping(mapping(evaluation.get("probe_curves")).get("factors")).values()
    known = [number(mapping(factor).get("chance")) for factor in factors]
    stated = evaluation.get("probe_chance")
    return stated if stated is not None or not known else float(np.mean(known))


def mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def sentences(value: Any) -> str:
    return "; ".join(map(str, value)) if isinstance(value, list) else ""


def last_test(rows: list[dict[str, Any]], mode: str) -> dict[str, Any]:
    """Of the best weights."""
    found = (row for row in reversed(rows) if row["split"] == "test" and row["mode"] == mode)
    return dict(next((row for row in found if row.get("weights") != "last"), {}))


def number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else np.nan


def facts_text(facts: dict[str, Any]) -> str:
    """{"vocab": 112, "skipped": {"long": 3}} -> "vocab 112, skipped long 3"."""
    return ", ".join(f"{key} {fact_text(value)}" for key, value in facts.items() if value not in ({}, None))


def fact_text(value: Any) -> str:
    if isinstance(value, dict):
        return f"({facts_text(value)})"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def override_list(config: dict[str, Any], folder: str) -> list[str]:
    """["tau=0.3", "trainer.epochs=2"] from the config, or from the folder's name where the config does not say."""
    stated = config.get("overrides")
    if isinstance(stated, dict):
        return [f"{key}={value}" for key, value in stated.items()]
    return [] if folder == "default" else COMMA.split(folder)
