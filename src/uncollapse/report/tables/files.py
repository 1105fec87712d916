"""Tables as files: csv, Markdown and LaTeX, with all text escaped."""

import re

import pandas as pd

from uncollapse.report.notes import BIASED, CUT, OPEN
from uncollapse.report.tables import Table

FORMULA_STARTS = tuple("=+-@＝＋－＠")  # spreadsheets take cells that begin with these as formulas
# characters in one tabular that fit on a page in small print; wider tables are split
LATEX_WIDTH = 110
LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    CUT: r"\dag{}", OPEN: r"\S{}", BIASED: r"\ddag{}",
    "[": "{[}", "]": "{]}", "*": "{*}", "…": r"\ldots{}", "→": r"$\rightarrow$", "↑": r"$\uparrow$",
    "≤": r"$\leq$", "≥": r"$\geq$", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "±": r"$\pm$", "−": "$-$", "–": "--", "²": "$^2$",
    **{c: f"\\{c}" for c in "&%$#_{}"},
    **{letter: f"$\\{name}$" for letter, name in zip("αβγδεθκλμνρστφ", (
        "alpha", "beta", "gamma", "delta", "epsilon", "theta", "kappa", "lambda", "mu", "nu", "rho",
        "sigma", "tau", "phi",
    ), strict=True)},
}  # fmt: skip


def encode_table(table: Table) -> dict[str, bytes]:
    """The files of a table, by suffix."""
    texts = {
        "csv": format_csv(table.numbers),
        "md": format_markdown(table.text),
        "tex": format_latex(table),
    }
    return {suffix: text.encode() for suffix, text in texts.items()}


def format_csv(numbers: pd.DataFrame) -> str:
    """The csv, with a ' before text that a spreadsheet would take as a formula."""
    inert = numbers.map(lambda value: quote_formula(value) if isinstance(value, str) else value)
    return inert.to_csv(index=False, lineterminator="\n")


def quote_formula(text: str) -> str:
    """The text, after a ' if a spreadsheet would take it as a formula."""
    # leading spaces do not protect: spreadsheets ignore them
    return f"'{text}" if text.lstrip()[:1] in FORMULA_STARTS and text.strip() else text


def format_markdown(text: pd.DataFrame) -> str:
    """A Markdown table."""
    # one row of dashes makes the line above a header
    lines = [list(text.columns), ["---"] * text.shape[1], *text.to_numpy().tolist()]
    return "".join("| " + " | ".join(map(escape_markdown, line)) + " |\n" for line in lines)


def escape_markdown(value: object) -> str:
    """A value as plain text, without markup, tags or formulas."""
    # a _ inside a word needs no escape, since it is not markup
    text = str(value).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\|`*\[\]$~])|(?<![^\W_])_|_(?![^\W_])", lambda found: f"\\{found[0]}", text)


# ---- LaTeX ---------------------------------------------------------------------------------------


def format_latex(table: Table) -> str:
    """Booktabs tabulars, several if a page is too narrow for one; the title as a comment."""
    tabulars = (latex_tabular(columns) for columns in split_columns(table.text))
    return "\n\n".join([f"% {table.title}", *tabulars]) + "\n"


def latex_tabular(text: pd.DataFrame) -> str:
    head = [
        rf"\begin{{tabular}}{{l{'r' * (text.shape[1] - 1)}}}",
        r"\toprule",
        latex_row(list(text.columns)),
        r"\midrule",
    ]
    body = [latex_row(values) for values in text.to_numpy().tolist()]
    return "\n".join([*head, *body, r"\bottomrule", r"\end{tabular}"])


def latex_row(values: list[object]) -> str:
    return " & ".join(escape_latex(str(value)) for value in values) + r" \\"


def escape_latex(text: str) -> str:
    """Text for LaTeX; characters that common fonts lack, such as emoji, as code points."""
    return "".join(
        # letters of any alphabet stay; symbols above U+2100 are mostly missing from fonts
        LATEX.get(c, c if ord(c) < 0x2100 or c.isalnum() else f"{{[}}U+{ord(c):04X}{{]}}")
        for c in text
    )


def split_columns(text: pd.DataFrame) -> list[pd.DataFrame]:
    """Tables that each have the first column and some of the others, in order.

    As few tables as fit the width of a page, of about equal widths.
    """
    # two characters between columns
    widths = [max(map(len, [name, *text[name].astype(str)])) + 2 for name in text.columns]
    fewest = len(pack_columns(widths, LATEX_WIDTH))
    # the smallest width that needs no more tables makes them about equal
    parts = next(
        parts
        for room in range(LATEX_WIDTH + 1)
        if len(parts := pack_columns(widths, room)) == fewest
    )
    return [text.iloc[:, part] for part in parts]


def pack_columns(widths: list[int], room: int) -> list[list[int]]:
    """Columns 1, 2, … in lists that start with column 0 and are at most `room` characters wide.

    Each list has at least two columns, even if they are wider.
    """
    parts: list[list[int]] = [[0]]
    for column, width in enumerate(widths[1:], 1):
        # a list has at least two columns, even if they are too wide
        if len(parts[-1]) > 1 and sum(widths[i] for i in parts[-1]) + width > room:
            parts.append([0])
        parts[-1].append(column)
    return parts
