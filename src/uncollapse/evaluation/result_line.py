"""A result in one line for the terminal."""

import math
from collections.abc import Mapping
from typing import Any

PRINTED = (
    "nll", "nll_ppl", "oracle_gap", "probe", "nelbo", "rec", "kl", "mi", "shuffle_gap",
    "sample_grammatical", "sample_oracle_ppl", "sample_lm_ppl", "sample_distinct", "sample_novel",
    "sample_self_bleu", "response_bleu4", "response_distinct_1", "response_distinct_2",
    "response_variety",
)  # fmt: skip
# what a number cannot be read without, by the word for it
PRINTED_WITH = {
    "nll": {"bias about": "nll_bias", "ess": "nll_ess"},
    "probe": {"chance": "probe_chance"},
}


def format_result(result: Mapping[str, Any]) -> str:
    """'nll 25.310 ± 0.120 (bias about 0.150, ess 18.300), nll_ppl 5.2'."""
    names = [name for name in PRINTED if isinstance(result.get(name), float)]
    return ", ".join(f"{name} {format_number(result, name)}" for name in names)


def format_number(result: Mapping[str, Any], name: str) -> str:
    """'25.310 ± 0.120 (bias about 0.150, ess 18.300)'."""
    error = f" ± {result[f'{name}_se']:.3f}" if is_finite(result, f"{name}_se") else ""
    beside = [
        f"{word} {result[key]:.3f}"
        for word, key in PRINTED_WITH.get(name, {}).items()
        if is_finite(result, key)
    ]
    return f"{result[name]:.3f}{error}" + (f" ({', '.join(beside)})" if beside else "")


def is_finite(result: Mapping[str, Any], name: str) -> bool:
    value = result.get(name)
    return isinstance(value, float) and math.isfinite(value)
