"""One run -> one flat record with its rows.

Text is made fit to be shown here, for every table, figure and page; only `saved` is as on disk.
"""

import math
from pathlib import PurePath
from typing import Any

import numpy as np

from uncollapse.runs.reading import Saved, override_list

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


def flat(saved: Saved) -> dict[str, Any]:
    """One run as a flat record plus its `rows`, text fit to be shown."""
    config, name = saved.config, shown_folder(saved.name)
    rows = [cut(row) for row in saved.rows]
    return {
        "saved": saved,
        "folder": name,
        "identity": saved.identity,
        "head": shown(config["head"]),
        "label": shown(config.get("label") or config["head"], MOST_LABEL),
        "seed": config["seed"],
        "study": shown(config.get("study", "")),
        "override_list": override_list(config, PurePath(saved.name).parent.name),
        "status": saved.status,
        "message": shown(saved.failure, MOST_MESSAGE),
        "command": shown_command(saved.command),
        "step": max((row["step"] for row in rows), default=0),
        "latent": number((config.get("model") or {}).get("latent")),
        "tau": number(config.get("tau")),
        "slots": {slot: config[slot] for slot in SLOTS if slot in config},
        "one_sided": one_sided(config, rows),
        "knobs": {key: value for key, value in config.items() if type(value) in (int, float) and key not in NO_KNOBS},
        **data_facts(saved.data),
        **finals(saved.summary, rows, done=saved.status == "done"),
        "rows": rows,
    }


def cut(row: dict[str, Any]) -> dict[str, Any]:
    """What reports use of a row: what only test figures show is kept on test only, since it is most bytes."""
    kept = {key: row.get(key) for key in ROW_KEYS} | {key: number(row.get(key)) for key in METRICS}
    if row["split"] == "test":
        kept |= {key: row.get(key) for key in (*TESTED, "moments", "collapse", "weights")}
    kept["kl_per_dim"] = np.array(row.get("kl_per_dim") or [], dtype=float)
    return kept


def one_sided(config: dict[str, Any], rows: list[dict[str, Any]]) -> bool:
    """Whether nothing is traded: the KL has weight 0 (an autoencoder), or is exactly 0 throughout (no code at all)."""
    objective = config.get("objective")
    free = isinstance(objective, dict) and objective.get("weight") in (0, 0.0)
    return free or (bool(rows) and all(row["kl"] == 0 for row in rows))


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
    """A finite number as a float, NaN for whatever else a file may hold there."""
    try:
        found = float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:  # a whole number of more than 308 digits
        return math.nan
    return found if math.isfinite(found) else math.nan


def facts_text(facts: dict[str, Any]) -> str:
    """{"vocab": 112, "skipped": {"long": 3}} -> "vocab 112, skipped long 3"."""
    return ", ".join(f"{key} {fact_text(value)}" for key, value in facts.items() if value not in ({}, None))


def fact_text(value: Any) -> str:
    if isinstance(value, dict):
        return f"({facts_text(value)})"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
