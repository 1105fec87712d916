"""Reverse perplexity: a language model that knows only samples, tested on real sentences."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import folder_of, run_here
from schemas import GrammarConfig

from uncollapse.data.corpus import Corpus, take_sentences
from uncollapse.evaluation import reverse_ppl as module
from uncollapse.evaluation.command import main
from uncollapse.evaluation.language_model import log_prob_of
from uncollapse.evaluation.reverse_ppl import train_language_model

CPU = torch.device("cpu")


@pytest.fixture
def small_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tiny language model, trained for a few epochs."""
    sizes = {"embedding": 12, "hidden": 24}
    values = {**vars(module.LANGUAGE_MODEL), **sizes}
    monkeypatch.setattr(module, "LANGUAGE_MODEL", type(module.LANGUAGE_MODEL)(**values))
    monkeypatch.setattr(module, "MOST_EPOCHS", 4)
    monkeypatch.setattr(module, "LM_BATCH", 16)
    monkeypatch.setattr(module, "REAL_PPL", {})


def bits(n: int, seed: int, length: int = 6) -> Corpus:
    """Sentences of `length` words 4 and 5, each drawn independently with equal probability."""
    tokens = np.random.default_rng(seed).integers(4, 6, n * length).astype(np.int32)
    return Corpus(tokens, np.arange(n + 1) * length)


def nll(training: Corpus, real: Corpus, vocabulary: int) -> float:
    """Mean -log p of real sentences."""
    return -float(log_prob_of(train_language_model(training, vocabulary, CPU), real).mean())


@pytest.mark.usefixtures("small_model")
def test_model_of_fair_bits_approaches_their_entropy() -> None:
    """ln 2 for each word, and nothing for the end, which always comes after six words."""
    got = nll(bits(1500, 0), bits(300, 1), 6)
    assert 6 * np.log(2) < got < 6 * np.log(2) + 0.3


@pytest.mark.usefixtures("small_model")
def test_samples_that_miss_sentences_or_are_unlike_them_score_worse() -> None:
    data = GrammarConfig(train=400, valid=20, test=100).load()
    train, test = data.corpora["train"], data.corpora["test"]
    faithful = nll(train, test, data.inputs)
    # one real sentence again and again, as of a collapsed generator
    repeated = nll(take_sentences(train, np.zeros(400, int)), test, data.inputs)
    # real words in random order
    shuffled = Corpus(np.random.default_rng(0).permutation(train.tokens), train.offsets)
    assert faithful + 5 < repeated
    assert faithful + 2 < nll(shuffled, test, data.inputs)


@pytest.mark.usefixtures("small_model")
def test_training_is_repeatable_and_leaves_the_random_state() -> None:
    torch.manual_seed(5)
    one = nll(bits(100, 0), bits(20, 1), 6)
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), after)
    assert nll(bits(100, 0), bits(20, 1), 6) == one


@pytest.mark.usefixtures("small_model")
def test_best_epoch_is_kept_when_training_overfits(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter([-3.0, -2.0, -2.5])
    states = []

    def scripted(lm: torch.nn.Module, corpus: Corpus) -> np.ndarray:
        assert len(corpus) == 10  # every tenth of 100
        states.append(lm.decoder.words.bias.detach().clone())
        return np.array([next(scores)])

    monkeypatch.setattr(module, "log_prob_of", scripted)
    lm = train_language_model(bits(100, 0), 6, CPU)
    assert len(states) == 3 and not torch.equal(states[1], states[2])
    assert torch.equal(lm.decoder.words.bias, states[1])


@pytest.mark.usefixtures("small_model")
def test_evaluation_of_a_study_trains_the_model_of_real_sentences_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for head in ("plain", "bn_mu"):
        run_here(tmp_path, head, "trainer.epochs=1")
    sizes = []

    def counted(corpus: Corpus, *rest: object) -> torch.nn.Module:
        sizes.append(len(corpus))
        return train_language_model(corpus, *rest)

    monkeypatch.setattr(module, "train_language_model", counted)
    monkeypatch.setattr(module, "SENTENCES_DRAWN", 40)
    monkeypatch.setattr(module, "DRAWN_TOGETHER", 30)
    assert main([str(tmp_path / "scratch"), "--metrics", "reverse_ppl"]) == 0
    assert sizes == [40, 40, 40]  # two heads and the real sentences
    found = [
        json.loads((folder_of(tmp_path, head) / "summary.json").read_text())
        for head in ("plain", "bn_mu")
    ]
    assert found[0]["reverse_ppl_data"] == found[1]["reverse_ppl_data"] > 1
    assert found[0]["reverse_ppl"] != found[1]["reverse_ppl"]
    for summary in found:
        assert summary["reverse_ppl"] > 1 and summary["reverse_ppl_sentences"] == 40
    # a second time, from scratch: the same number
    folder = folder_of(tmp_path, "plain")
    (folder / "evaluations/test-reverse_ppl.json").unlink()
    summary = json.loads((folder / "summary.json").read_text())
    del summary["evaluations"]["test-reverse_ppl"]
    summary.pop("digest", None)
    (folder / "summary.json").write_text(json.dumps(summary))
    assert main([str(folder), "--metrics", "reverse_ppl"]) == 0
    again = json.loads((folder / "summary.json").read_text())
    assert again["reverse_ppl"] == found[0]["reverse_ppl"]
