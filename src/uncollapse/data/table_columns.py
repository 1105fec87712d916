"""Which columns of a table hold the text and the label."""

from collections.abc import Sequence
from pathlib import Path

from uncollapse.errors import InputError

TEXT_NAMES = (
    "text", "sentence", "review", "content", "body", "comment", "document", "message", "tweet",
    "caption", "question", "title", "description", "abstract", "article", "summary", "smiles",
    "sequence", "seq", "code", "utterance",
)  # fmt: skip


LABEL_NAMES = (
    "label", "labels", "class", "category", "target", "sentiment", "topic", "stars", "rating",
    "score", "polarity", "intent", "emotion", "genre", "y",
)  # fmt: skip


HEADER_NAMES = {*TEXT_NAMES, *LABEL_NAMES, "id", "idx", "index"}


def guess_column(wanted: str, columns: Sequence[str], names: Sequence[str]) -> str | None:
    """The column that was most likely meant; None where none is likely.

    It is the wanted one in another case, has one of the usual names, or is spelt similarly.
    """
    import difflib

    # reversed, so that of two columns that differ in case only, the first one wins
    folded = {name.casefold(): name for name in reversed(columns)}
    for name in (wanted.casefold(), *names):
        if name in folded:
            return folded[name]
    near = difflib.get_close_matches(wanted.casefold(), folded, 1)
    if near:
        return folded[near[0]]
    return next((name for usual in names for name in columns if usual in name.casefold()), None)


ROWS_AT_ONCE = 10_000  # of a CSV table or a JSON array in memory at a time


def check_columns(
    path: Path,
    existing: Sequence[str],
    wanted: Sequence[str],
    label: str | None,
    longest: str | None = None,
    more: str = "",
) -> None:
    """InputError for a missing column, with the existing ones and the one probably meant.

    For a text, the column with the `longest` texts is the last guess.
    """
    for name in wanted:
        # Arrow and CSV files may repeat a name, and it would be unclear which one to read
        if list(existing).count(name) > 1:
            raise InputError(f"{path}: two columns are called {name}")
        if name in existing:
            continue
        word, guess = "data.label_column", guess_column(name, existing, LABEL_NAMES)
        if name != label:
            word, guess = "data.column", guess_column(name, existing, TEXT_NAMES) or longest
        shown = ", ".join(
            column if len(column) <= 40 else column[:40] + "..." for column in existing[:20]
        )
        advice = f"; set {word}={guess}" if guess else ""
        raise InputError(
            f"{word}={name}: {path} has the columns "
            f"{shown}{', ...' if len(existing) > 20 else ''}{advice}{more}"
        )
