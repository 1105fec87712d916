"""The command line of scripts/export.py: the codes of a file, or of a split, as a table.

Heavy imports wait until there is something to compute, so that help and refusals return at once.
"""

import argparse
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from uncollapse.arguments import Parser, describe_os_error, run_or_refuse
from uncollapse.data import SPLITS
from uncollapse.errors import InputError, check_choice
from uncollapse.runs.layout import RUN_PATH
from uncollapse.runs.rules import DEFAULT_RULE, RULES

if TYPE_CHECKING:
    import numpy as np

    from uncollapse.finished.run import EncodedExamples, FinishedRun

    Columns = dict[str, np.ndarray]  # "text" and "label" of N examples, where there are any

OUT_FORMATS = (".parquet", ".npz")
EXPORT_HELP = """Write the codes of a file's examples, or of a split of the run's own data: mean,
log variance and KL of each example, in the order of the file, with its text and label."""


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0, or 2 after an error, which is printed."""
    arguments = export_parser().parse_with_plugins(argv)
    return run_or_refuse(
        lambda: export_codes(arguments), lambda error: describe_os_error(error, arguments.out)
    )


def export_parser() -> Parser:
    parser = Parser(prog="uncollapse export", description=EXPORT_HELP)
    parser.add_argument("run", type=Path, help=f"the folder of a finished run: {RUN_PATH}")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--data",
        type=Path,
        metavar="FILE",
        help="text: one sentence a line, or a table; images and vectors: .npy or .npz",
    )
    source.add_argument("--split", help=f"of the run's own data: {', '.join(SPLITS)}")
    parser.add_argument("--out", type=Path, required=True, help="a new .parquet or .npz file")
    parser.add_argument(
        "--column", default="text", help="of a table: its texts; of a .npz: its array (text)"
    )
    parser.add_argument("--label-column", metavar="NAME", help="of a table or a .npz: the labels")
    parser.add_argument(
        "--labels", action="store_true", help="lines of text are label TAB sentence"
    )
    parser.add_argument(
        "--weights",
        default=DEFAULT_RULE,
        metavar="RULE",
        help=f"the weights to load: {', '.join(RULES)} (default: {DEFAULT_RULE})",
    )
    parser.add_argument("--device", default="auto", help="auto (default), cpu or cuda")
    return parser


def export_codes(arguments: argparse.Namespace) -> None:
    """Encode the examples and write the table. InputError before any work for a wrong argument."""
    out = arguments.out
    check_out(out)
    if arguments.split is not None:
        check_choice("--split", arguments.split, SPLITS)
        if arguments.labels or arguments.label_column is not None:
            raise InputError("--labels and --label-column: a split has its own labels")
    elif not arguments.data.is_file():
        raise InputError(f"--data {arguments.data}: no such file")
    check_choice("--weights", arguments.weights, RULES)
    from uncollapse.disk import write_atomic
    from uncollapse.finished.folder import find_run

    find_run(arguments.run)  # refused before torch is imported
    from uncollapse.finished.run import load

    run = load(arguments.run, weights=arguments.weights, device=arguments.device)
    if arguments.split is not None:
        codes, columns = run.encode(split=arguments.split), columns_of_split(run, arguments.split)
    else:
        examples, columns = read_examples(run, arguments)
        codes = run.encode(examples)
    content = (
        encode_parquet(codes, columns) if out.suffix == ".parquet" else encode_npz(codes, columns)
    )
    write_atomic(out, content)
    lost = "" if codes.unknown is None else f", {codes.unknown.sum():,} tokens became <unk>"
    print(f"{out}: {len(codes):,} codes of {codes.mean.shape[1]} dimensions{lost}")


def check_out(out: Path) -> None:
    """InputError unless `out` is a new file of a known format in an existing folder."""
    if out.suffix not in OUT_FORMATS:
        raise InputError(f"--out {out}: allowed are files that end in {' or '.join(OUT_FORMATS)}")
    if out.exists():
        raise InputError(f"--out {out}: exists; give another name, or move it away")
    if not out.absolute().parent.is_dir():
        raise InputError(f"--out {out}: there is no folder {out.parent}")


# ---------------------------------------------------------------- what is encoded


def columns_of_split(run: "FinishedRun", split: str) -> "Columns":
    """Texts and labels of a split of the run's own data."""
    import numpy as np

    from uncollapse.evaluation.decoding import is_text

    data = run.opened.data
    columns = {}
    if is_text(run.opened):
        columns["text"] = np.array(data.texts(data.corpora[split]), dtype=object)
    # several labels keep their own names
    labels = data.labels.get(split, {}) if data.labels else {}
    return columns | {"label" if len(labels) == 1 else k: v for k, v in labels.items()}


def read_examples(run: "FinishedRun", arguments: argparse.Namespace) -> tuple[object, "Columns"]:
    """The examples of a file, and their columns."""
    from uncollapse.evaluation.decoding import is_text

    if is_text(run.opened):
        return read_texts(arguments)
    if arguments.labels:
        raise InputError("--labels: for lines of text; --label-column names an array of a .npz")
    return read_arrays(arguments)


def read_texts(arguments: argparse.Namespace) -> tuple[list[str], "Columns"]:
    """The sentences of a file of lines or of a table."""
    import tempfile

    import numpy as np

    from uncollapse.data.blocks import BLOCK_BYTES, Source
    from uncollapse.data.file_lines import Lines
    from uncollapse.data.formats import recognise_format
    from uncollapse.data.hub import select_columns
    from uncollapse.data.tables import read_table

    path, label = arguments.data, arguments.label_column
    format = recognise_format(path, "auto", arguments.column)
    if format == "text" and label is not None:
        raise InputError(f"--label-column {label}: plain text has no columns; see --labels")
    if format != "text" and arguments.labels:
        raise InputError(f"--labels: {path} is a table; give --label-column NAME")
    with tempfile.TemporaryDirectory(prefix="uncollapse-") as scratch:
        source: Source = Lines(path, arguments.labels)
        if format != "text":
            wanted = (arguments.column,)
            rows = read_table(path, format, wanted, label, Path(scratch))
            source = select_columns(str(path), rows, wanted, label, "--label-column")
        texts: list[str] = []
        labels: list[str] = []
        for block in source.blocks(BLOCK_BYTES):
            found, classes = block.columns()
            texts += [text.rstrip("\r\n") for text in found.to_pylist()]
            labels += [] if classes is None else classes.to_pylist()
    columns = {"text": np.array(texts, dtype=object)}
    if labels:
        columns["label"] = np.array(labels, dtype=object)
    return texts, columns


def read_arrays(arguments: argparse.Namespace) -> tuple["np.ndarray", "Columns"]:
    """The array of a .npy or .npz file, and its labels."""
    from zipfile import BadZipFile

    import numpy as np

    path, label = arguments.data, arguments.label_column
    try:
        # without pickle, which could run code
        loaded = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, BadZipFile) as error:
        raise InputError(f"--data {path}: not a .npy or .npz file of numbers") from error
    if isinstance(loaded, np.ndarray):
        if label is not None:
            raise InputError(f"--label-column {label}: a .npy file holds one array; use .npz")
        return loaded, {}
    with loaded:
        names = [name for name in loaded.files if name != label]
        name = names[0] if len(names) == 1 else check_choice("--column", arguments.column, names)
        if label is None:
            return loaded[name], {}
        check_choice("--label-column", label, loaded.files)
        if len(loaded[label]) != len(loaded[name]):
            raise InputError(f"--label-column {label}: not as long as the array {name}")
        return loaded[name], {"label": loaded[label]}


# ---------------------------------------------------------------- what is written


def encode_parquet(codes: "EncodedExamples", columns: "Columns") -> bytes:
    """One row per example: text and label, kl, unknown, mean_0 ..., log_var_0 ..."""
    import pandas as pd

    table = {**columns, "kl": codes.kl}
    if codes.unknown is not None:
        table["unknown"] = codes.unknown
    for name, values in (("mean", codes.mean), ("log_var", codes.log_var)):
        if values is not None:
            table |= {f"{name}_{d}": column for d, column in enumerate(values.T)}
    buffer = io.BytesIO()
    pd.DataFrame(table).to_parquet(buffer, index=False)
    return buffer.getvalue()


def encode_npz(codes: "EncodedExamples", columns: "Columns") -> bytes:
    """Arrays mean and log_var [N, D], kl and unknown [N], text and label [N]."""
    import numpy as np

    arrays = {key: value for key, value in vars(codes).items() if value is not None}
    for key, values in columns.items():
        # fixed-width text, as arrays of objects would have to be pickled
        arrays[key] = values.astype(str) if values.dtype == object else values
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()
