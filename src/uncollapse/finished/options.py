"""The options of decoding, checked against each other and against the kind of a run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict

from uncollapse.errors import InputError, check_integer, check_number, did_you_mean, shorten
from uncollapse.interfaces.model import Limits

MOST_BEAMS = 1000


class DecodingWords(TypedDict, total=False):
    """The keyword arguments of `decode`, `reconstruct`, `interpolate` and `sample`."""

    temperature: float
    top_k: int | None
    top_p: float | None
    beam: int | None
    greedy: bool
    unk: bool


@dataclass(frozen=True)
class DecodingOptions:
    """How words or pixels are chosen: drawn, the most likely ones, or by beam search.

    InputError for a value out of range, and for options that contradict each other.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    beam: int | None = None
    greedy: bool = False
    unk: bool = False

    def __post_init__(self) -> None:
        check_number("temperature", self.temperature, 0)
        if self.top_k is not None:
            check_integer("top_k", self.top_k, 1)
        if self.top_p is not None:
            check_number("top_p", self.top_p, 0)
            check_number("top_p", self.top_p, 0, 1, closed=True)
        if self.beam is not None:
            check_integer("beam", self.beam, 1, MOST_BEAMS)
        fixed = [name for name in self.given if name in ("beam", "greedy")]
        drawn = [name for name in self.given if name in ("temperature", "top_k", "top_p")]
        if fixed and drawn:
            raise InputError(
                f"{fixed[0]} and {drawn[0]}: {fixed[0]} draws nothing, so it has no {drawn[0]}; "
                "leave one out"
            )
        if len(fixed) > 1:
            raise InputError("beam and greedy: two ways to choose words; leave one out")

    @classmethod
    def from_words(cls, words: Mapping[str, object]) -> "DecodingOptions":
        """The options of keyword arguments. InputError for a word that is no option."""
        allowed = DecodingWords.__annotations__
        for word, value in words.items():
            if word not in allowed:
                raise InputError(
                    f"{word}={shorten(value)}: no such option; {did_you_mean(word, allowed)}"
                    f"allowed are {', '.join(allowed)}, seed"
                )
        return cls(**words)  # type: ignore[arg-type]

    @property
    def given(self) -> list[str]:
        """The names of the options that differ from their defaults."""
        default = {"temperature": 1.0, "greedy": False, "unk": False}
        return [name for name, value in vars(self).items() if value != default.get(name)]

    def limits(self, text: bool) -> Limits:
        """What `generate` takes. InputError where other data are given an option of text."""
        if text:
            return {
                "temperature": self.temperature,
                "top_k": self.top_k,
                "top_p": self.top_p,
                "beam": self.beam,
            }
        for name in self.given:
            if name in ("top_k", "top_p", "beam", "unk"):
                raise InputError(f"{name}: for sentences; others take temperature or greedy")
        return {"temperature": self.temperature}
