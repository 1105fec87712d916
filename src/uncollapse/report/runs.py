"""One run as a flat record with its rows.

Text is made safe to show here, for every table, figure and page; only `saved` is as on disk.
"""

from dataclasses import replace
from pathlib import PurePath
from typing import Any

import numpy as np

from uncollapse.errors import MAX_NUMBER
from uncollapse.json_types import Json, JsonMapping
from uncollapse.metrics import catalogue
from uncollapse.metrics.metric import END, EVALUATED, TRAINING
from uncollapse.own_code import OWN_CODE
from uncollapse.report.checked import Values, prune
from uncollapse.report.evaluations import read_nll_results
from uncollapse.report.text import clean_command, clean_folder, clean_text, write_symbols
from uncollapse.report.unknown_metrics import find_unknown_metrics
from uncollapse.runs.layout import CONFIG, DATA, ROWS_FILE, SUMMARY
from uncollapse.runs.reading import Saved, list_overrides
from uncollapse.runs.rows import last_test_row
from uncollapse.runs.rules import DEFAULT_RULE, OTHER_RULES, select_weights

RunRecord = dict[str, Any]  # column -> value: numbers, text, curves, arrays
NO_KNOBS = ("seed", "threads")  # top-level numbers of a config that are not knobs of a head
MOST_LABEL_SHOWN, MOST_MESSAGE, MOST_FACTS = 120, 1000, 2000  # characters
CHANGEABLE_SLOTS = ("posterior", "objective", "procedure", "decoder")  # what a head can change
WITH_CHANGES = ", with uncommitted changes"
NO_COMMIT = "no commit known (installed outside a checkout)"
ROW_PLACE = ("step", "split", "mode")  # the keys that say where in training a row belongs
ENDS = ("", "_se")
WEIGHTS_OF = ("best", *OTHER_RULES)


def row_numbers() -> list[str]:
    """The metrics that reports read from every row."""
    return [*catalogue.row_columns(), *catalogue.csv_columns(TRAINING)]


def rule_columns(rule: str) -> list[str]:
    """Columns for test metrics of the weights that a rule chose, for comparison of the rules."""
    names = ["step", *(f"{name}{end}" for name in catalogue.compared_columns() for end in ENDS)]
    return [f"{rule}_{name}" for name in names]


def flatten_run(saved: Saved, rule: str = DEFAULT_RULE) -> RunRecord:
    """One run as a flat record, with its `rows`, and in `odd` the keys with invalid values.

    Its test metrics are those of the weights that `rule` chose. InputError if it has none.
    """
    done = saved.status == "done"
    summary = select_weights(saved.summary, rule, saved.name) if done else saved.summary
    odd: dict[str, None] = {}
    config, name = Values(saved.config, f"{CONFIG} ", odd), clean_folder(saved.name)
    every_row, on_test = row_numbers(), catalogue.test_columns()
    rows = [
        reduce_row(row, every_row, on_test, odd) for row in saved.rows if is_training_row(row, odd)
    ]
    head = clean_text(config.text("head"))
    # a packed run has no folder, but the same name
    place = saved.run.folder if saved.run else PurePath(saved.name)
    return {
        "saved": replace(saved, rows=[], summary={}),  # their content is in the other columns
        "folder": name,
        "identity": saved.identity,
        "head": head,
        "label": write_symbols(clean_text(config.text("label"), MOST_LABEL_SHOWN)) or head,
        "seed": saved.config["seed"],
        "study": clean_text(config.text("study")),
        "override_list": list_overrides(saved.config, place.parent.name),
        "status": saved.status,
        "message": clean_text(saved.failure, MOST_MESSAGE),
        "command": clean_command(saved.command),
        "step": max((row["step"] for row in rows), default=0),
        "latent": config.inside("model").number("latent"),
        "tau": config.number("tau"),
        "slots": {slot: saved.config[slot] for slot in CHANGEABLE_SLOTS if slot in saved.config},
        "one_sided": is_one_sided(saved.config, rows),
        "knobs": {
            k: v for k, v in saved.config.items() if type(v) in (int, float) and k not in NO_KNOBS
        },
        "unknown_metrics": find_unknown_metrics(saved),
        **data_facts(Values(saved.data, f"{DATA} ", odd)),
        **read_finals(Values(summary, f"{SUMMARY} ", odd), rows, done),
        "rows": rows,
        "odd": list(odd),
    }


def is_training_row(row: JsonMapping, odd: dict[str, None]) -> bool:
    """Whether training can have written a row: its step is possible, and only test rows are of the
    last weights. The key at fault is added to `odd`."""
    for key, bad in (
        ("step", row["step"] > MAX_NUMBER),
        ("weights", row["split"] != "test" and row.get("weights") is not None),
    ):
        if bad:
            odd[f"{ROWS_FILE} {key}"] = None
            return False
    return True


def reduce_row(
    row: JsonMapping, every_row: list[str], on_test: list[str], odd: dict[str, None]
) -> RunRecord:
    """The values that reports read from a row.

    Most bytes of a row are needed from test rows only.
    """
    values = Values(row, f"{ROWS_FILE} ", odd)
    kept = {key: row[key] for key in ROW_PLACE} | {key: values.number(key) for key in every_row}
    if row["split"] == "test":
        kept |= {key: values.number(key) for key in on_test}
        kept |= {"moments": values.moments("moments"), "collapse": values.collapse("collapse")}
        kept["weights"] = values.text("weights", WEIGHTS_OF)
    elif row["split"] == "valid":
        kept["posterior_means"] = values.posterior_means("posterior_means")
    return kept | {"kl_per_dim": values.dimensions("kl_per_dim")}


def is_one_sided(config: JsonMapping, rows: list[RunRecord]) -> bool:
    """Whether a run does not trade off rec and kl: the KL has weight 0 (an autoencoder), or is
    exactly 0 in every row (a model without a code)."""
    objective = config.get("objective")
    free = isinstance(objective, dict) and objective.get("weight") in (0, 0.0)
    return free or (bool(rows) and all(row["kl"] == 0 for row in rows))


def data_facts(data: Values) -> RunRecord:
    """What a run recorded about its data: a description, and exact values where known."""
    oracle = data.inside("oracle_nll")
    # the fingerprint is not for readers
    facts = {key: value for key, value in data.found.items() if key != "content"}
    return {
        "data": clean_text(format_facts(prune(facts)), MOST_FACTS),
        "level": clean_text(data.text("level") or "word"),
        "entropy": data.number("entropy"),
        "oracle_valid": oracle.number("valid"),
        "oracle_test": oracle.number("test"),
    }


def read_finals(summary: Values, rows: list[RunRecord], done: bool) -> RunRecord:
    """Test metrics of a finished run, from its summary or, if that lacks them, from its last test
    rows."""
    ended = summary if done else Values({})
    training = ended.inside("train_mode")
    weights = ended.text("weights", WEIGHTS_OF)
    row, training_row = (
        last_test_row(rows, mode, weights or "best") if done else {} for mode in ("eval", "train")
    )
    moments = read_moments(ended, row)
    in_training = read_moments(training, training_row)
    # moments of both modes are drawn side by side, so their dimensions must agree
    if moments and in_training and len(moments["mu"]) != len(in_training["mu"]):
        training.refuse("moments")
        in_training = None
    # runs of older versions have no separate entry
    kl_train_mode = training_row.get("kl", np.nan)
    return {
        **read_numbers(ended, row),
        **{key: ended.number(key) for key in catalogue.csv_columns(END)},
        **{
            key: ended.inside(rule).number(key.removeprefix(f"{rule}_"))
            for rule in WEIGHTS_OF
            for key in rule_columns(rule)
        },
        "nll_results": read_nll_results(ended),
        "lacks_nll": done and "nll" not in ended.found,
        "weights": weights,
        "unfinished": clean_text("; ".join(ended.texts("unfinished")), MOST_MESSAGE),
        "kl_train_mode": training.number("kl") if "kl" in training.found else kl_train_mode,
        "moments": moments,
        "moments_train_mode": in_training,
        "collapse": ended.collapse("collapse")
        if "collapse" in ended.found
        else row.get("collapse"),
        "machine": describe_machine(summary),
        **describe_code(
            summary.found
            and {"commit": summary.text("commit"), "tree_changed": summary.flag("tree_changed")}
        ),
    }


def read_numbers(ended: Values, row: RunRecord) -> RunRecord:
    """Every metric of the catalogue from the summary or the last test row, and probe curves."""
    numbers = (
        *row_numbers(),
        *catalogue.test_columns(),
        *catalogue.csv_columns(*EVALUATED),
    )
    found = {
        key: ended.number(key) if key in ended.found else row.get(key, np.nan) for key in numbers
    }
    curves = ended.probe_curves("probe_curves")
    # older results have chance in the curves only
    if ended.found.get("probe_chance") is None and curves:
        found["probe_chance"] = float(np.mean([curve["chance"] for curve in curves.values()]))
    return {**found, "probe_curves": curves}


def read_moments(values: Values, row: RunRecord) -> dict[str, list[float]] | None:
    """The moments in a summary or, if it lacks them, in the row that it was made from."""
    return values.moments("moments") if "moments" in values.found else row.get("moments")


def describe_machine(summary: Values) -> str:
    """'versions (torch 2.3), threads 4, device cpu'."""
    machine = {
        "versions": summary.scalars("versions"),
        "threads": thread_count(summary),
        "device": summary.text("device"),
        "gpu": summary.text("gpu"),
    }
    stated = {key: value for key, value in machine.items() if value != ""}
    return clean_text(format_facts(stated), MOST_FACTS)


def thread_count(summary: Values) -> int | None:
    """The number of threads as an integer, which reads better than 4.0."""
    threads = summary.number("threads")
    return None if np.isnan(threads) else int(threads)


def describe_code(summary: JsonMapping) -> RunRecord:
    """`commit`, `tree_changed`, and both in words; older summaries mark changes with a +."""
    stated = summary.get("commit") or ""
    commit = clean_text(stated.rstrip("+"))
    # None where the commit is unknown: neither changed nor unchanged
    changed = stated.endswith("+") or bool(summary.get("tree_changed")) if commit else None
    words = (
        f"commit {commit}" + WITH_CHANGES * bool(changed) if commit else NO_COMMIT * bool(summary)
    )
    # modules of the user's own, with digests that tell two versions apart
    own = summary.get(OWN_CODE)
    if isinstance(own, dict) and own:
        words += f", {format_facts(own)}"
    return {"commit": commit, "tree_changed": changed, "code": clean_text(words, MOST_FACTS)}


def format_facts(facts: JsonMapping) -> str:
    """{"vocab": 112, "skipped": {"long": 3}} -> "vocab 112, skipped long 3"."""
    return ", ".join(
        f"{key} {format_fact(value)}" for key, value in facts.items() if value not in ({}, None)
    )


def format_fact(value: Json) -> str:
    """A number with six digits, an object in parentheses, any other value as it is."""
    if isinstance(value, dict):
        return f"({format_facts(value)})"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
