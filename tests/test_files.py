"""Text from the user's files: reading, caching, and one-sentence errors."""

import gzip
import json
import lzma
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schemas import TextConfig

from uncollapse.data import cache, levels, survey, tokenise
from uncollapse.data.corpus import SPECIALS, UNK
from uncollapse.data.text import SPLITS
from uncollapse.data.words import (
    add_counts,
    build_vocabulary,
    count_words,
    encode_words,
    find_kept,
    select_sentences,
    split_words,
)
from uncollapse.errors import InputError

properties = settings(max_examples=100, deadline=None, derandomize=True)
TEXT = {
    "train": "the cat sat\nthe dog sat\nthe cat ran\n",
    "valid": "the bird sat\n",
    "test": "a dog ran\nthe cat\n",
}
OPENERS = {"": open, ".gz": gzip.open, ".xz": lzma.open}


@pytest.fixture(autouse=True)
def block_hub(monkeypatch, tmp_path):
    """No test may reach for the network or for the user's own cache."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def write_splits(folder: Path, text=TEXT, ending="", **changed) -> Path:
    """Write train/valid/test.txt[.gz|.xz].

    `changed` replaces the content (text or bytes) of some splits.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for split, content in {**text, **changed}.items():
        with OPENERS[ending](folder / f"{split}.txt{ending}", "wb") as file:
            file.write(content if isinstance(content, bytes) else content.encode())
    return folder


def read(folder: Path, **options):
    return TextConfig(dir=str(folder), cache=str(folder.parent / "cache"), **options).load()


def decode_split(data, split) -> list[str]:
    """The sentences of a split, from ids back to words."""
    corpus = data.corpora[split]
    words = [data.vocabulary[i] for i in corpus.tokens]
    return [" ".join(words[a:b]) for a, b in pairwise(corpus.offsets)]


def list_cache_entries(cache: Path) -> list[Path]:
    """The entries of a cache folder except its lock files."""
    return [path for path in cache.iterdir() if path.suffix != ".lock"]


def get_refusal(folder: Path, **options) -> str:
    """The message of the InputError, which is one sentence."""
    with pytest.raises(InputError) as caught:
        read(folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------- reading


@pytest.mark.parametrize("ending", ["", ".gz", ".xz"])
def test_plain_and_compressed_files_give_same_sentences(tmp_path, ending):
    data = read(write_splits(tmp_path / "text", ending=ending))
    # counts in the training split: the 3; cat 2, sat 2; dog 1, ran 1
    assert data.vocabulary == (*SPECIALS, "the", "cat", "sat", "dog", "ran")
    assert decode_split(data, "train") == ["the cat sat", "the dog sat", "the cat ran"]
    assert decode_split(data, "valid") == ["the <unk> sat"] and decode_split(data, "test") == [
        "<unk> dog ran",
        "the cat",
    ]
    assert data.facts()["words_per_sentence"] == {"train": 3.0, "valid": 3.0, "test": 2.5}
    assert data.entropy is None and not data.log_prob


def test_files_can_be_given_one_by_one(tmp_path):
    write_splits(tmp_path / "text")
    write_splits(tmp_path / "text", ending=".gz")
    named = {"train": "train.txt.gz", "valid": "valid.txt", "test": "test.txt"}
    data = TextConfig(
        **{k: str(tmp_path / "text" / v) for k, v in named.items()}, cache=str(tmp_path / "c")
    ).load()
    assert decode_split(data, "train")[1] == "the dog sat"


@pytest.mark.parametrize("name", ["validation.txt", "dev.txt.xz"])
def test_common_validation_file_names_are_accepted(tmp_path, name):
    folder = write_splits(tmp_path / "text")
    content = (folder / "valid.txt").read_bytes()
    (folder / "valid.txt").unlink()
    (folder / name).write_bytes(lzma.compress(content) if name.endswith("xz") else content)
    assert decode_split(read(folder), "valid") == ["the <unk> sat"]


@pytest.mark.parametrize(
    "name", ["a[b]c", "a*c", "what?", "a::b", ".hidden", "with space", "grüße"]
)
def test_folder_name_is_not_a_glob_pattern(tmp_path, name):
    write_splits(
        tmp_path / "aXc", train="other words entirely\n"
    )  # what the name would match, were it a pattern
    assert decode_split(read(write_splits(tmp_path / name)), "train")[0] == "the cat sat"


@pytest.mark.parametrize(
    "train",
    [
        "the  cat\tsat \r\n the dog sat\r\n",
        "\ufeffthe cat sat\nthe dog sat",
        "the\u00a0cat sat\nthe dog\u2028sat\n",
    ],
)
def test_line_ends_whitespace_and_bom_are_not_words(tmp_path, train):
    assert decode_split(read(write_splits(tmp_path / "text", train=train)), "train") == [
        "the cat sat",
        "the dog sat",
    ]


def test_label_is_text_before_first_tab(tmp_path):
    text = dict.fromkeys(SPLITS, "0\tgood\tfood here\n1 star\tbad food\n")
    data = read(write_splits(tmp_path / "text", text), labels=True)
    assert decode_split(data, "train") == ["good food here", "bad food"]


def test_empty_and_overlong_sentences_are_skipped_and_counted(tmp_path):
    folder = write_splits(
        tmp_path / "text", dict.fromkeys(SPLITS, "a b c\n"), train="\na b c d\n \na b c\n\na\n"
    )
    data = read(folder, max_length=3)
    assert decode_split(data, "train") == ["a b c", "a"]
    assert data.skipped["train"] == {"empty": 3, "too_long": 1} and data.skipped["valid"] == {
        "empty": 0,
        "too_long": 0,
    }
    assert read(folder, max_length=4).skipped["train"] == {"empty": 3, "too_long": 0}


@properties
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=12))
def test_words_match_str_split(sentences):
    words, offsets = split_words(pa.array(sentences, pa.string()))
    assert words.to_pylist() == [word for sentence in sentences for word in sentence.split()]
    assert np.diff(offsets).tolist() == [len(sentence.split()) for sentence in sentences]


def test_missing_values_are_empty_sentences():
    words, offsets = split_words(pa.chunked_array([["a b", None], ["c"]]))
    assert words.to_pylist() == ["a", "b", "c"] and offsets.tolist() == [0, 2, 2, 3]


# ---------------------------------------------------------------- vocabulary


WORDS = pa.array(
    ["b", "b", "b", "<unk>", "<unk>", "<unk>", "<unk>", "d", "d", "a", "a", "c", "é"],
    pa.large_string(),
)


@pytest.mark.parametrize(
    ("limit", "min_count", "kept"),
    [
        (None, 1, "b a d c é"),
        (None, 2, "b a d"),
        (None, 3, "b"),
        (6, 1, "b a"),
        (5, 2, "b"),
        (99, 1, "b a d c é"),
    ],
)
def test_vocabulary_by_hand(limit, min_count, kept):
    assert build_vocabulary(count_words(WORDS), limit, min_count) == (*SPECIALS, *kept.split())


def test_out_of_vocabulary_words_and_literal_unk_become_unk():
    words = pa.array(["b", "<unk>", "zebra", "a"], pa.large_string())
    assert encode_words(words, (*SPECIALS, "a", "b")).tolist() == [5, UNK, UNK, 4]


@properties
@given(
    st.lists(st.sampled_from("abcdefg"), min_size=1, max_size=60),
    st.integers(1, 4),
    st.integers(5, 9),
)
def test_vocabulary_is_sorted_by_frequency(words, min_count, limit):
    count = Counter(words)
    expected = sorted((w for w in count if count[w] >= min_count), key=lambda w: (-count[w], w))[
        : limit - 4
    ]
    column = pa.array(words, pa.large_string())
    if not expected:
        with pytest.raises(InputError):
            build_vocabulary(count_words(column), limit, min_count)
        return
    half = len(column) // 2
    counts = add_counts([count_words(column[:half]), count_words(column[half:])])
    vocabulary = build_vocabulary(counts, limit, min_count)
    assert list(vocabulary[4:]) == expected
    assert [vocabulary[i] for i in encode_words(column, vocabulary)] == [
        w if w in expected else "<unk>" for w in words
    ]


@properties
@given(st.lists(st.integers(0, 6), min_size=1, max_size=20), st.integers(1, 6))
def test_selected_sentences_are_unchanged(lengths, max_length):
    offsets = np.cumsum([0, *lengths])
    tokens = np.arange(offsets[-1])
    kept, counts = find_kept(offsets, max_length)
    assert counts == {"empty": lengths.count(0), "too_long": sum(n > max_length for n in lengths)}
    corpus = select_sentences(tokens, offsets, kept)
    expected = [tokens[a:b].tolist() for a, b in pairwise(offsets) if 0 < b - a <= max_length]
    assert [corpus.tokens[a:b].tolist() for a, b in pairwise(corpus.offsets)] == expected


# ---------------------------------------------------------------- cache


@pytest.fixture
def tokenised_files(monkeypatch):
    """Counts how often the files themselves are tokenised."""
    calls = []
    original = cache.tokenise
    monkeypatch.setattr(cache, "tokenise", lambda *a, **k: calls.append(a) or original(*a, **k))
    return calls


def test_second_load_uses_cache_without_datasets_or_arrow(tmp_path, tokenised_files, monkeypatch):
    folder = write_splits(tmp_path / "text")
    monkeypatch.setitem(sys.modules, "datasets", None)  # importing it is an error from here on
    first = read(folder)
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "pyarrow", None)
        second = read(folder)
    assert len(tokenised_files) == 1
    assert second.vocabulary == first.vocabulary and second.skipped == first.skipped
    for split in SPLITS:
        assert np.array_equal(second.corpora[split].tokens, first.corpora[split].tokens)
        assert np.array_equal(second.corpora[split].offsets, first.corpora[split].offsets)


def test_cache_key_is_content_and_options_not_path(tmp_path, tokenised_files):
    folder = write_splits(tmp_path / "text")
    read(folder)
    read(write_splits(tmp_path / "elsewhere"))
    read(folder, batch_size=7, batching="by_length")
    assert len(tokenised_files) == 1
    for n, options in enumerate([{"min_count": 2}, {"vocab_size": 6}, {"max_length": 3}], 2):
        read(folder, **options)
        assert len(tokenised_files) == n
    write_splits(folder, valid="the bird sat\n\n")
    assert read(folder).skipped["valid"]["empty"] == 1
    assert len(tokenised_files) == 5


def test_labels_make_another_cache_entry(tmp_path):
    folder = write_splits(tmp_path / "text", dict.fromkeys(SPLITS, "x\tone two\n"))
    assert decode_split(read(folder, labels=False), "train") == ["x one two"]
    assert decode_split(read(folder, labels=True), "train") == ["one two"]


def test_swapped_splits_make_another_cache_entry(tmp_path):
    write_splits(tmp_path / "text", valid=TEXT["test"], test=TEXT["valid"])
    assert len(decode_split(read(tmp_path / "text"), "valid")) == 2
    assert len(decode_split(read(write_splits(tmp_path / "text")), "valid")) == 1


def test_failed_store_leaves_no_entry_or_temporary_files(tmp_path, monkeypatch):
    folder = write_splits(tmp_path / "text")

    def full(meta):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(cache, "encode_meta", full)
        assert "cannot write there (No space left on device)" in get_refusal(folder)
    assert list_cache_entries(tmp_path / "cache") == []
    assert decode_split(read(folder), "train")[0] == "the cat sat"


def test_damaged_cache_error_names_folder(tmp_path):
    folder = write_splits(tmp_path / "text")
    read(folder)
    (entry,) = list_cache_entries(tmp_path / "cache")
    (entry / "train-tokens.npy").write_bytes((entry / "train-tokens.npy").read_bytes()[:-8])
    assert str(entry) in get_refusal(folder) and "damaged" in get_refusal(folder)


def test_cache_that_cannot_be_created_is_named(tmp_path):
    folder = write_splits(tmp_path / "text")
    (tmp_path / "cache").write_text("in the way")
    assert get_refusal(folder).startswith(f"data.cache={tmp_path / 'cache'}: cannot write there")


# ---------------------------------------------------------------- bad input


def test_missing_files_folders_and_splits_are_named(tmp_path):
    folder = write_splits(tmp_path / "text")
    assert get_refusal(tmp_path / "no") == f"data.dir={tmp_path / 'no'}: no such folder"
    assert get_refusal(Path("no")) == f"data.dir=no: no such folder in {Path.cwd()}"
    command = f"`uncollapse prepare snli --out {tmp_path / 'no'}` makes it or says how to get it"
    assert (
        get_refusal(tmp_path / "no", name="snli")
        == f"data.dir={tmp_path / 'no'}: no such folder; {command}"
    )
    with pytest.raises(
        InputError,
        match=r"^data=captions is not a hub set: give data\.dir=FOLDER .* --out FOLDER` makes them",
    ):
        TextConfig(name="captions").load()
    (folder / "test.txt").unlink()
    assert get_refusal(folder) == (
        f"data.dir={folder}: no file for the test split; looked for test.txt, or with "
        f".jsonl, .json, .ndjson, .csv, .tsv, .tab, "
        ".parquet, .pq, .arrow, .feather in place of .txt, plain or .gz, .xz, .bz2, .zst"
    )
    with pytest.raises(InputError, match=r"missing: data\.valid=FILE data\.test=FILE$"):
        TextConfig(train=str(folder / "train.txt"), test="").load()
    with pytest.raises(
        InputError, match=r"missing: data\.train=FILE data\.valid=FILE data\.test=FILE$"
    ):
        TextConfig(train="", valid="", test="").load()
    named = {split: str(folder / "train.txt") for split in SPLITS}
    with pytest.raises(InputError) as caught:
        TextConfig(**{**named, "valid": str(folder)}).load()
    assert str(caught.value) == f"data.valid={folder}: is a folder, not a file"
    with pytest.raises(InputError) as caught:
        TextConfig(**{**named, "test": "/no/such.txt"}).load()
    assert str(caught.value) == "data.test=/no/such.txt: no such file"


def test_unreadable_file_is_named(tmp_path, monkeypatch):
    folder = write_splits(tmp_path / "text")

    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    assert get_refusal(folder) == f"{folder}/train.txt: cannot be read (Permission denied)"


@pytest.mark.parametrize("content", [b"", b"\n\n", b"  \n\t\n"])
@pytest.mark.parametrize("ending", ["", ".gz", ".xz"])
def test_empty_file_is_named(tmp_path, content, ending):
    folder = write_splits(tmp_path / "text", ending=ending, valid=content)
    assert get_refusal(folder) == f"{folder}/valid.txt{ending}: the file is empty"


def test_binary_data_is_reported_with_its_line(tmp_path):
    folder = write_splits(tmp_path / "text", train=b"one\ntwo\nth\0ree\n")
    assert get_refusal(folder) == f"{folder}/train.txt, line 3: binary data (a zero byte), not text"


@pytest.mark.parametrize("block", [1, 2, 3, 5, 1 << 24])
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_wrong_encoding_is_reported_with_its_line_for_any_block_size(
    tmp_path, monkeypatch, block, ending
):
    monkeypatch.setattr(tokenise.tokenise, "__defaults__", (None, block))
    folder = write_splits(
        tmp_path / "text", ending=ending, train="één\ntwee €\n".encode() + b"caf\xe9 x\nmore\n"
    )
    assert (
        get_refusal(folder)
        == f"{folder}/train.txt{ending}, line 3: not UTF-8 (byte 0xe9); convert the file first"
    )


@pytest.mark.parametrize("block", [1, 4, 1 << 24])
def test_truncated_final_character_is_reported(tmp_path, monkeypatch, block):
    monkeypatch.setattr(tokenise.tokenise, "__defaults__", (None, block))
    folder = write_splits(tmp_path / "text", test=b"a\nb \xe2\x82")
    assert (
        get_refusal(folder)
        == f"{folder}/test.txt, line 2: not UTF-8 (byte 0xe2); convert the file first"
    )


@pytest.mark.parametrize("block", [1, 2, 3, 1 << 24])
def test_valid_text_is_accepted_for_any_block_size(tmp_path, monkeypatch, block):
    monkeypatch.setattr(tokenise.tokenise, "__defaults__", (None, block))
    folder = write_splits(tmp_path / "text", dict.fromkeys(SPLITS, "één €\n😀 twee\n"))
    assert decode_split(read(folder), "train") == ["één €", "😀 twee"]


@pytest.mark.parametrize("ending", [".gz", ".xz"])
@pytest.mark.parametrize("damage", ["truncated", "checksum", "stream"])
def test_damaged_archive_is_named(tmp_path, ending, damage):
    folder = write_splits(tmp_path / "text", ending=ending)
    path = folder / f"train.txt{ending}"
    complete = {".gz": gzip, ".xz": lzma}[ending].compress(
        b"some words to fill a block with\n" * 50
    )
    checksum = complete[:-6] + bytes([complete[-6] ^ 255]) + complete[-5:]
    stream = complete[:10] + b"\xff" + complete[11:]
    wrong = {"truncated": complete[:-12], "checksum": checksum, "stream": stream}
    path.write_bytes(wrong[damage])
    assert get_refusal(folder).startswith(f"{path}: damaged or truncated {ending} file")


@pytest.mark.parametrize("options", [{"vocab_size": 4}, {"min_count": 9}])
def test_empty_vocabulary_is_refused(tmp_path, options):
    message = get_refusal(write_splits(tmp_path / "text"), **options)
    for key, value in options.items():
        assert f"data.{key}={value}" in message
    assert "no word of the training split is left but <unk>" in message


def test_training_split_of_only_unk_is_refused(tmp_path):
    folder = write_splits(tmp_path / "text", train="<unk> <unk>\n")
    assert "no word of the training split is left but <unk>" in get_refusal(folder)


def test_split_without_remaining_sentences_is_named(tmp_path):
    folder = write_splits(
        tmp_path / "text", valid="one two three four\n\none two three four five\n"
    )
    assert get_refusal(folder, max_length=3) == (
        f"{folder}/valid.txt: no sentence is left in the valid split "
        f"(3 lines, skipped: {{'empty': 1, 'too_long': 2}})"
    )


def test_line_without_label_is_reported(tmp_path):
    folder = write_splits(
        tmp_path / "text", dict.fromkeys(SPLITS, "1\ta b\n0\tc\n"), valid="1\ta\n0\tb\nno label\n"
    )
    assert get_refusal(folder, labels=True) == (
        f"{folder}/valid.txt, line 3: no TAB between label and text (data.labels=true)"
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("batch_size", 0),
        ("batch_size", True),
        ("batch_size", 2.5),
        ("batching", "sorted"),
        ("min_count", 0),
        ("vocab_size", 0),
        ("max_length", -1),
        ("max_length", "ten"),
    ],
)
def test_bad_options_are_refused(tmp_path, option, value):
    assert get_refusal(write_splits(tmp_path / "text"), **{option: value}).startswith(
        f"data.{option}={value}: allowed "
    )


# ---------------------------------------------------------------- labels


def labelled(folder: Path, **changed) -> Path:
    return write_splits(
        folder,
        {
            "train": "b\tone two\na\tthree\nb\tone\n",
            "valid": "a\tone\n",
            "test": "b\tfour\na\tone\n",
        },
        **changed,
    )


def test_labels_are_stored_as_class_numbers(tmp_path):
    data = read(labelled(tmp_path / "text"), labels=True, label="topic")
    assert data.classes == {"topic": ("a", "b")} and data.facts()["classes"] == {
        "topic": ["a", "b"]
    }
    found = {split: data.labels[split]["topic"].tolist() for split in SPLITS}
    assert found == {"train": [1, 0, 1], "valid": [0], "test": [1, 0]}
    again = read(tmp_path / "text", labels=True, label="topic")
    assert again.labels["test"]["topic"].tolist() == [1, 0] and again.classes == data.classes


def test_unlabelled_data_has_no_labels(tmp_path):
    data = read(labelled(tmp_path / "text"), labels=False)
    assert not data.labels and not data.classes and "classes" not in data.facts()


def test_numeric_classes_are_sorted_numerically(tmp_path):
    folder = write_splits(tmp_path / "text", dict.fromkeys(SPLITS, "10\ta\n9\tb\n10\tc\n"))
    data = read(folder, labels=True)
    assert data.classes == {"label": ("9", "10")} and data.labels["train"]["label"].tolist() == [
        1,
        0,
        1,
    ]


def test_skipped_sentence_drops_its_label(tmp_path):
    folder = labelled(tmp_path / "text", train="b\tone two three\na\tthree\nb\t\nb\tone\n")
    data = read(folder, labels=True, max_length=2)
    assert decode_split(data, "train") == ["three", "one"] and data.labels["train"][
        "label"
    ].tolist() == [0, 1]


def test_size_limit_keeps_labels_and_order(tmp_path):
    numbers = [str(n) for n in range(50)]
    folder = write_splits(
        tmp_path / "text",
        dict.fromkeys(SPLITS, "".join(f"{int(n) % 5}\t{n} {n}\n" for n in numbers)),
    )
    complete, part, same = (read(folder, labels=True, train_size=size) for size in (None, 20, 20))
    kept = [int(sentence.split()[0]) for sentence in decode_split(part, "train")]
    assert (
        len(kept) == 20
        and kept == sorted(set(kept))
        and kept != list(range(20))
        and kept == [int(sentence.split()[0]) for sentence in decode_split(same, "train")]
    )
    assert part.labels["train"]["label"].tolist() == [n % 5 for n in kept]
    assert part.vocabulary == complete.vocabulary and decode_split(part, "test") == decode_split(
        complete, "test"
    )
    assert decode_split(
        read(folder, labels=True, train_size=20, split_seed=1), "train"
    ) != decode_split(part, "train")
    assert decode_split(read(folder, labels=True, train_size=51), "train") == decode_split(
        complete, "train"
    )


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        ("a\tone\nno label\n", 2, "no TAB between label and text (data.labels=true)"),
        ("a\tone\n\na\ttwo\n", 2, "no TAB between label and text (data.labels=true)"),
        (
            "a\tone\na\ttwo\n \tthree\n",
            3,
            "nothing before the TAB, where the label belongs (data.labels=true)",
        ),
        ("a\tone\nc\ttwo\n", 2, "label c, which no line of the training split has; those are a, b"),
    ],
)
@pytest.mark.parametrize("block", [1, 1 << 22])
def test_missing_label_is_reported_with_its_line(
    tmp_path, monkeypatch, content, line, reason, block
):
    monkeypatch.setattr(tokenise.tokenise, "__defaults__", (None, block))
    folder = labelled(tmp_path / "text", valid=content)
    assert get_refusal(folder, labels=True) == f"{folder}/valid.txt, line {line}: {reason}"
    assert list_cache_entries(tmp_path / "cache") == []


def test_unset_labels_follow_manifest(tmp_path):
    folder = labelled(tmp_path / "text")
    assert "every line has a TAB" in get_refusal(folder, labels=None)
    for says in (True, False):
        (folder / "manifest.json").write_text(json.dumps({"labels": says}))
        assert bool(read(folder, labels=None).labels) is says
        assert read(folder, labels=True).labels


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "5",
        "null",
        "{}",
        "[" * 100_000,
        "\xff",
        *(f'{{"labels": {x}}}' for x in ["5", "null", "[]", "{}"]),
    ],
)
def test_damaged_manifest_gives_one_sentence(tmp_path, content):
    folder = labelled(tmp_path / "text")
    (folder / "manifest.json").write_bytes(content.encode("latin-1"))
    assert get_refusal(folder, labels=None).startswith(
        f"{folder}/manifest.json: cannot be read; set data.labels=true or "
    )
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").mkdir()
    assert get_refusal(folder, labels=None).startswith(
        f"{folder}/manifest.json: cannot be read; set data.labels=true or "
    )


# ---------------------------------------------------------------- blocks and workers


def stored(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_block_size_and_workers_do_not_change_result(tmp_path, monkeypatch, ending):
    rng = np.random.default_rng(0)
    lines = [
        " ".join(f"w{rank}" for rank in rng.zipf(1.5, rng.integers(0, 9)) if rank < 500)
        for _ in range(700)
    ]
    lines = [f"{'ab'[i % 2]}\t{line}" for i, line in enumerate(lines)]
    text = {
        "train": "\n".join(lines),
        "valid": "\n".join(lines[:60]),
        "test": "\n".join(lines[:50]) + "\n",
    }
    folder = write_splits(tmp_path / "text", text, ending)
    monkeypatch.setattr(survey.Tally, "add", every_time(survey.Tally.add))
    found = []
    for workers, block in [(1, 1 << 22), (1, 64), (2, 1000), (5, 333)]:
        monkeypatch.setattr(tokenise.tokenise, "__defaults__", (workers, block))
        cache = tmp_path / f"cache-{workers}-{block}"
        data = TextConfig(
            dir=str(folder), labels=True, max_length=6, vocab_size=300, cache=str(cache)
        ).load()
        found.append(stored(list_cache_entries(cache)[0]))
    assert all(other == found[0] for other in found[1:])
    assert (
        decode_split(data, "train")[:3]
        == [
            " ".join(word if word in data.vocabulary else "<unk>" for word in line[2:].split())
            for line in lines
            if 0 < len(line[2:].split()) <= 6
        ][:3]
    )


def every_time(add):
    """Tally.add that sums after every block, as it otherwise does only for large corpora."""

    def adding(self, table):
        add(self, table)
        self.total()

    return adding


def test_token_width_depends_on_vocabulary_size(tmp_path):
    folder = write_splits(tmp_path / "text")
    assert read(folder).corpora["train"].tokens.dtype == np.uint16
    write_splits(
        folder, dict.fromkeys(SPLITS, "w0 w1"), train=" ".join(f"w{i}" for i in range(2**16 - 3))
    )
    large = read(folder)
    assert large.corpora["train"].tokens.dtype == np.int32 and large.corpora["train"].tokens[
        -1
    ] >= len(SPECIALS)
    assert decode_split(large, "train")[0].split()[-1] == f"w{2**16 - 4}"


def test_arrays_stay_on_disk(tmp_path):
    data = read(labelled(tmp_path / "text"), labels=True)
    for array in (
        data.corpora["train"].tokens,
        data.corpora["train"].offsets,
        data.labels["train"]["label"],
    ):
        assert (
            isinstance(array.base, np.memmap)
            and not array.flags.owndata
            and not array.flags.writeable
        )


def test_file_changed_while_reading_is_refused(tmp_path, monkeypatch):
    folder = write_splits(tmp_path / "text")

    def and_longer(*args):
        write_splits(folder, train=TEXT["train"] + "one more\n")
        return build_vocabulary(*args)

    monkeypatch.setattr(levels, "build_vocabulary", and_longer)
    assert (
        get_refusal(folder)
        == "the train split changed while it was being read; give the same command again"
    )
    assert list_cache_entries(tmp_path / "cache") == []


def test_leftovers_of_killed_process_are_harmless(tmp_path):
    folder = write_splits(tmp_path / "text")
    read(folder)
    (entry,) = list_cache_entries(tmp_path / "cache")
    left = entry.with_name(f".new-{entry.name}")
    entry.rename(left)
    assert decode_split(read(folder), "train")[0] == "the cat sat"
    assert list_cache_entries(tmp_path / "cache") == [entry]


def test_one_line_is_printed_without_terminal(tmp_path, capsys):
    folder = write_splits(tmp_path / "text")
    read(folder)
    output = capsys.readouterr()
    assert (
        output.err == ""
        and output.out.startswith("tokenised 6 sentences of 17 words in ")
        and output.out.count("\n") == 1
    )
    read(folder)
    assert capsys.readouterr().out == ""


def test_rare_word_placeholders_count_as_unknown(tmp_path):
    data = read(write_splits(tmp_path / "text", dict.fromkeys(SPLITS, "a _UNK b\n<unk> a\n")))
    assert data.vocabulary == (*SPECIALS, "a", "b")
    assert decode_split(data, "train") == ["a <unk> b", "<unk> a"]


# ---------------------------------------------------------------- a folder in place of the hub


def hub(
    folder: Path, column="sentence", parts=("train", "validation", "test"), values=("a b", "c")
) -> Path:
    folder.mkdir()
    table = pa.table({column: pa.array(values), "other": list(range(len(values)))})
    for part in parts:
        pq.write_table(table, folder / f"{part}.parquet")
    return folder


def from_hub(folder, tmp_path, **options):
    return TextConfig(hub=str(folder), cache=str(tmp_path / "cache"), **options).load()


def test_parquet_data_set_reads_given_column(tmp_path):
    data = from_hub(hub(tmp_path / "set"), tmp_path, column="sentence")
    assert data.vocabulary == (*SPECIALS, "a", "b", "c")
    assert [decode_split(data, split) for split in SPLITS] == [["a b", "c"]] * 3


def test_label_column_can_be_renamed_for_probe(tmp_path):
    folder = hub(tmp_path / "set")
    for options in ({"label_column": "other", "label": "topic"}, {"label": "other"}):
        data = from_hub(folder, tmp_path, column="sentence", **options)
        assert data.classes == {options["label"]: ("0", "1")}
    assert hub_refusal(folder, tmp_path, column="sentence", label_column="x").startswith(
        "data.label_column=x: "
    )


def test_missing_values_of_data_set_count_as_empty(tmp_path):
    data = from_hub(hub(tmp_path / "set", values=["a b", None, "c"]), tmp_path, column="sentence")
    assert decode_split(data, "train") == ["a b", "c"] and data.skipped["train"]["empty"] == 1


def hub_refusal(folder, tmp_path, **options) -> str:
    with pytest.raises(InputError) as caught:
        from_hub(folder, tmp_path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_wrong_column_error_lists_available_columns(tmp_path):
    folder = hub(tmp_path / "set")
    message = hub_refusal(folder, tmp_path)
    assert (
        message
        == f"data.column=text: {folder} has the columns sentence, other; set data.column=sentence"
    )
    message = hub_refusal(folder, tmp_path, column="sentence+other")
    assert message == (
        f"data.column=other: {folder} has int64 there, which is not text; set data.column=sentence"
    )
    message = hub_refusal(folder, tmp_path, column="sentence", label="topic")
    assert (
        message
        == f"data.label=topic: {folder} has the columns sentence, other; set data.label=other"
    )
    lists = hub(tmp_path / "lists", values=[["a"], ["b"]])
    assert hub_refusal(lists, tmp_path, column="sentence").startswith(
        f"data.column=sentence: {lists} has list<"
    )


def test_missing_split_error_lists_available_splits(tmp_path):
    folder = hub(tmp_path / "set", parts=("train", "test"))
    message = hub_refusal(folder, tmp_path, column="sentence")
    assert message == (
        f"{folder}: no valid split; it has train, test; "
        f"data.valid_size=N takes N rows of train for it"
    )
    folder = hub(tmp_path / "other", parts=("train", "validation"))
    assert (
        hub_refusal(folder, tmp_path, column="sentence")
        == f"{folder}: no test split; it has train, validation"
    )


def test_unloadable_files_give_one_sentence(tmp_path):
    (tmp_path / "script").mkdir()
    (tmp_path / "script" / "script.py").write_text("")
    damaged = hub(tmp_path / "damaged")
    (damaged / "test.parquet").write_bytes(b"PAR1 and nothing more")
    message = hub_refusal("nobody/nothing", tmp_path, column="sentence", revision="v1", name="snli")
    assert message.startswith("data.hub=nobody/nothing: could not be loaded from the hub (")
    assert "`uncollapse prepare snli --out FOLDER`" in message and message.endswith(
        "data.dir=FOLDER"
    )
    for source in (tmp_path / "script", damaged):
        message = hub_refusal(source, tmp_path, column="sentence")
        assert message.startswith(f"data.hub={source}: this folder could not be loaded (")


def test_broken_connection_gives_one_sentence(tmp_path, monkeypatch):
    import datasets

    def broken(*_, **__):
        raise ConnectionError("connection reset\nby peer")

    monkeypatch.setattr(datasets, "load_dataset", broken)
    assert "(connection reset)" in hub_refusal("some/set", tmp_path, revision="v1")


def test_hub_data_set_without_revision_is_refused(tmp_path):
    assert hub_refusal("some/set", tmp_path).startswith(
        "data.revision=null: some/set may change on the hub"
    )


def test_cache_key_is_content_of_local_hub_folder(tmp_path):
    assert "a" in from_hub(hub(tmp_path / "set"), tmp_path, column="sentence").vocabulary
    (tmp_path / "set").rename(tmp_path / "old")
    assert (
        "new"
        in from_hub(
            hub(tmp_path / "set", values=("new", "words")), tmp_path, column="sentence"
        ).vocabulary
    )


def test_cache_folder_without_description_is_named(tmp_path):
    folder = write_splits(tmp_path / "text")
    read(folder)
    (entry,) = list_cache_entries(tmp_path / "cache")
    (entry / "meta.json").unlink()
    assert get_refusal(folder) == (
        f"{entry}: this cache folder is damaged (no meta.json); remove it "
        "and give the same command again"
    )
