"""Tables as files: csv, Markdown and LaTeX. Text in them is inert, whoever wrote it."""

import re

import pandas as pd

from uncollapse.report.notes import BIASED, CUT
from uncollapse.report.tables import Table

FORMULA_STARTS = tuple("=+-@＝＋－＠")  # what makes a spreadsheet take a cell for a formula
# characters of one tabular: what fits a page in small print; wider tables continue below
LATEX_WIDTH = 110
LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    CUT: r"\dag{}", BIASED: r"\ddag{}",
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
    """The table as files, by their suffix."""
    texts = {
        "csv": format_csv(table.numbers),
        "md": format_markdown(table.text),
        "tex": format_latex(table),
    }
    return {suffix: text.encode() for suffix, text in texts.items()}


def format_csv(numbers: pd.DataFrame) -> str:
    """Text that a spreadsheet would take for a formula gets a ' before it."""
    inert = numbers.map(lambda value: quote_formula(value) if isinstance(value, str) else value)
    return inert.to_csv(index=False, lineterminator="\n")


def quote_formula(text: str) -> str:
    return f"'{text}" if text.lstrip()[:1] in FORMULA_STARTS and text.strip() else text


def format_markdown(text: pd.DataFrame) -> str:
    lines = [list(text.columns), ["---"] * text.shape[1], *text.to_numpy().tolist()]
    return "".join("| " + " | ".join(map(escape_markdown, line)) + " |\n" for line in lines)


def escape_markdown(value: object) -> str:
    """Plain text: no markup, no tag, no formula. A _ inside a word is no markup anyway."""
    text = str(value).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\|`*\[\]$~])|(?<![^\W_])_|_(?![^\W_])", lambda found: f"\\{found[0]}", text)


# ---- LaTeX ---------------------------------------------------------------------------------------


def format_latex(table: Table) -> str:
    """Booktabs tabulars, one below the other where a page is too narrow; the title as a comment."""
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
    """Text for LaTeX; characters that usual fonts lack, such as emoji, by their number."""
    return "".join(
        LATEX.get(c, c if ord(c) < 0x2100 or c.isalnum() else f"{{[}}U+{ord(c):04X}{{]}}")
        for c in text
    )


def split_columns(text: pd.DataFrame) -> list[pd.DataFrame]:
    """The first column with some of the others, then with the next ones.

    As few tables as fit a page, of about equal widths.
    """
    widths = [max(map(len, [name, *text[name].astype(str)])) + 2 for name in text.columns]
    fewest = len(pack_columns(widths, LATEX_WIDTH))
    parts = next(
        parts
        for room in range(LATEX_WIDTH + 1)
        if len(parts := pack_columns(widths, room)) == fewest
    )
    return [text.iloc[:, part] for part in parts]


def pack_columns(widths: list[int], room: int) -> list[list[int]]:
    """Columns 1, 2, … in lists that start with column 0 and are at most `room` characters wide.

    A list has at least two columns, however wide they are.
    """
    parts: list[list[int]] = [[0]]
    for column, width in enumerate(widths[1:], 1):
        if len(parts[-1]) > 1 and sum(widths[i] for i in parts[-1]) + width > room:
            parts.append([0])
        parts[-1].append(column)
    return parts
