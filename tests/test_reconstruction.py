"""Reconstructions of sentences: scores by hand, and the evaluation of a run."""

import json
import shutil
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import folder_of, run_here

from uncollapse.data.corpus import Corpus
from uncollapse.errors import InputError
from uncollapse.evaluation.command import main
from uncollapse.evaluation.opened import OpenedRun, open_run
from uncollapse.evaluation.reconstruction import evaluate_reconstruction
from uncollapse.evaluation.reverse_ppl import evaluate_reverse_ppl
from uncollapse.evaluation.settings import Settings
from uncollapse.metrics.quality import corpus_bleu
from uncollapse.metrics.reconstruction import compare_tokens, end_and_pad
from uncollapse.runs.layout import Run


def corpus_of(*sentences: list[int]) -> Corpus:
    tokens = np.array([word for sentence in sentences for word in sentence], np.int32)
    return Corpus(tokens, np.cumsum([0, *map(len, sentences)]))


# ---------------------------------------------------------------- by hand


def test_tokens_are_compared_by_position_up_to_the_end() -> None:
    """Positions 4 + 3 + 1 + 3, ends included; equal are 4, 1 (4 of 4 5), 0 and 2."""
    original = corpus_of([4, 5, 6], [4, 5], [], [7, 7])
    written = corpus_of([4, 5, 6], [4], [8], [7, 7, 7, 7])
    got = compare_tokens(written, original)
    hits, positions = np.array([4, 1, 0, 2]), np.array([4, 3, 1, 3])
    assert got["reconstruction_accuracy"] == pytest.approx(7 / 11)
    assert got["reconstruction_exact"] == 0.25
    # the standard error of a ratio of two sums over four sentences
    spread = (hits - 7 / 11 * positions).std(ddof=1) / 2 / positions.mean()
    assert got["reconstruction_accuracy_se"] == pytest.approx(spread)


def test_one_missing_word_makes_later_positions_wrong() -> None:
    complete, cut = [4, 5, 6, 7, 8, 9], [5, 6, 7, 8, 9]
    got = compare_tokens(corpus_of(cut, complete), corpus_of(complete, complete))
    assert got["reconstruction_accuracy"] == 0.5 and got["reconstruction_exact"] == 0.5


def test_sentences_are_ended_and_padded() -> None:
    rows = end_and_pad(corpus_of([4, 5], [], [6, 6, 6]), 5)
    assert rows.tolist() == [[4, 5, 2, 0, 0], [2, 0, 0, 0, 0], [6, 6, 6, 2, 0]]


def test_bleu_by_hand() -> None:
    """Matches of 1- to 4-grams: 4 of 5, 3 of 4, 2 of 3, 1 of 2."""
    assert corpus_bleu(["a b c d e"], ["a b c d f"]) == pytest.approx(100 * 0.2**0.25)
    # the same counts, and a brevity penalty of exp(1 - 6/5)
    short = corpus_bleu(["a b c d e"], ["a b c d f g"])
    assert short == pytest.approx(100 * 0.2**0.25 * np.exp(-0.2))
    # no common 4-gram: half a match of 2, and counts of the corpus are summed before the division
    assert corpus_bleu(["a b c x d"], ["a b c y d"]) == pytest.approx(
        100 * (4 / 5 * 2 / 4 * 1 / 3 * 0.5 / 2) ** 0.25
    )
    assert corpus_bleu(["", "a"], ["b", "c"]) == corpus_bleu(["a b"], ["a b"]) == 0
    assert corpus_bleu(["a b c d", "x"], ["a b c d", "y"]) == pytest.approx(100 * (4 / 5) ** 0.25)


# ---------------------------------------------------------------- a run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose decodes differ from each other, and end: two words of a long one may tie."""
    results = tmp_path_factory.mktemp("rebuilt")
    run_here(results, "ae", "trainer.epochs=6", "trainer.lr=0.03")
    return results


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path / "results")
    return folder_of(tmp_path / "results", "ae")


def rebuild_one(opened: OpenedRun, example: int) -> list[int]:
    """The greedy decode of one example on its own."""
    with torch.no_grad():
        q = opened.encode(opened.batch("test", np.array([example])), opened.noise(0))
        corpus = opened.model.generate(q.mean, greedy=True)
    return corpus.tokens.tolist()


def test_evaluation_equals_decoding_one_sentence_at_a_time(folder: Path) -> None:
    assert main([str(folder), "--metrics", "reconstruction"]) == 0
    opened = open_run(Run(folder), {}, print)
    corpus = opened.data.corpora["test"]
    real = [corpus.tokens[a:b].tolist() for a, b in pairwise(corpus.offsets)]
    made = [rebuild_one(opened, i) for i in range(len(real))]
    assert len({tuple(sentence) for sentence in made}) > 1  # the code is used
    hits = [
        sum(x == y for x, y in zip([*a, "end"], [*b, "end"], strict=False))
        for a, b in zip(real, made, strict=True)
    ]
    stored = json.loads((folder / "evaluations/test-reconstruction.json").read_text())
    total = sum(len(sentence) + 1 for sentence in real)
    assert stored["reconstruction_accuracy"] == pytest.approx(sum(hits) / total) and sum(hits)
    assert stored["reconstruction_exact"] == np.mean(
        [a == b for a, b in zip(real, made, strict=True)]
    )
    written, original = (
        [" ".join(opened.data.vocabulary[i] for i in words) for words in side]
        for side in (made, real)
    )
    # the order of the sentences does not matter
    assert stored["reconstruction_bleu"] == pytest.approx(corpus_bleu(written, original))
    assert stored["reconstruction_examples"] == 32


def test_complete_split_stays_at_the_top_of_the_summary(folder: Path) -> None:
    assert main([str(folder), "--metrics", "reconstruction"]) == 0
    assert main([str(folder), "--metrics", "reconstruction", "--examples", "5"]) == 0
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["evaluations"]["test-reconstruction-N5"]["reconstruction_examples"] == 5
    assert summary["reconstruction_examples"] == 32


def test_images_are_refused() -> None:
    opened = SimpleNamespace(
        run=SimpleNamespace(folder="results/s/runs/plain"),
        data=SimpleNamespace(corpora={}),
        model=SimpleNamespace(can_generate=True, can_respond=False),
    )
    for evaluate in (evaluate_reconstruction, evaluate_reverse_ppl):
        with pytest.raises(InputError, match=r"^results/s/runs/plain: --metrics re"):
            evaluate(opened, Settings(("reconstruction",)))
