"""The text data sets of conf/data on small Parquet files with the hub's schemas."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from conftest import ROOT, composed
from schemas import TextConfig
from test_files import block_hub, decode_split, list_cache_entries

from uncollapse.config.sections import load_section
from uncollapse.data import hub, tokenise
from uncollapse.data.table_rows import TableRows
from uncollapse.data.text import SPLITS
from uncollapse.data.words import separate_tokens
from uncollapse.errors import InputError

assert block_hub  # no test here may reach for the network either

TOPICS = [
    "Society & Culture",
    "Science & Mathematics",
    "Health",
    "Education & Reference",
    "Computers & Internet",
]
TOPICS += [
    "Sports",
    "Business & Finance",
    "Entertainment & Music",
    "Family & Relationships",
    "Politics & Government",
]
STARS = ["1 star", "2 star", "3 stars", "4 stars", "5 stars"]
ON_HUB = ["ptb", "yahoo", "yelp", "snli", "wikitext"]
IN_FILES = ["short_yelp", "captions", "synthetic"]


def features(name: str):
    """The columns of a hub data set, as on its card."""
    from datasets import ClassLabel, Features, Value

    text = Value("string")
    return {
        "ptb": Features({"sentence": text}),
        "yahoo": Features(
            {
                "id": Value("int32"),
                "topic": ClassLabel(names=TOPICS),
                "question_title": text,
                "question_content": text,
                "best_answer": text,
            }
        ),
        "yelp": Features({"label": ClassLabel(names=STARS), "text": text}),
        "snli": Features(
            {
                "premise": text,
                "hypothesis": text,
                "label": ClassLabel(names=["entailment", "neutral", "contradiction"]),
            }
        ),
        "wikitext": Features({"text": text}),
    }[name]


def row(name: str, i: int) -> dict:
    return {
        "ptb": {"sentence": f"it 's number n{i}"},
        "yahoo": {
            "id": i,
            "topic": i % 10,
            "question_title": f"What's n{i}?",
            "question_content": "" if i % 2 else "Don't\\nknow.",
            "best_answer": "THIS one.",
        },
        "yelp": {"label": i % 5, "text": f"It's n{i}, 3.5 stars!"},
        "snli": {"premise": "A man.", "hypothesis": f"A man isn't n{i}.", "label": i % 4 - 1},
        "wikitext": {"text": "" if i % 3 == 0 else f" Mr. n{i} @-@ <unk> , 1 @.@ 5 \n"},
    }[name]


EXPECTED = {
    "ptb": "it 's number n1",
    "yahoo": "what 's n1 ? this one .",
    "yelp": "it 's n1 , 3.5 stars !",
    "snli": "a man is n't n1 .",
    "wikitext": "Mr. n1 @-@ <unk> , 1 @.@ 5",
}
PLACES = {
    "ptb": "penn_treebank/{}/0000.parquet",
    "yahoo": "yahoo_answers_topics/{}-00000-of-00001.parquet",
    "yelp": "yelp_review_full/{}-00000-of-00001.parquet",
    "snli": "plain_text/{}-00000-of-00001.parquet",
    "wikitext": "wikitext-2-v1/{}-00000-of-00001.parquet",
}


def put_hub(folder: Path, name: str, rows=60) -> Path:
    """A folder like a data set's hub repository, with `rows` rows in each split."""
    from datasets import Dataset

    parts = ("train", "test") if name in ("yahoo", "yelp") else ("train", "validation", "test")
    for part in parts:
        path = folder / PLACES[name].format(part)
        path.parent.mkdir(parents=True, exist_ok=True)
        Dataset.from_list([row(name, i) for i in range(rows)], features=features(name)).to_parquet(
            path
        )
    if name == "wikitext":  # a second data set beside the intended one
        other = folder / "wikitext-103-v1/train-00000-of-00001.parquet"
        other.parent.mkdir(parents=True)
        Dataset.from_list([{"text": "something else"}], features=features(name)).to_parquet(other)
    return folder


def config(name: str, *words: str, cache: Path) -> Any:
    """The data config that train.py composes for `data=name` and further overrides."""
    return load_section(composed(f"data={name}", f"data.cache={cache}", *words).data, "data")


SIZES = {"yahoo": (40, 10, 30), "yelp": (40, 10, 30)}


@pytest.mark.parametrize("name", ON_HUB)
def test_every_hub_data_set_loads_from_its_schema(tmp_path, name):
    folder = put_hub(tmp_path / "hub", name)
    sizes = [
        f"data.{split}_size={n}" for split, n in zip(SPLITS, SIZES.get(name, ()), strict=False)
    ]
    data = config(name, f"data.hub={folder}", *sizes, cache=tmp_path / "cache").load()
    everything = [sentence for split in SPLITS for sentence in decode_split(data, split)]
    assert EXPECTED[name].replace("n1", "<unk>") in [s.replace("n1", "<unk>") for s in everything]
    if name in SIZES:
        assert tuple(data.size(split) for split in SPLITS) == SIZES[name]
    else:
        empty = 20 if name == "wikitext" else 0
        assert [data.size(split) for split in SPLITS] == [60 - empty] * 3
        assert data.skipped["train"] == {"empty": empty, "too_long": 0}
        assert EXPECTED[name] in everything and not any("something else" in s for s in everything)


@pytest.mark.parametrize(
    ("name", "label", "classes"), [("yahoo", "topic", TOPICS), ("yelp", "label", STARS)]
)
def test_hub_classes_become_labels_of_same_rows(tmp_path, name, label, classes):
    folder = put_hub(tmp_path / "hub", name)
    words = [
        f"data.hub={folder}",
        "data.train_size=40",
        "data.valid_size=10",
        "data.test_size=30",
        "data.vocab_size=null",
    ]
    data = config(name, *words, cache=tmp_path / "cache").load()
    assert data.classes == {label: tuple(classes)}
    numbers = [
        int(w[1:])
        for s in decode_split(data, "train")
        for w in s.split()
        if w[0] == "n" and w[1:].isdigit()
    ]
    assert len(numbers) == 40 and numbers == sorted(numbers)
    assert data.labels["train"][label].tolist() == [n % len(classes) for n in numbers]


@pytest.mark.parametrize("name", IN_FILES)
def test_missing_files_error_gives_the_command(tmp_path, name):
    with pytest.raises(InputError) as caught:
        config(name, cache=tmp_path).load()
    assert f"data={name} is not a hub set: give data.dir=FOLDER" in str(caught.value)
    assert f"`uncollapse prepare {name} --out FOLDER`" in str(caught.value)


def test_every_text_data_set_has_name_and_pinned_revision():
    for name in [*ON_HUB, *IN_FILES]:
        cfg = config(name, cache=Path("nowhere"))
        assert cfg.name == name
        assert (cfg.hub is None) == (name in IN_FILES)
        header = (ROOT / f"conf/data/{name}.yaml").read_text().split("_target_")[0]
        assert "icence" in header or name == "synthetic"
        assert "python train.py data=" + name in header


def test_hub_sets_are_pinned_to_commits():
    files = {
        file.stem: yaml.safe_load(file.read_text())
        for file in sorted((ROOT / "conf/data").glob("*.yaml"))
    }
    on_hub = {name: file["revision"] for name, file in files.items() if file.get("hub")}
    assert on_hub.keys() >= {"mnist", "dailydialog", "yelp", "ptb"}
    for name, revision in on_hub.items():
        # the hub has these only in a form that it rewrites itself; their headers say so
        if name in ("ptb", "omniglot"):
            assert revision == "refs/convert/parquet"
        else:
            assert re.fullmatch(r"[0-9a-f]{40}", revision), name


# ---------------------------------------------------------------- sizes of a hub data set


def rows(count: int, where: str = "set, train split") -> TableRows:
    table = pa.table({"text": [f"w{i}" for i in range(count)], "class": list(range(count))})
    return TableRows(where, table, ("text",))


def cut(parts: dict[str, TableRows], **options) -> dict[str, list[int]]:
    found = hub.choose_rows(TextConfig(hub="set", **options), parts)
    every = {
        split: np.arange(part.size) if part.chosen is None else part.chosen
        for split, part in found.items()
    }
    return {split: every[split].tolist() for split in SPLITS}


def test_missing_validation_split_is_taken_from_train_without_overlap():
    parts = {"train": rows(100), "test": rows(50)}
    found = cut(parts, valid_size=30)
    assert len(found["valid"]) == 30 and sorted(found["valid"] + found["train"]) == list(range(100))
    assert found["test"] == list(range(50))
    smaller = cut(parts, valid_size=30, train_size=20, test_size=5)
    assert (
        smaller["valid"] == found["valid"]
        and len(smaller["train"]) == 20
        and len(smaller["test"]) == 5
    )
    assert set(smaller["train"]) <= set(found["train"]) and smaller["train"] == sorted(
        smaller["train"]
    )
    assert cut(parts, valid_size=30) == found and cut(parts, valid_size=30, split_seed=1) != found


def test_existing_splits_are_limited_independently():
    parts = {"train": rows(100), "valid": rows(40), "test": rows(50)}
    assert [len(part) for part in cut(parts).values()] == [100, 40, 50]
    assert [len(part) for part in cut(parts, train_size=10, valid_size=7).values()] == [10, 7, 50]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_size": 101}, "data.train_size=101: the train split of set has 100 rows"),
        ({"test_size": 51}, "data.test_size=51: the test split of set has 50 rows"),
    ],
)
def test_requesting_too_many_rows_is_refused(options, message):
    with pytest.raises(InputError) as caught:
        cut({"train": rows(100), "valid": rows(40), "test": rows(50)}, **options)
    assert str(caught.value) == message


@pytest.mark.parametrize("sizes", [{"valid_size": 100}, {"valid_size": 60, "train_size": 41}])
def test_validation_and_training_rows_cannot_overlap(sizes):
    with pytest.raises(
        InputError, match=r"^data\.train_size=.* rows after the \d+ of data\.valid_size$"
    ):
        cut({"train": rows(100), "test": rows(50)}, **sizes)


def test_selected_rows_do_not_depend_on_block_size(tmp_path):
    part = hub.replace(
        rows(500), chosen=np.sort(np.random.default_rng(0).permutation(500)[:77]), label="class"
    )
    expected = [f"w{i}" for i in part.chosen]
    for size in (1, 256 * 7, 1 << 22):
        blocks = list(part.blocks(size))
        assert [text for block in blocks for text in block.columns()[0].to_pylist()] == expected
        assert [
            int(n) for block in blocks for n in block.columns()[1].to_pylist()
        ] == part.chosen.tolist()
        assert (
            blocks[-1].end == 500 and part.place(3) == f"set, train split, row {part.chosen[3] + 1}"
        )


@pytest.mark.parametrize("workers", [1, 3])
def test_row_without_class_is_reported(tmp_path, monkeypatch, workers):
    monkeypatch.setattr(tokenise.tokenise, "__defaults__", (workers, 256 * 2))
    # row 1 and every fourth after it have class -1
    folder = put_hub(tmp_path / "hub", "snli", rows=9)
    with pytest.raises(InputError) as caught:
        config("snli", f"data.hub={folder}", "+data.label=label", cache=tmp_path / "cache").load()
    assert (
        str(caught.value)
        == f"{folder}, test split, row 1: no class in the column label (data.label=label)"
    )
    assert list_cache_entries(tmp_path / "cache") == []


# ---------------------------------------------------------------- raw text


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("Don't go!", "do n't go !"),
        ("It's 3.5, not 1,000... (he said)", "it 's 3.5 , not 1,000 . . . ( he said )"),
        ('"U.S." well-known: A/B', '" u . s . " well-known : a / b'),
        ("can’t\\nsay<br />so", "ca n't say so"),
        ("naïve café 中文。", "naïve café 中文 。"),
        ("the dogs' bowl 'quoted' x.", "the dogs ' bowl ' quoted ' x ."),
        ("we'll've", "we'll 've"),
        ("", ""),
    ],
)
def test_raw_text_is_tokenised(raw, words):
    assert (
        separate_tokens(pa.array([raw], pa.large_string())).to_pylist()[0].split() == words.split()
    )
