"""Files that are not plain text: read by format, or refused with the option that reads them."""

import bz2
import csv
import gzip
import json
import lzma
import pickle
import zipfile
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from schemas import TextConfig

from uncollapse.data.formats import recognise_format
from uncollapse.data.inspection import inspect_head, name_binary
from uncollapse.data.text import SPLITS
from uncollapse.errors import InputError

ROWS = [("a red dog", "pos"), ('he said , "yes"', "neg"), ("two\nlines", "pos"), ("NA", "neg")]
READ = ["a red dog", 'he said , "yes"', "two lines", "NA"]
PACKERS = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zst": lambda data: pa.compress(data, "zstd", asbytes=True),
}


def as_csv(rows=ROWS, header=("text", "label"), delimiter=",") -> bytes:
    import io

    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter).writerows([header, *rows])
    return file.getvalue().encode()


def as_json_lines(rows=ROWS, **more) -> bytes:
    return "".join(
        json.dumps({"id": 7, "text": t, "label": c, **more}) + "\n" for t, c in rows
    ).encode()


def as_array(rows=ROWS, indent=None) -> bytes:
    return json.dumps([{"text": t, "label": c} for t, c in rows], indent=indent).encode()


def table(rows=ROWS) -> pa.Table:
    return pa.table(
        {"text": [t for t, _ in rows], "label": [c for _, c in rows], "n": [0] * len(rows)}
    )


def as_parquet(rows=ROWS) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table(rows), sink)
    return sink.getvalue().to_pybytes()


def as_arrow(rows=ROWS, new=pa.ipc.new_file) -> bytes:
    sink = pa.BufferOutputStream()
    with new(sink, table(rows).schema) as writer:
        writer.write_table(table(rows))
    return sink.getvalue().to_pybytes()


KINDS = {
    "jsonl": as_json_lines(),
    "ndjson": as_json_lines(),
    "json": as_array(),
    "csv": as_csv(),
    "tsv": as_csv(delimiter="\t"),
    "parquet": as_parquet(),
    "arrow": as_arrow(),
    "feather": as_arrow(new=pa.ipc.new_stream),
}
OPTION = {"jsonl": "json", "ndjson": "json", "feather": "arrow"}


def name_splits(folder: Path, **contents: bytes) -> dict[str, str]:
    """Files train, valid and test with the same content, by split.

    The keyword is their extension, with _ in place of each point: `txt_gz`.
    """
    ((ending, content),) = contents.items()
    folder.mkdir(parents=True, exist_ok=True)
    paths = {split: folder / f"{split}.{ending.replace('_', '.')}" for split in SPLITS}
    for path in paths.values():
        path.write_bytes(content)
    return {split: str(path) for split, path in paths.items()}


def load(files: dict[str, str], **options):
    cache = Path(next(iter(files.values()))).parent / "cache"
    return TextConfig(**files, cache=str(cache), **options).load()


def get_refusal(files: dict[str, str], **options) -> str:
    with pytest.raises(InputError) as caught:
        load(files, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------- formats that are read


@pytest.mark.parametrize("packed", PACKERS)
@pytest.mark.parametrize("kind", KINDS)
def test_text_column_is_read_from_every_format(tmp_path, kind, packed):
    files = name_splits(tmp_path, **{kind + packed.replace(".", "_"): PACKERS[packed](KINDS[kind])})
    data = load(files, label_column="label", label="mood")
    assert [data.texts(data.corpora[split]) for split in SPLITS] == [READ] * 3
    assert data.classes == {"mood": ("neg", "pos")} and data.labels["valid"]["mood"].tolist() == [
        1,
        0,
        1,
        0,
    ]
    again = TextConfig(
        dir=str(tmp_path), label_column="label", cache=str(tmp_path / "cache")
    ).load()
    assert again.texts(again.corpora["test"]) == READ
    assert not load(files).labels


@pytest.mark.parametrize("packed", PACKERS)
@pytest.mark.parametrize("name", ["txt", "txt_gz", "txt_zst"])
def test_compression_is_detected_from_content(tmp_path, name, packed):
    files = name_splits(tmp_path, **{name: PACKERS[packed](b"the cat sat\nthe dog\n")})
    data = load(files)
    assert data.texts(data.corpora["valid"]) == ["the cat sat", "the dog"]


@pytest.mark.parametrize("kind", KINDS)
def test_mislabelled_table_is_refused_and_suggested_option_reads_it(tmp_path, kind):
    files = name_splits(tmp_path, txt=KINDS[kind])
    format = OPTION.get(kind, kind)
    assert f"set data.format={format} data.column=text" in get_refusal(files)
    data = load(files, format=format)
    assert data.texts(data.corpora["train"]) == READ


def test_splits_can_differ_in_format(tmp_path):
    train, valid, test = (
        name_splits(tmp_path, **{kind: KINDS[kind]}) for kind in ("csv", "parquet", "jsonl")
    )
    data = load(
        {"train": train["train"], "valid": valid["valid"], "test": test["test"]}, labels=True
    )
    assert data.texts(data.corpora["test"]) == READ and data.labels["test"]["label"].tolist() == [
        1,
        0,
        1,
        0,
    ]


def test_format_is_detected_when_name_says_nothing(tmp_path):
    data = load(name_splits(tmp_path, data=KINDS["jsonl"]))
    assert data.texts(data.corpora["test"]) == READ
    data = load(name_splits(tmp_path / "plain", tok=b"a b\nc\n"))
    assert data.texts(data.corpora["test"]) == ["a b", "c"]


@pytest.mark.parametrize("content", [as_array(indent=1), b"\xef\xbb\xbf" + as_json_lines()])
def test_multiline_json_and_byte_order_marks_are_read(tmp_path, content):
    data = load(name_splits(tmp_path, json=content))
    assert data.texts(data.corpora["train"]) == READ


def test_columns_are_joined_and_integers_are_classes(tmp_path):
    content = b'{"a": "x", "b": "y z", "y": 1}\n{"a": "x", "b": null, "y": 0}\n'
    data = load(name_splits(tmp_path, jsonl=content), column="a+b", label_column="y")
    assert data.texts(data.corpora["train"]) == ["x y z", "x"] and data.classes == {"y": ("0", "1")}


def test_class_names_come_from_data_set(tmp_path):
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    part = datasets.Dataset.from_dict({"text": ["a b", "c"], "label": [1, 0]}, features=features)
    part.to_parquet(str(tmp_path / "set.parquet"))
    data = load(
        name_splits(tmp_path, parquet=(tmp_path / "set.parquet").read_bytes()), label_column="label"
    )
    assert data.classes == {"label": ("no", "yes")} and data.labels["train"]["label"].tolist() == [
        1,
        0,
    ]


def test_text_after_long_field_is_read(tmp_path):
    for size in (200_000, 2_000_000):
        rows = [{"meta": "x" * size, "text": "a b"}, {"meta": "x", "text": "c"}]
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        data = load(name_splits(tmp_path / str(size), jsonl=content))
        assert data.texts(data.corpora["train"]) == ["a b", "c"]
        assert "set data.format=json" in get_refusal(
            name_splits(tmp_path / f"{size}-txt", txt=content)
        )


@pytest.mark.parametrize("delimiter", [";", "|", "\t"])
def test_csv_delimiter_is_detected(tmp_path, delimiter):
    data = load(name_splits(tmp_path, csv=as_csv(delimiter=delimiter)))
    assert data.texts(data.corpora["train"]) == READ


def test_tsv_quotes_are_text_unless_they_enclose_cells(tmp_path):
    plain = load(name_splits(tmp_path, tsv=b'text\tlabel\n"so , he said\t1\nit is 5" long\t0\n'))
    assert plain.texts(plain.corpora["train"]) == ['"so , he said', 'it is 5" long']


def test_cells_are_read_verbatim(tmp_path):
    rows = [("007", "1"), ("1e5", "0"), ("null", "1"), ("2020-01-01", "0"), ("True", "1")]
    for kind, content in (("csv", as_csv(rows)), ("jsonl", as_json_lines(rows))):
        data = load(name_splits(tmp_path / kind, **{kind: content}))
        assert data.texts(data.corpora["train"]) == [text for text, _ in rows]


def test_null_and_empty_texts_are_skipped_with_labels_and_counted(tmp_path):
    rows = [("a b", "x"), ("", "y"), (None, "y"), ("c", "y")]
    data = load(name_splits(tmp_path, jsonl=as_json_lines(rows)), label_column="label")
    assert data.skipped["train"]["empty"] == 2 and data.labels["train"]["label"].tolist() == [0, 1]


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "arrow"])
def test_missing_column_error_lists_columns_and_suggests_one(tmp_path, kind):
    message = get_refusal(name_splits(tmp_path, **{kind: KINDS[kind]}), column="Text")
    assert (
        message.startswith("data.column=Text: ")
        and "text, label" in message
        and "; set data.column=text" in message
    )
    message = get_refusal(name_splits(tmp_path, **{kind: KINDS[kind]}), label_column="stars")
    assert (
        message.startswith("data.label_column=stars: ")
        and "; set data.label_column=label" in message
    )


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("jsonl", b"the cat sat\nthe dog ran\n", ("looks like plain text, and would be read as "
                                                  "JSON "
                                                  "objects; "
                                                 "set data.format=text")),
        ("jsonl", KINDS["csv"], "set data.format=csv data.column=text"),
        ("csv", KINDS["jsonl"], "set data.format=json data.column=text"),
        ("parquet", KINDS["csv"], "set data.format=csv data.column=text"),
        ("csv", KINDS["parquet"], "set data.format=parquet data.column=text"),
        ("csv", b"the cat sat\nthe dog ran\n", "its first line is taken as a header"),
        ("tsv", b"pos\tthe cat\nneg\tthe dog\n", "data.format=text data.labels=true"),
        ("csv", b"text,label\nhello, world,1\n", "line 2: 3 cells where the header has 2"),
        ("csv", b"text,label\nhello\n", "line 2: 1 cells where the header has 2"),
        ("csv", b'label,text\n1,"hello\n0,world\n', "a quote is not closed"),
        ("csv", b'label,text\n1,"hello\n0,world\n1,"foo\n', ("a quote is not closed, or text "
                                                             "follows "
                                                            "it")),
        ("csv", b"text,label\n", "no row in it"),
        ("csv", b"text,text\na,b\n", "two columns are called text"),
        ("csv", b"text,label\ncaf\xe9,1\n", "not UTF-8 (byte 0xe9)"),
        ("csv", b"", "the file is empty"),
        ("jsonl", b"", "the file is empty"),
        ("jsonl", b'{"text": "caf\xe9"}\n', "not UTF-8"),
        ("jsonl", b'{"text": "a b"}\n{"text": 5}\n', "changed from string to number"),
        ("jsonl", b'{"text": 5}\n{"text": 6}\n', "changed from string to number"),
        ("jsonl", b'{"text": {"en": "a"}}\n', "changed from string to object"),
        ("jsonl", b'{"text": ["a", "b"]}\n', "changed from string to array"),
        ("jsonl", b'{"text": "a"}\n{"text": "b"\n', "damaged, or not json throughout"),
        ("jsonl", b'{"text": "a"}\nplain words\n', "damaged, or not json throughout"),
        ("json", b'[{"text": "a"}, {"text": 3}]', "row 2: text is not a string (3)"),
        ("json", b'[{"text": "a"}, "b"]', "row 2: not an object"),
        ("json", b'{"data": [{"text": "a"}]}', "has the columns data"),
        ("parquet", KINDS["parquet"][:-30], "damaged, or not parquet throughout"),
        ("arrow", KINDS["arrow"][:200], "Arrow"),
        ("csv_gz", gzip.compress(KINDS["csv"] * 300, mtime=0)[:-20],
        "damaged or truncated .gz file"),
        ("jsonl_zst", PACKERS[".zst"](KINDS["jsonl"] * 300)[:-20], ("damaged or truncated .zst "
                                                                   "file")),
        ("txt_bz2", bz2.compress(b"some words\n" * 300)[:-20], "damaged or truncated .bz2 file"),
        ("txt", b"%PDF-1.7\n", "this is a PDF; allowed are plain text"),
        ("txt", pickle.dumps(["a"]), "this is a pickle"),
        ("txt", b"<!DOCTYPE html>\n<html>\n", "this is a web page (HTML)"),
        ("txt", b"\n <HTML><body>404</body>\n", "this is a web page (HTML)"),
        ("txt", (b"version https://git-lfs.github.com/spec/v1\noid "
                b"sha256:0\n"), "this is a Git LFS pointer"),
        ("txt", "a b\n".encode("utf-16"), "this is text in UTF-16"),
        ("txt", gzip.compress(gzip.compress(b"a b\n", mtime=0), mtime=0), "compressed twice"),
        ("txt", b">seq1 human\nACGTACGTAC\n>seq2\nACGT\n", "this is FASTA"),
        ("txt", b"__label__1 good food\n__label__0 bad food\n", "this is fastText's format"),
        ("txt", b"<?xml version='1.0'?>\n<a>b</a>\n", "this is XML"),
        ("txt", (b"quote,author\n\"to be , or not\",Shakespeare\n\"yes , "
                b"he said\",Joyce\n"), "set data.format=csv data.column=quote"),
        ("txt", (b"sentence\tlabel\nthe cat\t1\nthe "
                b"dog\t0\n"), "set data.format=tsv data.column=sentence"),
        ("txt", b"smiles,logp\nCCO,-0.3\nCCN,0.1\nCCC,1.2\n", ("set data.format=csv "
                                                              "data.column=smiles")),
        ("txt", b'0,"good , food"\n1,"bad"\n0,"so , so"\n', "set data.format=csv"),
        ("txt", b",text,label\n0,a b,1\n1,c,0\n", "set data.format=csv data.column=text"),
        ("txt", (b"{'text': 'a b', 'label': 1}\n{'text': 'c', "
                b"'label': 0}\n"), "this is Python dictionaries"),
        ("jsonl", (b"{'text': 'a b', 'label': 1}\n{'text': 'c', "
                  b"'label': 0}\n"), "this is Python dictionaries"),
        ("txt", b'["the", "cat"]\n["a", "dog"]\n', "this is JSON without objects"),
        ("json", b'[\n"the cat",\n"a dog"\n]', "this is JSON without objects"),
        ("txt", as_array(indent=2), "set data.format=json data.column=text"),
    ],
)  # fmt: skip
def test_wrong_format_error_names_the_right_option(tmp_path, name, content, said):
    assert said in get_refusal(name_splits(tmp_path, **{name: content}))
    assert not [path for path in (tmp_path / "cache").glob("*") if path.is_dir()]


def test_zip_archive_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("train.txt", "a b\n")
    assert "this is a ZIP archive" in get_refusal(
        name_splits(tmp_path, txt=(tmp_path / "x.zip").read_bytes())
    )


@pytest.mark.parametrize("label", ["", " ", None])
def test_row_without_label_is_reported(tmp_path, label):
    rows = [("a", "x"), ("b", label), ("c", "x")]
    message = get_refusal(name_splits(tmp_path, jsonl=as_json_lines(rows)), label_column="label")
    assert message.endswith("row 2: no class in the column label (data.label_column=label)")


def test_mostly_unique_labels_are_refused(tmp_path):
    rows = [(f"word{n % 3} b", f"id{n}") for n in range(40)]
    assert "40 different labels for 40 sentences" in get_refusal(
        name_splits(tmp_path, csv=as_csv(rows)), label_column="label"
    )
    swapped = "".join(f"some words {n}\tpos\n" for n in range(40)).encode()
    assert "labels stand before the first TAB" in get_refusal(
        name_splits(tmp_path, txt=swapped), labels=True
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"format": "xml"},
            "data.format=xml: allowed are auto, text, json, csv, tsv, parquet, arrow",
        ),
        ({"format": "json"}, "set data.format=text"),
        ({"format": "parquet"}, "set data.format=text"),
        ({"label_column": "y"}, "data.label_column=y: plain text has no columns"),
        ({"column": "review"}, "data.column=review: plain text has no columns"),
        ({"label_column": "y", "labels": False}, "data.labels=false data.label_column=y"),
        ({"labels": True}, "line 1: no TAB between label and text"),
    ],
)
def test_options_contradicting_file_are_refused(tmp_path, options, said):
    assert said in get_refusal(name_splits(tmp_path, txt=b"the cat sat\nthe dog ran\n"), **options)


def test_two_formats_in_folder_need_an_option(tmp_path):
    name_splits(tmp_path, txt=b"a b\nc\n")
    name_splits(tmp_path, jsonl=KINDS["jsonl"])
    cfg = {"dir": str(tmp_path), "cache": str(tmp_path / "cache")}
    with pytest.raises(
        InputError,
        match=r"several files for the train split, train.txt, train.jsonl; choose one with data",
    ):
        TextConfig(**cfg).load()
    assert (
        TextConfig(**cfg, format="json")
        .load()
        .texts(TextConfig(**cfg, format="json").load().corpora["test"])
        == READ
    )
    assert len(TextConfig(**cfg, format="text").load().corpora["test"]) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_suggested_option_reads_file_in_folder(tmp_path, kind):
    name_splits(tmp_path, txt=KINDS[kind])
    cfg = {"dir": str(tmp_path), "cache": str(tmp_path / "cache")}
    format = OPTION.get(kind, kind)
    with pytest.raises(InputError, match=f"set data.format={format} data.column=text"):
        TextConfig(**cfg).load()
    data = TextConfig(**cfg, format=format).load()
    assert data.texts(data.corpora["test"]) == READ


# ---------------------------------------------------------------- apparently labelled


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("pos\ta b\nneg\tc d\n", "every line has a TAB"),
        ("pos\ta b\nc d\nneg\te\n", "line 2: partly labelled: this line has no TAB"),
        ("a b\nc d\nneg\te f\n", "line 3: partly labelled: this line has a TAB"),
        ("very good\ta b\n" * 3 + "c d\n", "line 4: partly labelled: this line has no TAB"),
        ("\n1\ta\n\nb c\n", "line 4: partly labelled"),
    ],
)
@pytest.mark.parametrize("split", SPLITS)
def test_apparently_labelled_lines_need_explicit_option(
    tmp_path, monkeypatch, content, said, split
):
    from uncollapse.data import tokenise

    files = name_splits(tmp_path, txt=b"a b c d e f pos neg very good 1\n")
    Path(files[split]).write_text(content)
    message = get_refusal(files)
    assert (
        said in message
        and files[split] in message
        and "data.labels=true" in message
        and "data.labels=false" in message
    )
    monkeypatch.setattr(tokenise.tokenise, "__defaults__", (None, 3))
    assert get_refusal(files) == message
    assert not load(files, labels=False).labels
    assert get_refusal(files) == message  # also now that the tokens are in the cache


def test_leading_and_inner_tabs_are_whitespace(tmp_path):
    code = "def f(x):\n\treturn x\n\t\ty = 1\nthe cat\tsat\nx\n" * 2
    data = load(name_splits(tmp_path, txt=code.encode()))
    assert data.texts(data.corpora["train"])[:4] == [
        "def f(x):",
        "return x",
        "y = 1",
        "the cat sat",
    ]


def test_header_is_not_a_labelled_line(tmp_path):
    files = name_splits(tmp_path, txt=b"label\ttext\n1\ta b\n0\tc\n")
    assert "data.format=tsv" in get_refusal(files, labels=True)


# ---------------------------------------------------------------- plain text stays plain text


@pytest.mark.parametrize(
    "text",
    [
        "yes , sir\nno , sir\n",
        "text, I said\nwas , long\n",
        "one, two\nthree, four\n",
        '" so , " he said\n" no , " said she\n',
        "{ this } is prose\n{ so } is this\n",
        "[ laughter ]\n[ applause ]\n",
        '[ " no , " he said ]\n["quoted" text]\n',
        "{'quoted'} text\n",
        "> quoted\nanswer\n",
        "@user hello\nyes\n+ 1\n",
        "import os, sys\nx = {1: 2}\n{\n}\n",
        "CC(=O)Oc1ccccc1C(=O)O\nc1ccccc1\nN#N\n",
        "ACGTACGTAC\nACGT\n",
        "a|b\nc|d\ne|f\n",
        "ORCHESTRA music\n",
        "GIF87 and GIF89 are formats\n",
        "LZIP\n",
        "PAR1 s\n",
        "ARROW1 x\n",
        "PK is short\nBZh9 too\n",
        "<unk> the cat\n<unk> sat\n",
        "<pad> & < b >\n",
        "text\nlabel\n",
        "1,2\n3,4\n5,6\n",
        "question\tanswer me\n",
    ],
)
def test_prose_is_not_mistaken_for_table(text):
    found = inspect_head(text.encode(), complete=True)
    assert found.format is None and found.foreign is None and name_binary(text.encode()) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Satz,Stimmung\n" + "heute ist es gut,gut\n" * 8, "looks like a CSV table"),
        ("Satz;Stimmung;Quelle\n" + "heute ist es gut;gut;web\n" * 8, "looks like a CSV table"),
        (
            "Review Text,Rating,Recommended IND\n" + "a nice dress,5,1\n" * 8,
            "looks like a CSV table",
        ),
        ("text\n" + "the dog runs\n" * 8, "data.format=csv data.column=text"),
        ("the dog runs,0\n" * 8, "a table without a header"),
        ('"the dog runs"\n' * 8, "JSON strings, one a line"),
        ("the dog runs\r" * 8, "end in CR alone"),
    ],
)
def test_table_with_unusual_columns_is_detected_in_txt(text, said, tmp_path):
    (tmp_path / "train.txt").write_text(text, newline="")
    with pytest.raises(InputError, match=said):
        recognise_format(tmp_path / "train.txt", "auto", "text")
    assert recognise_format(tmp_path / "train.txt", "text", "text") == "text"


def test_csv_of_one_quoted_column_is_read(tmp_path):
    (tmp_path / "train.csv").write_text('"text"\n' + '"the dog, he runs"\n' * 8)
    assert recognise_format(tmp_path / "train.csv", "auto", "text") == "csv"
