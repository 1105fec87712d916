"""Make text from run folders safe to show on a page and in tables and figures.

The result contains no invisible characters, and no path that shows where files are on a disk.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from uncollapse.errors import JOINERS
from uncollapse.paths import FLATTENED_PATH, shorten_command, shorten_embedded_paths, shorten_word

Value = TypeVar("Value")
MOST_TEXT = 300  # characters of a name or label
SYMBOLS = {
    "mu": "μ", "sigma": "σ", "tau": "τ", "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ",
    "epsilon": "ε", "kappa": "κ", "lambda": "λ",
}  # fmt: skip
SYMBOL_NAMES = "|".join(SYMBOLS)
# perhaps with a subscript (gamma_mu, beta_j); not in names (bn_mu), keys (posterior.tau),
# values (head=beta), options (--beta), files (beta.yaml, head/beta) and code (`beta`)
SYMBOL = re.compile(
    r"`[^`]*`"
    rf"|(?<![\w.])(?<!\w=)(?<!--)(?<![A-Za-z_]/)({SYMBOL_NAMES})(?:_({SYMBOL_NAMES}|[a-z\d]))?"
    r"(?!\w|\.\w|/[A-Za-z])"
)
MINUS = re.compile(r"(?<!\w)-(?=\d)|(?<= )-(?= )")  # a hyphen in place of a minus sign
# a space around ±, and before a rank, a mark of doubt or the end of a span
GLUED = re.compile(r" (?=[±\[§†‡])|(?<=±) |(?<=\d) (?=to )|(?<=\d to) ")
COLOUR = re.compile("\x1b\\[[0-9;]*[A-Za-z]")  # escape sequences of terminals


def capitalise(text: str) -> str:
    """The text with an initial capital, the rest unchanged."""
    return text[:1].upper() + text[1:]


def clean_text(text: object, most: int = MOST_TEXT) -> str:
    """Any text as one line of at most `most` characters that is safe to show."""
    # cut first, so that a huge text costs no time; escapes make it longer again
    line = escape_invisible(shorten_embedded_paths(COLOUR.sub("", str(text)[: 4 * most])))
    return line if len(line) <= most else line[: most - 1] + "…"


def clean_override(text: str, most: int = MOST_TEXT) -> str:
    """`data.dir=/home/me/my data` as `data.dir=…/my data`: a value may be a path with spaces."""
    return clean_text(shorten_word(text), most)


def clean_command(text: str, most: int = 20 * MOST_TEXT) -> str:
    """A command, with each word cleaned like an override."""
    return clean_text(shorten_command(text[: 4 * most]), most)


def clean_folder(text: str) -> str:
    """The name of a run folder, in which a path such as `/home/me/ptb` is `-home-me-ptb`."""
    return clean_text(FLATTENED_PATH.sub("=…", text))


def glue(text: str) -> str:
    """The text with spaces that do not break around signs that belong to the word before them."""
    return GLUED.sub("\N{NO-BREAK SPACE}", text)


def typeset(text: str) -> str:
    """The text with minus signs instead of hyphens."""
    return MINUS.sub("−", text)


def write_symbols(text: str) -> str:
    """'BN on μ (γ=0.6)' for 'BN on mu (gamma=0.6)'."""
    return SYMBOL.sub(write_symbol, text)


def write_symbol(found: re.Match[str]) -> str:
    name, subscript = found.groups()
    if not name:  # code
        return found[0]
    return SYMBOLS[name] + (f"_{SYMBOLS.get(subscript, subscript)}" if subscript else "")


# ---- characters ----------------------------------------------------------------------------------


def escape_invisible(text: str) -> str:
    """Control characters, line breaks, direction marks and lone surrogates as escapes (\\n)."""
    return text if text.isprintable() else "".join(map(escape_character, text))


def escape_character(character: str) -> str:
    code = ord(character)
    if code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF:  # no XML or SVG may hold these
        return f"\\u{code:04x}"
    kept = character.isprintable() or character in JOINERS
    # Zs: spaces; Cn: emoji newer than this Python's tables; Co: private use
    if kept or unicodedata.category(character) in ("Zs", "Cn", "Co"):
        return character
    return character.encode("unicode_escape", "surrogatepass").decode()


# ---- names ---------------------------------------------------------------------------------------


def clean_keys(named: Mapping[Any, Value]) -> dict[str, Value]:
    """The same values under names that are safe to show."""
    return dict(zip(number_repeats(map(clean_text, named)), named.values(), strict=True))


def number_repeats(texts: Iterable[str]) -> list[str]:
    """Texts with a number after each repeat, so that distinct things have distinct names."""
    seen: dict[str, int] = {}
    numbered = []
    for text in texts:
        # the first keeps its name
        seen[text] = seen.get(text, 0) + 1
        numbered.append(text if seen[text] == 1 else f"{text} ({seen[text]})")
    return numbered
