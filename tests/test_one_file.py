"""One file of text that is divided into the splits: every format, the same rows each time."""

import gzip
import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import composed, folder_of
from schemas import TextConfig

import uncollapse
from uncollapse.data import SPLITS, batches
from uncollapse.data.file_lines import Lines
from uncollapse.data.shares import draw_rows
from uncollapse.data.text import TextData
from uncollapse.errors import InputError
from uncollapse.run import run

ROWS = [f"a{i % 7} b{i % 11} c{i}" for i in range(40)]
CLASSES = [str(i % 3) for i in range(40)]
SHARES = [0.5, 0.25, 0.25]
FORMATS = ("txt", "tab", "csv", "tsv", "jsonl", "json", "parquet", "txt.gz")


def write_file(folder: Path, format: str) -> tuple[Path, dict[str, object]]:
    """ROWS as a file of a format, and the options that read it."""
    path, pairs = folder / f"mine.{format}", list(zip(CLASSES, ROWS, strict=True))
    records = [{"review": text, "stars": label} for label, text in pairs]
    columns: dict[str, object] = {"column": "review", "label_column": "stars"}
    if format == "txt":
        path.write_text("\n".join(ROWS))  # without a line break at the end
        return path, {}
    if format == "txt.gz":
        path.write_bytes(gzip.compress(("\ufeff" + "\r\n".join(ROWS) + "\r\n").encode()))
        return path, {}
    if format == "tab":
        path = folder / "labelled.txt"
        path.write_text("".join(f"{label}\t{text}\n" for label, text in pairs))
        return path, {"labels": True}
    if format in ("csv", "tsv"):
        mark = "," if format == "csv" else "\t"
        path.write_text("\n".join([f"stars{mark}review", *(mark.join(pair) for pair in pairs)]))
    elif format == "jsonl":
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    elif format == "json":
        path.write_text(json.dumps(records))
    else:
        pq.write_table(pa.Table.from_pylist(records), path)
    return path, columns


def read(path: Path, **options: object) -> TextData:
    options = {"split": SHARES, "cache": str(path.parent / "cache"), **options}
    data = TextConfig(file=str(path), **options).load()
    assert isinstance(data, TextData)
    return data


def sentences(data: TextData, split: str) -> list[str]:
    """The last word of each sentence tells its row; in valid and test it may be unknown."""
    corpus = data.corpora[split]
    words = [data.vocabulary[i] for i in corpus.tokens]
    return [" ".join(words[a:b]) for a, b in pairwise(corpus.offsets)]


# ---------------------------------------------------------------- which rows


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_is_divided_into_the_same_rows(format: str, tmp_path: Path) -> None:
    path, options = write_file(tmp_path, format)
    data, parts = read(path, **options), draw_rows(40, SHARES, 0)
    assert [data.size(split) for split in SPLITS] == [20, 10, 10]
    expected = [ROWS[i] for i in sorted(parts["train"])]
    assert sentences(data, "train") == expected
    # a row of another split is not in the vocabulary
    assert sum(word.startswith("c") for word in data.vocabulary) == 20
    for split in SPLITS:
        rows = [ROWS[i] for i in sorted(parts[split])]
        assert data.corpora[split].chars.tolist() == [len(row) for row in rows]
        if options:
            classes = next(iter(data.labels[split].values()))
            assert classes.tolist() == [int(CLASSES[i]) for i in sorted(parts[split])]


def test_splits_are_those_of_arrays_and_hold_every_row_once() -> None:
    parts = draw_rows(41, [0.8, 0.1, 0.1], 3)
    order = np.random.default_rng(3).permutation(41)
    np.testing.assert_array_equal(np.concatenate([*parts.values()]), order)
    assert [len(part) for part in parts.values()] == [33, 4, 4]


def test_division_depends_on_seed_and_shares_and_not_on_blocks_or_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, options = write_file(tmp_path, "tab")
    first = read(path, **options)
    again = read(path, **options)  # from the cache
    assert sentences(again, "valid") == sentences(first, "valid")
    other = read(path, **options, split_seed=1)
    shares = read(path, **options, split=[0.6, 0.2, 0.2])
    contents = {data.content for data in (first, again, other, shares)}
    assert len(contents) == 3 and sentences(other, "train") != sentences(first, "train")
    for size in (1, 7, 30):
        # blocks of one line and less, and the order of rows in a temporary file
        monkeypatch.setattr("uncollapse.data.tokenise.tokenise.__defaults__", (2, size))
        monkeypatch.setattr(batches, "LARGE_EPOCH", 8)
        small = read(path, **options, cache=str(tmp_path / str(size)))
        assert small.content == first.content
        for split in SPLITS:
            assert sentences(small, split) == sentences(first, split)
            assert (small.labels[split]["label"] == first.labels[split]["label"]).all()


def test_same_rows_under_any_hash_seed(tmp_path: Path) -> None:
    path, _ = write_file(tmp_path, "txt")
    code = (
        "from pathlib import Path; from uncollapse.data.file_lines import Lines; "
        "from uncollapse.data.text_files import divide_rows; "
        f"parts = divide_rows(Lines(Path({str(path)!r})), [0.5, 0.25, 0.25], 0); "
        "print([parts[s].chosen.tolist() for s in parts])"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1 and "[" in found.pop()


@pytest.mark.parametrize(("text", "count"), [("a\nb\n", 2), ("a\n\nb", 3), ("\n", 1)])
def test_lines_are_counted(text: str, count: int, tmp_path: Path) -> None:
    (tmp_path / "x").write_text(text)
    assert Lines(tmp_path / "x").count_rows() == count


# ---------------------------------------------------------------- what a run records


def test_run_records_file_and_split_and_encodes_sentences(tmp_path: Path) -> None:
    path, options = write_file(tmp_path, "csv")
    words = [f"data.{key}={value}" for key, value in options.items()]
    words += ["data=text", f"data.file={path}", "data.split=[0.5,0.25,0.25]"]
    words += [f"data.cache={tmp_path / 'cache'}", "trainer.epochs=1"]
    small = ["model.embedding=4", "model.hidden=6", "model.latent=2"]
    cfg = composed("head=plain", f"results={tmp_path}", *small, *words)
    assert run(cfg, "plain", [*small, *words]) == "done"
    folder = folder_of(tmp_path, "plain")
    facts = json.loads((folder / "data.json").read_text())
    assert facts["divided"] == {"file": "mine.csv", "split": SHARES, "split_seed": 0}
    assert [facts[split] for split in SPLITS] == [20, 10, 10] and facts["content"]
    found = uncollapse.load(folder)
    expected = found.encode(split="train").mean
    rows = [ROWS[i] for i in sorted(draw_rows(40, SHARES, 0)["train"])]
    np.testing.assert_array_equal(found.encode(rows).mean, expected)
    path.write_text(path.read_text().replace("a1", "a2"))
    with pytest.raises(InputError, match="its data have changed since training"):
        uncollapse.load(folder)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"train": "x.txt"}, r"data\.file=.*: it is divided .*; leave it or data\.train out"),
        ({"dir": "x", "test": "y"}, r"leave it or data\.dir, data\.test out"),
        ({"split": [0.5, 0.4, 0.2]}, r"data\.split=\[0.5, 0.4, 0.2\]: the shares must add up to 1"),
        ({"split": [0.5, 0.5]}, r"data\.split=\[0.5, 0.5\]: allowed are three shares, such as"),
        ({"split": [1.0, 0.5, -0.5]}, r"data\.split=1: out of range"),
        ({"split": None}, r"data\.split=None: allowed are three shares"),
        ({"split": [0.98, 0.01, 0.01]}, "40 examples leave a split empty"),
        ({"split_seed": -1}, r"data\.split_seed=-1: "),
        ({"column": "review"}, r"data\.column=review: plain text has no columns"),
    ],
)
def test_bad_division_is_refused(options: dict, reason: str, tmp_path: Path) -> None:
    path, _ = write_file(tmp_path, "txt")
    with pytest.raises(InputError, match=reason) as error:
        read(path, **options)
    assert "\n" not in str(error.value)
    cached = tmp_path / "cache"
    assert not cached.exists() or not any(p.is_dir() for p in cached.iterdir())


def test_bad_file_is_refused(tmp_path: Path) -> None:
    def refused(reason: str, name: str, content: str | None, **options: object) -> None:
        if content is not None:
            (tmp_path / name).write_text(content)
        with pytest.raises(InputError, match=reason):
            read(tmp_path / name, **options)

    refused("data.file=.*: no such file", "none.txt", None)
    (tmp_path / "folder").mkdir()
    refused("data.file=.*: is a folder, not a file", "folder", None)
    refused("empty.txt: the file is empty", "empty.txt", "")
    # lines enough, but none of them says anything
    refused("no sentence is left in the|the file is empty", "blank.txt", "\n" * 40)
    # a fault is named by its line in the file, whichever split it falls into
    faulty = "".join(f"{i % 3}\tword{i}\n" for i in range(30)) + "no label here\n"
    refused(r"faulty.txt, line 31: no TAB between", "faulty.txt", faulty, labels=True)
    refused(r"zero.txt, line 31: binary data", "zero.txt", "a b\n" * 30 + "\0\n")
    header = "label\ttext\n" + "".join(f"{i % 3}\tword {i}\n" for i in range(30))
    refused(r"header.txt, line 1: a header", "header.txt", header, labels=True, format="text")


def test_divided_file_needs_no_other_option(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"or data.file=FILE to be divided\); missing: data.train"):
        TextConfig(cache=str(tmp_path)).load()
