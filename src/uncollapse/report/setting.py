"""What a study compares, in a few words: how many remedies, on which data, with which model."""

import pandas as pd

from uncollapse.config import find_option, read_option
from uncollapse.errors import InputError
from uncollapse.json_types import Json, JsonMapping
from uncollapse.report.answers.answer import agree, list_names
from uncollapse.report.data_sets import name_data
from uncollapse.report.stats import finished, remedies_of
from uncollapse.report.text import clean_text
from uncollapse.runs.reading import Saved

OWN_FILES = ("text", "arrays", "image_folder")  # any data of these kinds, so nothing to say of them
MOST_ABOUT = 300  # characters of what the file of a data set says of it


def describe_setting(runs: pd.DataFrame) -> list[str]:
    """One sentence on the remedies, and one on the data and the model of each data set."""
    found = [describe_remedies_compared(runs)]
    for name in runs["data_name"].unique().tolist():
        saved = runs.loc[runs["data_name"] == name, "saved"].iloc[0]
        found.append(describe_data_and_model(saved))
    return found


def describe_remedies_compared(runs: pd.DataFrame) -> str:
    """'17 remedies for posterior collapse and a plain VAE, 3 seeds each.'"""
    remedies = {*remedies_of(runs)["head"]}
    count, others = len(remedies), len({*runs["head"]} - remedies - {"plain"})
    parts = [f"{count} {agree(count, 'remedies', 'remedy')} for posterior collapse"] * bool(count)
    parts += ["a plain VAE"] * bool((runs["head"] == "plain").any())
    parts += [f"{others} more {agree(others, 'baselines', 'baseline')}"] * bool(others)
    seeds = finished(runs).groupby("order")["seed"].nunique()
    most = f", up to {seeds.max()} {agree(seeds.max(), 'seeds', 'seed')}" if len(seeds) else ""
    return f"{list_names(parts)}{most}."


def describe_data_and_model(saved: Saved) -> str:
    """'grammar: English-like sentences ...; 20,000 training examples. Model: lstm, 16 ...'"""
    name, facts = find_name(saved), saved.data
    counts = [
        f"{facts['train']:,} training examples" if is_count(facts.get("train")) else "",
        "drawn again in each epoch" if facts.get("fresh") is True else "",
        f"vocabulary {facts['vocab']:,}" if is_count(facts.get("vocab")) else "",
    ]
    listed = ", ".join(filter(None, counts))
    parts = [part for part in (describe_source(name, saved.config), listed) if part]
    return f"Data {name}: {'; '.join(parts)}. {describe_model(saved.config)}"


def find_name(saved: Saved) -> str:
    """The name that the config of the data states, or else that of their option or class."""
    data = saved.config.get("data")
    stated = data.get("name") if isinstance(data, dict) else None
    return clean_text(stated) if isinstance(stated, str) and stated else name_data(saved)


def describe_source(name: str, config: JsonMapping) -> str:
    """The first sentence of the file of a data set; '' if it is not that of this run."""
    if name in OWN_FILES:
        return ""
    try:
        path, option = find_option("data", name), read_option("data", name)
    except (InputError, OSError, UnicodeDecodeError):
        return ""
    data = config.get("data")
    if not isinstance(data, dict) or option.get("_target_") != data.get("_target_"):
        return ""
    lines = path.read_text(encoding="utf-8").splitlines()
    comments = [line.removeprefix("# ").strip() for line in lines if line.startswith("# ")]
    return clean_text(" ".join(comments).partition(". ")[0].rstrip("."), MOST_ABOUT)


def describe_model(config: JsonMapping) -> str:
    """'Model: lstm, 16 latent dimensions.'"""
    model = config.get("model")
    if not isinstance(model, dict):
        return ""
    kind = str(model.get("_target_", "")).split(".")[-2:-1]
    latent = model.get("latent")
    size = f"{latent} latent dimensions" if is_count(latent) else ""
    listed = ", ".join(filter(None, [*map(clean_text, kind), size]))
    return f"Model: {listed}." if listed else ""


def is_count(value: Json) -> bool:
    """Whether a value is a number of things; a boolean is none."""
    return type(value) is int
