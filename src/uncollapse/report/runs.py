"""One run -> one flat record with its rows.

Text is made fit to be shown here, for every table, figure and page; only `saved` is as on disk.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import Any

import numpy as np

from uncollapse.errors import MOST_NUMBER
from uncollapse.runs.layout import CONFIG, DATA, ROWS_FILE, SUMMARY
from uncollapse.runs.reading import Saved, list_overrides
from uncollapse.runs.rows import last_test_row

from .checked import Values, pruned
from .text import shown, shown_command, shown_folder

NO_KNOBS = ("seed", "threads")
MOST_LABEL, MOST_MESSAGE, MOST_FACTS = 120, 1000, 2000  # characters
SLOTS = ("posterior", "objective", "procedure", "decoder")  # what a head can change
METRICS = (
    "nelbo",
    "rec",
    "kl",
    "ppl",
    "au",
    "shuffle_gap",
    "floor",
    "kl_minus_floor",
    "seconds_per_step",
)
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
ENDED = (
    "best_step",
    "steps_planned",
    "stopped_early",
    "final_weight",
    "schedule_complete",
)  # how training ended
BOTH = (
    "nelbo",
    "kl",
    "mi",
    "shuffle_gap",
)  # test metrics in which the last weights are held against the best
LAST = (
    "last_step",
    *(f"last_{name}{end}" for name in BOTH for end in ("", "_se")),
)  # of the last weights
SAMPLED = (  # and with --metrics samples
    "sample_grammatical", "sample_oracle_ppl", "sample_lm_ppl", "sample_lm_ppl_data", "sample_distinct", "sample_novel",
    "sample_self_bleu", "sample_self_bleu_data", "sample_words",
    "response_bleu4", "response_distinct_1", "response_distinct_1_data", "response_distinct_2", "response_distinct_2_data",
    "response_variety", "response_words", "response_words_data",
)  # fmt: skip
CHANGED = ", with changes that no commit holds"
UNKNOWN = "no commit known (installed outside a checkout)"
PLACE = ("step", "split", "mode")  # of a row
ROW_KEYS = (*PLACE, *METRICS, "kl_per_dim")
WEIGHTS_OF = ("best", "last")


def flat(saved: Saved) -> dict[str, Any]:
    """One run as a flat record plus its `rows`, text fit to be shown, and the `odd` keys."""
    odd: dict[str, None] = {}
    config, name = Values(saved.config, f"{CONFIG} ", odd), shown_folder(saved.name)
    rows = [cut(row, odd) for row in saved.rows if belongs(row, odd)]
    head = shown(config.text("head"))
    place = saved.run.folder if saved.run else PurePath(saved.name)
    return {
        "saved": replace(saved, rows=[], summary={}),  # what is below stands for them
        "folder": name,
        "identity": saved.identity,
        "head": head,
        "label": shown(config.text("label"), MOST_LABEL) or head,
        "seed": saved.config["seed"],
        "study": shown(config.text("study")),
        "override_list": list_overrides(saved.config, place.parent.name),
        "status": saved.status,
        "message": shown(saved.failure, MOST_MESSAGE),
        "command": shown_command(saved.command),
        "step": max((row["step"] for row in rows), default=0),
        "latent": config.inside("model").number("latent"),
        "tau": config.number("tau"),
        "slots": {slot: saved.config[slot] for slot in SLOTS if slot in saved.config},
        "one_sided": one_sided(saved.config, rows),
        "knobs": {
            k: v for k, v in saved.config.items() if type(v) in (int, float) and k not in NO_KNOBS
        },
        **data_facts(Values(saved.data, f"{DATA} ", odd)),
        **finals(Values(saved.summary, f"{SUMMARY} ", odd), rows, done=saved.status == "done"),
        "rows": rows,
        "odd": list(odd),
    }


def belongs(row: dict[str, Any], odd: dict[str, None]) -> bool:
    """Whether training writes such a row: at a possible step, of the last weights on test only."""
    for key, bad in (
        ("step", row["step"] > MOST_NUMBER),
        ("weights", row["split"] != "test" and row.get("weights") == "last"),
    ):
        if bad:
            odd[f"{ROWS_FILE} {key}"] = None
            return False
    return True


def cut(row: dict[str, Any], odd: dict[str, None]) -> dict[str, Any]:
    """What reports use of a row: what only test figures show is kept on test only, since it is most bytes."""
    values = Values(row, f"{ROWS_FILE} ", odd)
    kept = {key: row[key] for key in PLACE} | {key: values.number(key) for key in METRICS}
    if row["split"] == "test":
        kept |= {key: values.number(key) for key in TESTED}
        kept |= {"moments": values.moments("moments"), "collapse": values.collapse("collapse")}
        kept["weights"] = values.text("weights", WEIGHTS_OF)
    return kept | {"kl_per_dim": values.dimensions("kl_per_dim")}


def one_sided(config: dict[str, Any], rows: list[dict[str, Any]]) -> bool:
    """Whether nothing is traded: the KL has weight 0 (an autoencoder), or is exactly 0 throughout (no code at all)."""
    objective = config.get("objective")
    free = isinstance(objective, dict) and objective.get("weight") in (0, 0.0)
    return free or (bool(rows) and all(row["kl"] == 0 for row in rows))


def data_facts(data: Values) -> dict[str, Any]:
    oracle = data.inside("oracle_nll")
    told = {
        key: value for key, value in data.found.items() if key != "content"
    }  # which is for machines
    return {
        "data": shown(facts_text(pruned(told)), MOST_FACTS),
        "level": shown(data.text("level") or "word"),
        "entropy": data.number("entropy"),
        "oracle_valid": oracle.number("valid"),
        "oracle_test": oracle.number("test"),
    }


def finals(summary: Values, rows: list[dict[str, Any]], done: bool) -> dict[str, Any]:
    """Test metrics of a finished run from its summary, or from its last test rows where that is missing something."""
    ended = summary if done else Values({})
    last, training = ended.inside("last"), ended.inside("train_mode")
    numbers = (*METRICS, *TESTED, *EVALUATED, *SAMPLED)
    row, row_of_training = (last_test_row(rows, mode) if done else {} for mode in ("eval", "train"))
    found = {
        key: ended.number(key) if key in ended.found else row.get(key, np.nan) for key in numbers
    }
    curves = ended.probe_curves("probe_curves")
    if ended.found.get("probe_chance") is None and curves:
        found["probe_chance"] = float(np.mean([curve["chance"] for curve in curves.values()]))
    moments = ended.moments("moments") if "moments" in ended.found else row.get("moments")
    in_training = (
        training.moments("moments")
        if "moments" in training.found
        else row_of_training.get("moments")
    )
    if moments and in_training and len(moments["mu"]) != len(in_training["mu"]):
        training.refuse("moments")
        in_training = None
    machine = {
        "versions": summary.scalars("versions"),
        "threads": whole(summary),
        "device": summary.text("device"),
    }
    return {
        **found,
        **{key: ended.number(key) for key in ENDED},
        **{key: last.number(key.removeprefix("last_")) for key in LAST},
        "lacks_nll": done and "nll" not in ended.found,
        "weights": ended.text("weights", WEIGHTS_OF),
        "unfinished": shown("; ".join(ended.texts("unfinished")), MOST_MESSAGE),
        "kl_train_mode": training.number("kl")
        if "kl" in training.found
        else row_of_training.get("kl", np.nan),
        "moments": moments,
        "moments_train_mode": in_training,
        "collapse": ended.collapse("collapse")
        if "collapse" in ended.found
        else row.get("collapse"),
        "probe_curves": curves,
        "machine": shown(
            facts_text({key: value for key, value in machine.items() if value != ""}), MOST_FACTS
        ),
        **made_by(
            summary.found
            and {"commit": summary.text("commit"), "tree_changed": summary.flag("tree_changed")}
        ),
    }


def whole(summary: Values) -> int | None:
    """The number of threads."""
    threads = summary.number("threads")
    return None if np.isnan(threads) else int(threads)


def made_by(summary: Mapping[str, Any]) -> dict[str, Any]:
    """`commit`, `tree_changed` and both in words; older summaries mark a change with +."""
    stated = summary.get("commit") or ""
    commit = shown(stated.rstrip("+"))
    changed = stated.endswith("+") or bool(summary.get("tree_changed")) if commit else None
    words = f"commit {commit}" + CHANGED * bool(changed) if commit else UNKNOWN * bool(summary)
    return {"commit": commit, "tree_changed": changed, "code": words}


def facts_text(facts: dict[str, Any]) -> str:
    """{"vocab": 112, "skipped": {"long": 3}} -> "vocab 112, skipped long 3"."""
    return ", ".join(
        f"{key} {fact_text(value)}" for key, value in facts.items() if value not in ({}, None)
    )


def fact_text(value: Any) -> str:
    if isinstance(value, dict):
        return f"({facts_text(value)})"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
