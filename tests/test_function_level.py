"""data.level=function: tokens from a function of the user's own package."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from conftest import folder_of, typed
from schemas import TextConfig

import uncollapse
from uncollapse.data import SPLITS, function_level
from uncollapse.data.corpus import SPECIALS, UNK, Corpus
from uncollapse.data.function_level import FunctionTokens
from uncollapse.data.level_choice import choose_level
from uncollapse.data.text import TextData
from uncollapse.errors import InputError
from uncollapse.evaluation import command as evaluate
from uncollapse.plugins import PLUGINS, use_plugins
from uncollapse.run import run

CODE = r'''
"""Tokenisers."""

import re
from re import split as imported

calls = []

def pieces(text: str) -> list[str]:
    calls.append(text)
    return re.findall(r"\w+|[^\w\s]", text.lower())

def write(tokens: list[str]) -> str:
    return re.sub(r" ([.,!])", r"\1", " ".join(tokens))

def keep_spaces(text: str) -> list[str]:
    return re.findall(r" ?[^ ]+", text)

def glue(tokens: list[str]) -> str:
    return "".join(tokens)

def bytes_of(text: str) -> list[str]:
    return ["\n" if c == "x" else c for c in text if c != " "]

def untyped(text):
    return [text]

def delete(path: str) -> None:
    raise AssertionError("called")

def two(text: str, more: str) -> list[str]:
    return [text, more]

def no_list(text: str) -> list[str]:
    return text

def empty_token(text: str) -> list[str]:
    return ["a", "", "b"]

def numbers(text: str) -> list[str]:
    return ["a", 3]

def half_pair(text: str) -> list[str]:
    return ["\ud800"]

def broken(text: str) -> list[str]:
    raise ValueError("not today\nnor tomorrow")

def few(text: str) -> list[str]:
    return [] if text.startswith("skip") else text.split()

def no_text(tokens: list[str]) -> str:
    return tokens

class Callable:
    def __call__(self, text: str) -> list[str]:
        return [text]

instance = Callable()
'''
LINES = ["Hello, world!", "hello  again , world .", "the cat sat.", "skip this line"]


@pytest.fixture
def package(outside: Path) -> Path:
    """The package `mine`, named as a plugin, and a folder of text."""
    (outside / "mine").mkdir()
    (outside / "mine/__init__.py").write_text("")
    (outside / "mine/words.py").write_text(CODE)
    (outside / "text").mkdir()
    for split in SPLITS:
        (outside / f"text/{split}.txt").write_text("\n".join(LINES))
    use_plugins("mine")
    return outside


def read(folder: Path, tokenizer: str | None, **options: object) -> TextData:
    data = TextConfig(
        dir=str(folder / "text"),
        level="function",
        tokenizer=tokenizer,
        cache=str(folder / "cache"),
        **options,
    ).load()
    assert isinstance(data, TextData)
    return data


def tokens_of(data: TextData, split: str = "train") -> list[list[str]]:
    corpus = data.corpora[split]
    flat = [data.vocabulary[i] for i in corpus.tokens]
    return [flat[a:b] for a, b in zip(corpus.offsets[:-1], corpus.offsets[1:], strict=True)]


# ---------------------------------------------------------------- tokens and text


def test_tokens_are_those_of_the_function_and_text_is_joined(package: Path) -> None:
    data = read(package, "mine.words.pieces", join="mine.words.write")
    assert tokens_of(data)[:2] == [
        ["hello", ",", "world", "!"],
        ["hello", "again", ",", "world", "."],
    ]
    assert data.texts(data.corpora["train"])[:2] == ["hello, world!", "hello again, world."]
    assert read(package, "mine.words.pieces").texts(data.corpora["train"])[0] == "hello , world !"
    # as the text was read, with one space between words, whatever the tokens are
    assert data.corpora["train"].chars.tolist() == [len(" ".join(x.split())) for x in LINES]
    assert data.facts()["level"] == "function" and data.facts()["unknown"]["test"] == 0


def test_tokens_with_spaces_and_line_breaks_keep_one_line_each(package: Path) -> None:
    data = read(package, "mine.words.keep_spaces", join="mine.words.glue")
    assert tokens_of(data)[0] == ["Hello,", " world!"]
    assert data.texts(data.corpora["test"]) == [" ".join(line.split()) for line in LINES]
    for path in (package / "text").iterdir():
        path.write_text("a x b\nx x\n")
    odd = read(package, "mine.words.bytes_of")
    assert set(odd.vocabulary) == {*SPECIALS, "a", "b", "\n"}
    listing = odd.listing()
    assert listing is not None and listing.splitlines()[4:] == ["\\n", "a", "b"]
    assert odd.texts(odd.corpora["train"]) == ["a \\n b", "\\n \\n"]
    again = read(package, "mine.words.bytes_of")  # the vocabulary of the cache
    assert again.vocabulary == odd.vocabulary


def test_sentence_without_a_token_is_skipped_and_counted(package: Path) -> None:
    data = read(package, "mine.words.few")
    assert data.size("train") == 3 and data.skipped["train"]["empty"] == 1


def test_limits_of_vocabulary_and_length_hold(package: Path) -> None:
    data = read(package, "mine.words.pieces", vocab_size=6, max_length=4, min_count=2)
    assert data.vocabulary[4:] == (".", "hello") or len(data.vocabulary) == 6
    assert max(data.corpora["train"].lengths) == 4 and (data.corpora["train"].tokens == UNK).any()


def test_cache_depends_on_the_code_and_content_on_the_tokens(package: Path) -> None:
    import mine.words

    first = read(package, "mine.words.pieces")
    calls = len(mine.words.calls)
    assert calls > 0 and read(package, "mine.words.pieces").content == first.content
    assert len(mine.words.calls) == calls  # from the cache
    (package / "mine/words.py").write_text(CODE + "\n# a comment\n")
    assert read(package, "mine.words.pieces").content == first.content
    assert len(mine.words.calls) == 2 * calls
    assert read(package, "mine.words.few").content != first.content
    other = TextConfig(dir=str(package / "text"), cache=str(package / "cache")).load()
    assert other.content != first.content


# ---------------------------------------------------------------- runs


def test_run_encodes_and_writes_text_and_needs_its_plugin(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"The {a} {b}, and {c}." for a in "pqr" for b in "stu" for c in "vwxy"]
    for path in (package / "text").iterdir():
        path.write_text("\n".join(lines))
    words = ["data=text", f"data.dir={package / 'text'}", f"data.cache={package / 'cache'}"]
    words += ["data.level=function", "data.tokenizer=mine.words.pieces"]
    words += ["data.join=mine.words.write", "trainer.epochs=1"]
    sizes = ["model.embedding=4", "model.hidden=6", "model.latent=2"]
    cfg = typed("head=plain", *words, *sizes)
    cfg.results = str(package / "results")
    run(cfg, "plain", [*words, *sizes])
    folder = folder_of(package / "results", "plain")
    found = uncollapse.load(folder)
    assert found.encode(["the p s, and v."]).unknown.tolist() == [0]
    np.testing.assert_array_equal(found.encode(lines).mean, found.encode(split="test").mean)
    assert evaluate.main([str(package / "results/scratch"), "--metrics", "samples"]) == 0
    text = (folder / "samples/reconstructions.txt").read_text()
    assert ", and" in text and " ," not in text
    # a run names no plugin by itself
    monkeypatch.setenv(PLUGINS, "")
    with pytest.raises(InputError, match="only functions of packages that you name are called"):
        uncollapse.load(folder)


# ---------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (None, r"data\.level=function: needs data\.tokenizer=package\.module\.function"),
        ("pieces", "allowed is the name of a function, package.module.function"),
        ("mine.words.pieces()", "allowed is the name of a function"),
        ("os.path.join", "only functions of packages that you name are called; named are mine"),
        ("mine_too.words.pieces", "only functions of packages that you name"),
        ("mine.other.pieces", r"cannot be imported \(ModuleNotFoundError"),
        ("mine.words.nothing", "no such function; mine.words defines pieces, write"),
        ("mine.words.imported", "not a function that this module defines"),
        ("mine.words.calls", "not a function that this module defines"),
        ("mine.words.instance", "not a function that this module defines"),
        ("mine.words.Callable", "not a function that this module defines"),
        ("mine.words.untyped", r"untyped\(text\); needed are the types \(str\) -> list\[str\]"),
        ("mine.words.delete", r"needed are the types \(str\) -> list\[str\]"),
        ("mine.words.two", r"needed are the types \(str\) -> list\[str\]"),
        ("mine.words.no_list", "for 'Hello, world!' it returned 'Hello, world!', a str; needed is"),
        ("mine.words.empty_token", "it returned '' in its list; needed are non-empty strings"),
        ("mine.words.numbers", "it returned 3 in its list; needed are non-empty strings"),
        ("mine.words.half_pair", "in its list; needed are non-empty strings"),
        (
            "mine.words.broken",
            "for 'Hello, world!' it raised ValueError: not today, in mine/words.py line \\d+$",
        ),
    ],
)
def test_bad_function_is_refused_in_one_sentence(
    package: Path, name: str | None, reason: str
) -> None:
    with pytest.raises(InputError, match=reason) as error:
        read(package, name)
    assert "\n" not in str(error.value)
    cached = package / "cache"
    assert not cached.exists() or not any(path.is_dir() for path in cached.iterdir())


def test_bad_join_is_refused(package: Path) -> None:
    with pytest.raises(InputError, match=r"data.join=mine.words.pieces: .*\(list\[str\]\) -> str"):
        read(package, "mine.words.pieces", join="mine.words.pieces")
    data = read(package, "mine.words.pieces", join="mine.words.no_text")
    with pytest.raises(InputError, match=r"data.join: for \['hello', .* it returned \['hello'"):
        data.texts(data.corpora["train"])
    with pytest.raises(
        InputError, match=r"data\.join=mine\.words\.write: used with data.level=func"
    ):
        choose_level("word", None, "mine.words.write")


def test_package_that_is_not_named_is_never_imported(outside: Path) -> None:
    (outside / "mine").mkdir()
    (outside / "mine/__init__.py").write_text("raise AssertionError('imported')")
    with pytest.raises(InputError, match="only functions of packages that you name"):
        function_level.find_function("data.tokenizer", "mine.words.pieces", str, list[str])


def test_empty_texts_are_not_given_to_the_function() -> None:
    def refuse(text: str) -> list[str]:
        assert text
        return [text]

    level = FunctionTokens("x.y", refuse)
    units, offsets = level.split(pa.array(["a", "b"], pa.large_string()), np.array([0, 0, 2, 2]))
    assert units.to_pylist() == ["a b"] and offsets.tolist() == [0, 0, 1, 1]
    assert level.texts(Corpus(np.array([4]), np.array([0, 1])), (*SPECIALS, "a b")) == ["a b"]
