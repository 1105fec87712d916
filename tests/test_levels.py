"""Levels of text: words, characters, bytes and subwords of the same text.

Sizes are equal, unknown symbols are reported, and perplexities are comparable.
"""

import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import composed, folder_of, summary
from hypothesis import given, settings
from hypothesis import strategies as st
from schemas import GrammarConfig, TextConfig

from uncollapse.data import profile
from uncollapse.data.corpus import BOS, EOS, PAD, SPECIALS, UNK, Corpus
from uncollapse.data.levels import Bytes, Characters, Words, escape_controls
from uncollapse.data.sentence_sizes import measure_sentences
from uncollapse.data.text import SPLITS, TextData
from uncollapse.data.words import split_words
from uncollapse.errors import InputError
from uncollapse.evaluation import command as evaluate
from uncollapse.evaluation import samples
from uncollapse.metrics.rates import per_char_and_byte
from uncollapse.models.text_vae import decode_sentences
from uncollapse.run import run

properties = settings(max_examples=60, deadline=None, derandomize=True)
LEVELS = ("word", "char", "byte", "tokens")
CHINESE = ["我们喜欢红色的狗", "他们不喜欢猫", "我喜欢你"]
SMILES = ["CC(=O)Oc1ccccc1C(=O)O", "C1=CC=CC=C1", "N#N"]
DNA = ["ACGTACGT", "GGTA", "TTACG"]
CODE = ["def f(x):", "    return x + 1", "y = f( 2 )\t# two"]


def write_splits(folder: Path, *lines: str, **changed: list[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for split in SPLITS:
        (folder / f"{split}.txt").write_text(
            "".join(f"{line}\n" for line in changed.get(split, lines))
        )
    return folder


def read(folder: Path, **options) -> TextData:
    return TextConfig(dir=str(folder), cache=str(folder / "cache"), labels=False, **options).load()


def get_refusal(folder: Path, **options) -> str:
    with pytest.raises(InputError) as caught:
        read(folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def subwords(tmp_path_factory) -> str:
    """A byte-level BPE of some English that truncates and pads, like files of published models."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=280, initial_alphabet=alphabet, special_tokens=["[PAD]"], show_progress=False
    )
    tokenizer.train_from_iterator(["the cat sat on the mat", "the dog sat"] * 20, trainer)
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=9)
    path = tmp_path_factory.mktemp("subwords") / "tokenizer.json"
    tokenizer.save(str(path))
    return str(path)


@pytest.fixture(scope="module")
def word_pieces(tmp_path_factory) -> str:
    """A word-level tokenizer that knows few words."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {"[UNK]": 0, "the": 1, "cat": 2, "sat": 3}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    path = tmp_path_factory.mktemp("pieces") / "tokenizer.json"
    tokenizer.save(str(path))
    return str(path)


def options(level: str, subwords: str) -> dict:
    return {"level": level, **({"tokenizer": subwords} if level == "tokens" else {})}


# ---------------------------------------------------------------- round trips


@pytest.mark.parametrize(
    "lines", [CHINESE, SMILES, DNA, CODE, ["naïve  café\u00a0é\u2028x", "👩‍👩‍👧 ok", "<unk> _UNK"]]
)
@pytest.mark.parametrize("level", ["char", "byte", "tokens"])
def test_decoded_text_has_single_spaces(tmp_path, subwords, lines, level):
    data = read(write_splits(tmp_path, *lines), **options(level, subwords))
    assert data.texts(data.corpora["test"]) == [" ".join(line.split()) for line in lines]
    assert data.facts()["unknown"] == dict.fromkeys(SPLITS, 0.0)
    assert data.facts()["level"] == level


@properties
@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12), min_size=1, max_size=8
    )
)
def test_every_level_tokenises_output_of_str_split(sentences):
    import pyarrow as pa

    words = split_words(pa.array(sentences, pa.large_string()))
    bare = [" ".join(sentence.split()) for sentence in sentences]
    chars, bounds = Characters().split(*words)
    assert "".join(map(chr, chars)) == "".join(bare)
    assert np.diff(bounds).tolist() == [len(text) for text in bare]
    size, bounds = Bytes().split(*words)
    assert size.tobytes() == "".join(bare).encode()
    assert np.diff(bounds).tolist() == [len(text.encode()) for text in bare]
    counted = measure_sentences(*words)
    assert counted[0].tolist() == [len(text) for text in bare]
    assert counted[1].tolist() == [len(text.encode()) for text in bare]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("block", [3, 1 << 22])
def test_character_and_byte_counts_are_equal_at_every_level(
    tmp_path, monkeypatch, subwords, level, block
):
    from uncollapse.data import tokenise

    monkeypatch.setattr(tokenise.tokenise, "__defaults__", (None, block))
    lines = ["the  cat\tsat", "", "é ü", "a <unk> b", "我们 喜欢", "the cat sat on the mat and on"]
    data = read(write_splits(tmp_path, *lines), max_length=27, **options(level, subwords))
    kept = [" ".join(line.split()) for line in lines if line][: len(data.corpora["train"])]
    if level != "word":
        kept = [text for text in kept if level != "byte" or len(text.encode()) <= 27]
    assert data.corpora["train"].chars.tolist() == [len(text) for text in kept]
    assert data.corpora["train"].bytes.tolist() == [len(text.encode()) for text in kept]


def test_unknown_words_and_truncation_keep_text_sizes(tmp_path):
    known = ["w" * (n + 1) for n in range(20)]
    lines = [f"{word} rare{n}" for n, word in enumerate(known)]
    data = read(write_splits(tmp_path, *lines, train=[*lines, *known]), min_count=2, test_size=7)
    assert data.facts()["unknown"]["test"] == 0.5
    assert {text.split()[1] for text in data.texts(data.corpora["test"])} == {"<unk>"}
    full = {line.split()[0]: len(line) for line in lines}
    expected = [full[text.split()[0]] for text in data.texts(data.corpora["test"])]
    assert len(expected) == 7 and data.corpora["test"].chars.tolist() == expected
    assert data.facts()["chars_per_sentence"]["test"] == pytest.approx(np.mean(expected))


def test_grammar_reports_text_sizes():
    data = GrammarConfig(train=30, valid=9, test=9).load()
    texts = data.texts(data.corpora["valid"])
    assert data.corpora["valid"].chars.tolist() == [len(text) for text in texts]
    assert data.corpora["valid"].bytes.tolist() == [len(text.encode()) for text in texts]
    batch = data.batch("valid", np.array([3, 1, 7]))
    assert batch.chars.tolist() == [len(texts[i]) for i in batch.examples]


def test_byte_vocabulary_is_fixed_without_unknowns(tmp_path):
    data = read(write_splits(tmp_path, "abc", test=["Ünïcode 我 \x07"]), level="byte")
    assert len(data.vocabulary) == 260 and data.facts()["unknown"]["test"] == 0
    assert data.texts(data.corpora["test"]) == ["Ünïcode 我 \\x07"]
    broken = Corpus(np.array([4 + 0xE6, 4 + ord("a"), UNK, 4 + ord("\n")]), np.array([0, 4]))
    assert data.texts(broken) == ["\ufffda\ufffd\\n"]


def test_unseen_character_is_unknown(tmp_path):
    data = read(write_splits(tmp_path, "abab", test=["abz"]), level="char")
    assert data.vocabulary == (*SPECIALS, "a", "b")
    assert data.corpora["test"].tokens.tolist() == [4, 5, UNK] and data.texts(
        data.corpora["test"]
    ) == ["ab<unk>"]
    assert data.facts()["unknown"]["test"] == pytest.approx(1 / 3)


def test_subwords_ignore_truncation_and_padding_of_tokenizer_file(tmp_path, subwords):
    from tokenizers import Tokenizer

    data = read(
        write_splits(tmp_path, "the cat sat on the mat", "the dog"),
        level="tokens",
        tokenizer=subwords,
    )
    tokenizer = Tokenizer.from_file(subwords)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    expected = [
        id + 4
        for line in ("the cat sat on the mat", "the dog")
        for id in tokenizer.encode(line).ids
    ]
    assert data.corpora["train"].tokens.tolist() == expected
    assert data.inputs == 4 + tokenizer.get_vocab_size()


def test_tokenizer_unknown_token_is_unknown(tmp_path, word_pieces):
    data = read(
        write_splits(tmp_path, "the cat sat", test=["the zebra sat"]),
        level="tokens",
        tokenizer=word_pieces,
    )
    assert data.corpora["test"].tokens.tolist() == [5, UNK, 7] and data.facts()["unknown"][
        "test"
    ] == pytest.approx(1 / 3)
    assert data.texts(data.corpora["test"]) == ["the <unk> sat"]


def test_different_tokenizer_with_same_name_is_another_cache_entry(tmp_path, word_pieces):
    own = tmp_path / "own.json"
    content = json.loads(Path(word_pieces).read_text())
    own.write_text(json.dumps(content))
    folder = write_splits(tmp_path / "text", "the cat sat ran")
    assert read(folder, level="tokens", tokenizer=str(own)).facts()["unknown"]["test"] == 0.25
    content["model"]["vocab"]["ran"] = 4
    own.write_text(json.dumps(content))
    assert read(folder, level="tokens", tokenizer=str(own)).facts()["unknown"]["test"] == 0


def test_levels_are_separate_cache_entries(tmp_path):
    folder = write_splits(tmp_path, "ab ab")
    assert [read(folder, level=level).inputs for level in ("word", "char", "byte", "word")] == [
        5,
        7,
        260,
        5,
    ]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"level": "letters"},
            "data.level=letters: allowed are word, char, byte, tokens, function",
        ),
        ({"level": "tokens"}, "data.level=tokens: needs data.tokenizer=FILE"),
        (
            {"tokenizer": "x.json"},
            "data.tokenizer=x.json: read with data.level=tokens or function only",
        ),
        (
            {"level": "tokens", "tokenizer": "/no/such"},
            "data.tokenizer=/no/such: cannot be read (No such file",
        ),
        (
            {"level": "byte", "min_count": 2},
            "data.min_count=2: data.level=byte has a fixed vocabulary",
        ),
        (
            {"level": "byte", "vocab_size": 100},
            "data.vocab_size=100: data.level=byte has 260 entries",
        ),
    ],
)
def test_invalid_levels_are_refused(tmp_path, wrong, said):
    assert said in get_refusal(write_splits(tmp_path, "a b"), **wrong)


@pytest.mark.parametrize("content", ["{}", "words", '{"model": {"type": "BPE"}}', "[1]"])
def test_non_tokenizer_file_is_refused(tmp_path, content):
    (tmp_path / "t.json").write_text(content)
    assert "not a JSON file of the package `tokenizers`" in get_refusal(
        write_splits(tmp_path, "a b"), level="tokens", tokenizer=str(tmp_path / "t.json")
    )


def test_vocabulary_file_has_one_entry_per_line():
    corpus = Corpus(np.array([4, 5, 6]), np.array([0, 3]))
    odd = (*SPECIALS, "\n", "\t", "\u2028", "\x1b[2J", " ", "é", "\x85")
    listing = TextData(dict.fromkeys(SPLITS, corpus), odd, 2, level=Characters()).listing()
    assert listing.splitlines() == [
        *SPECIALS,
        "\\n",
        "\\t",
        "\\u2028",
        "\\x1b[2J",
        " ",
        "é",
        "\\x85",
    ]
    assert escape_controls("👩‍👩‍👧 é") == "👩‍👩‍👧 é"


# ---------------------------------------------------------------- lines printed about the data


def facts(**changed) -> dict:
    full = {
        "vocab": 500,
        "level": "word",
        **dict.fromkeys(SPLITS, 100),
        "words_per_sentence": dict.fromkeys(SPLITS, 9.0),
        "unknown": dict.fromkeys(SPLITS, 0.01),
        "longest": dict.fromkeys(SPLITS, 30),
        "median_length": dict.fromkeys(SPLITS, 9.0),
    }
    return {**full, **changed}


def test_ordinary_text_prints_one_line_per_split_without_warning():
    assert profile.list_text_warnings(facts(), 128) == []
    lines = profile.describe_splits(facts(skipped={"train": {"empty": 2, "too_long": 0}}))
    assert (
        lines[0] == "train split: 100 sentences of 9.0 words (median 9, longest 30), "
        "1 % of them <unk>, vocabulary 500"
    )
    assert len(lines) == 4 and lines[3] == "train: sentences skipped: {'empty': 2}"
    assert (
        profile.describe_splits({"train": 5, "classes": 3})
        == profile.list_text_warnings({"train": 5})
        == []
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"words_per_sentence": {"train": 1.02, "valid": 1.0}},
         ["one word on average", "data.level=char", "data.level=tokens"]),
        ({"unknown": {"train": 0.3}},
         ["30 % of the words of the train split are <unk>", "data.min_count", "data.vocab_size"]),
        ({"unknown": {"train": 0.01, "valid": 0.06}},
         ["6 % of the words of the valid split", "1 % of the training split"]),
        ({"longest": {"train": 100_000}}, ["100,000 words, the median 9", "data.max_length=50"]),
        ({"vocab": 1_000_004}, ["1,000,004 entries", "(128,000,512 output weights)",
        "data.vocab_size", "data.min_count"]),
    ],
)  # fmt: skip
def test_warnings_name_the_relevant_option(changed, said):
    (warning,) = profile.list_text_warnings(facts(**changed), 128)
    assert all(part in warning for part in said)


@pytest.mark.parametrize(
    "changed",
    [
        {"words_per_sentence": {"train": 1.0}, "level": "tokens"},
        {"unknown": {"train": 0.2, "valid": 0.2}},
        {"unknown": {"train": 0.05, "valid": 0.061}},
        {"unknown": {"train": 0.0, "valid": 0.05}},
        {"longest": {"train": 500}, "median_length": {"train": 3.0}},
        {"longest": {"train": 2000}, "median_length": {"train": 100.0}},
        {"vocab": 100_000},
    ],
)
def test_no_warning_at_thresholds(changed):
    assert profile.list_text_warnings(facts(**changed)) == []


@properties
@given(st.lists(st.lists(st.integers(UNK, 9), min_size=1, max_size=9), min_size=1, max_size=12))
def test_profiles_match_sentences(sentences):
    lengths = [len(sentence) for sentence in sentences]
    tokens = np.array([token for sentence in sentences for token in sentence])
    found = profile.profile_corpus(Corpus(tokens, np.cumsum([0, *lengths])))
    assert found["median_length"] == np.median(lengths) and found["longest"] == max(lengths)
    assert found["unknown"] == pytest.approx(np.mean(tokens == UNK))


def test_cached_split_of_unknown_words_is_refused(tmp_path):
    folder = write_splits(tmp_path, *CHINESE, test=["你喜欢我", "红猫"])
    for _ in range(2):
        message = get_refusal(folder)
        assert (
            message.startswith("data.test: 100 % of its words are <unk>")
            and "data.level=char" in message
        )
    assert read(folder, level="char").facts()["unknown"]["test"] == 0
    words = write_splits(tmp_path / "words", "a b c", test=["x y z"])
    assert "a smaller data.min_count" in get_refusal(words)


def test_literal_unknown_words_in_file_count(tmp_path):
    folder = write_splits(tmp_path, "a b c <unk>", test=["<unk> _UNK a b"])
    assert read(folder).facts()["unknown"] == {"train": 0.25, "valid": 0.25, "test": 0.5}


# ---------------------------------------------------------------- perplexities by hand


def test_perplexities_of_characters_and_bytes_by_hand():
    nll, chars, size = np.array([3.0, 9.0]), np.array([2, 4]), np.array([5, 7])
    found = per_char_and_byte(nll, chars, size, "nelbo")
    assert found["nelbo_per_char"] == pytest.approx(12 / 8) and found["ppl_char"] == pytest.approx(
        math.exp(12 / 8)
    )
    assert found["nelbo_per_byte"] == pytest.approx(12 / 14) and found["ppl_byte"] == pytest.approx(
        math.exp(12 / 14)
    )
    # residuals 3 - 1.5 * 3 = -1.5 and 9 - 1.5 * 5 = 1.5, over the mean of 4 characters; the error
    # is s / sqrt(2)
    error = np.std([-1.5 / 4, 1.5 / 4], ddof=1) / math.sqrt(2)
    assert found["nelbo_per_char_se"] == pytest.approx(error)
    assert found["ppl_char_se"] == pytest.approx(error * math.exp(1.5))
    assert per_char_and_byte(nll, None, None, "nelbo") == {}


SMALL = ["model.embedding=4", "model.hidden=6", "model.latent=2", "trainer.epochs=1", "threads=1"]


def trained(folder: Path, study: str, *words: str) -> Path:
    named = ["data=text", f"data.dir={folder}", f"data.cache={folder}/cache", *SMALL, *words]
    results = folder / study
    run(composed("head=plain", f"results={results}", *named), "plain", named)
    return folder_of(results, "plain")


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Path:
    words = ["the", "a", "red", "dog", "cat", "sat", "ran", "on", "mat"]
    draw = random.Random(0)
    folder = tmp_path_factory.mktemp("text")
    return write_splits(
        folder, *(" ".join(draw.choices(words, k=draw.randint(2, 5))) for _ in range(40))
    )


def test_every_level_reports_numbers_per_character(text, capsys):
    found, chars = {}, {}
    for level in ("word", "char"):
        folder = trained(text, level, f"data.level={level}")
        assert f" {'words' if level == 'word' else 'characters'} (median" in capsys.readouterr().out
        assert (
            evaluate.main(
                [str(folder), "--samples", "3", "--metrics", "nll,statistics", "--examples", "9"]
            )
            == 0
        )
        assert evaluate.main([str(folder), "--samples", "3", "--metrics", "nll"]) == 0
        found[level] = summary(folder)
        data = read(text, level=level)
        chars[level] = data.corpora["test"].chars
        known = json.loads((folder / "data.json").read_text())
        assert (
            known["chars_per_sentence"]["test"] == chars[level].mean() and known["level"] == level
        )
        symbols = int((chars[level] + 1).sum())
        for name, per, ppl in (
            ("nelbo", "nelbo_per_char", "ppl_char"),
            ("nll", "nll_per_char", "nll_ppl_char"),
        ):
            rate = found[level][name] * len(chars[level]) / symbols
            assert found[level][per] == pytest.approx(rate) and found[level][ppl] == pytest.approx(
                math.exp(rate)
            )
        assert found[level]["ppl_byte"] == pytest.approx(found[level]["ppl_char"])  # ASCII
        few = found[level]["evaluations"]["test-nll-K3-N9"]
        drawn = np.random.default_rng((7381, 0)).permutation(40)[:9]
        assert few["nll_per_char"] == pytest.approx(
            few["nll"] * 9 / (chars[level][drawn] + 1).sum()
        )
    assert np.array_equal(chars["word"], chars["char"])
    # at this level a token is a character
    assert found["char"]["ppl_char"] == pytest.approx(found["char"]["ppl"])


def test_rare_unknown_words_are_reported_and_their_characters_counted(text, capsys):
    folder = trained(text, "rare", "data.min_count=18")
    out = capsys.readouterr().out
    share = json.loads((folder / "data.json").read_text())["unknown"]["test"]
    assert 0.2 < share < 0.9
    assert (
        f"{profile.format_percent(share)} of the words of the test split are <unk>" in out
        and "data.min_count" in out
    )
    assert "perplexities are lower than those of the text" in out
    known, data = summary(folder), read(text)
    assert known["unknown"] == share
    assert known["nelbo_per_char"] == pytest.approx(
        known["nelbo"] * 40 / (data.corpora["test"].chars + 1).sum()
    )
    assert profile.list_text_warnings(json.loads((folder / "data.json").read_text()))


# ---------------------------------------------------------------- samples


def test_excluding_unknown_renormalises_probabilities():
    logits = torch.tensor(
        [0.0, 0.0, -torch.inf, 5.0, math.log(3.0), 0.0]
    )  # <unk> is by far the most likely word
    writing = (lambda tokens: logits.expand(len(tokens), -1), 4000, torch.device("cpu"), False)
    written = decode_sentences(*writing, torch.Generator().manual_seed(0), 1, unknown=False)
    counts = np.bincount(written.tokens, minlength=6)
    assert counts[[PAD, BOS, EOS, UNK]].sum() == 0 and counts[4] / 4000 == pytest.approx(
        0.75, abs=0.03
    )
    ordinary = decode_sentences(*writing, torch.Generator().manual_seed(0), 1)
    assert (ordinary.tokens == UNK).mean() > 0.9


def test_samples_without_unknown_words_are_stored_separately(text, capsys):
    folder = trained(text, "samples", "data.min_count=18")
    assert evaluate.main([str(folder), "--metrics", "samples"]) == 0
    before = {key: value for key, value in summary(folder).items() if key.startswith("sample_")}
    drawn = (folder / "samples" / "drawn.txt").read_text()
    assert "<unk>" in drawn and before["sample_unknown"] is True
    assert evaluate.main([str(folder), "--metrics", "samples", "--no-unknown"]) == 0
    assert "<unk>" not in (folder / "samples-no-unknown" / "drawn.txt").read_text()
    assert (folder / "samples" / "drawn.txt").read_text() == drawn
    found = summary(folder)
    assert {key: value for key, value in found.items() if key.startswith("sample_")} == before
    assert found["evaluations"]["test-samples-no-unknown"]["sample_unknown"] is False
    assert evaluate.main([str(folder), "--metrics", "nll", "--no-unknown"]) == 2
    assert "--no-unknown" in capsys.readouterr().err


@pytest.mark.parametrize("level", ["char", "byte"])
def test_samples_of_every_level_are_lines_of_text(tmp_path, level, monkeypatch):
    monkeypatch.setattr(samples, "DRAWN", 50)
    folder = trained(write_splits(tmp_path, *CHINESE * 8), "samples", f"data.level={level}")
    assert evaluate.main([str(folder), "--metrics", "samples"]) == 0
    lines = (folder / "samples" / "reconstructions.txt").read_text().splitlines()
    assert lines[1].split("\t")[1] in CHINESE and len({line.count("\t") for line in lines}) == 1
    assert len((folder / "samples" / "drawn.txt").read_text().split("\n")) == 51
    # the three sentences repeated, by character
    assert summary(folder)["sample_self_bleu_data"] > 50


def test_words_are_the_default_level():
    data = GrammarConfig(train=30, valid=9, test=9).load()
    assert isinstance(data.level, Words) and data.facts()["level"] == "word"
    assert set(data.facts()["unknown"].values()) == {0.0}


def test_run_without_level_options_can_be_evaluated(text):
    folder = trained(text, "old")
    config = folder / "config.yaml"
    new = ("  format:", "  label_column:", "  level:", "  tokenizer:", "  labels:")
    kept = [line for line in config.read_text().splitlines() if not line.startswith(new)]
    assert len(kept) == len(config.read_text().splitlines()) - len(new)
    config.write_text("\n".join([*kept, ""]))
    assert evaluate.main([str(folder), "--samples", "2", "--metrics", "nll"]) == 0
