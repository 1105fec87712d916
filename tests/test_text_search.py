"""Choosing words: top-k, top-p and beam search on distributions small enough to compute by hand."""

import itertools

import numpy as np
import pytest
import torch
from schemas import LSTMConfig, TransformerConfig
from torch import Tensor

from uncollapse.data.corpus import BOS, EOS, PAD, UNK
from uncollapse.models.text_search import keep_top_k, keep_top_p, search_beams, shape_logits
from uncollapse.models.text_vae import TextVAE
from uncollapse.posteriors.gaussian import Gaussian

LOGITS = torch.tensor([[0.5, 0.2, 0.2, 0.1]]).log()


def test_top_k_keeps_exactly_k_words_even_where_they_tie() -> None:
    assert keep_top_k(LOGITS, 2).isfinite().sum() == 2
    assert keep_top_k(LOGITS, 1).isfinite().tolist() == [[True, False, False, False]]
    assert torch.equal(keep_top_k(LOGITS, 9), LOGITS)


@pytest.mark.parametrize(("p", "kept"), [(0.1, 1), (0.49, 1), (0.6, 2), (0.85, 3), (1.0, 4)])
def test_top_p_keeps_the_fewest_words_that_reach_it(p: float, kept: int) -> None:
    shaped = keep_top_p(LOGITS, p)
    assert shaped.isfinite().sum() == kept and shaped[0, 0].isfinite()
    # the logits of kept words are unchanged
    assert torch.equal(shaped[shaped.isfinite()], LOGITS[shaped.isfinite()])


def test_temperature_comes_before_the_limits() -> None:
    # at temperature 1/2 the probabilities are 25 : 4 : 4 : 1, so the first has 25/34 > 0.65
    assert shape_logits(LOGITS, 0.5, None, 0.65).isfinite().sum() == 1
    assert shape_logits(LOGITS, 1.0, None, 0.65).isfinite().sum() == 2
    expected = torch.tensor([[25.0, 4.0]]) / 29
    assert torch.allclose(
        shape_logits(LOGITS, 0.5, 2).softmax(1).sort(descending=True)[0][:, :2], expected
    )


def test_beam_finds_the_sentence_that_greedy_words_miss() -> None:
    a, b, c, size = 4, 5, 6, 7

    def next_logits(tokens: Tensor, rows: Tensor | None = None) -> Tensor:
        chances = torch.full((len(tokens), size), 1e-9)
        for row, words in enumerate(tokens[:, 1:].tolist()):
            if not words:  # a is the likeliest first word, but its continuations are split
                chances[row, [a, b]] = torch.tensor([0.6, 0.4])
            elif words == [a]:
                chances[row, [b, c, EOS]] = torch.tensor([0.4, 0.3, 0.3])
            else:
                chances[row, EOS] = 1.0
        return chances.log()

    never = torch.tensor([PAD, BOS])
    # greedy: a b, probability 0.24; b alone has 0.4
    assert search_beams(next_logits, 2, 1, never, 5).tolist() == [[BOS, a, b, EOS]] * 2
    assert search_beams(next_logits, 2, 3, never, 5)[:, :3].tolist() == [[BOS, b, EOS]] * 2


def small_model(kind: str) -> TextVAE:
    torch.manual_seed(0)
    config = (
        LSTMConfig(embedding=4, hidden=6, latent=2)
        if kind == "lstm"
        else TransformerConfig(width=8, layers=1, attention_heads=2, latent=2)
    )
    model = config.build(8, Gaussian).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)  # untrained outputs hardly depend on anything
    return model


@torch.no_grad()
@pytest.mark.parametrize("kind", ["lstm", "transformer"])
def test_widest_beam_is_the_most_likely_of_all_sentences(kind: str) -> None:
    model, z, longest = small_model(kind), torch.randn(3, 2), 3
    words = [UNK, 4, 5, 6, 7]
    sentences = [
        sentence
        for length in range(longest + 1)
        for sentence in itertools.product(words, repeat=length)
    ]
    for code in range(3):
        scores = []
        for sentence in sentences:
            # an unended sentence of the greatest length has no end to pay for
            spelt = [*sentence, EOS][:longest]
            next_logits, total = model.decoder.writer(z[code : code + 1]), 0.0
            for t, word in enumerate(spelt):
                tokens = torch.tensor([[BOS, *spelt[:t]]])
                logits = next_logits(tokens).double()
                logits[:, [PAD, BOS]] = -torch.inf
                total += float(logits.log_softmax(1)[0, word])
            scores.append(total)
        best = sentences[int(np.argmax(scores))]
        written = model.generate(z[code : code + 1], beam=400, longest=longest)
        assert tuple(written.tokens.tolist()) == best


@pytest.mark.parametrize("kind", ["lstm", "transformer"])
def test_beam_of_one_is_greedy(kind: str) -> None:
    model, z = small_model(kind), torch.randn(20, 2)
    with torch.no_grad():
        greedy = model.generate(z, greedy=True, longest=12, unknown=False)
        beam = model.generate(z, beam=1, longest=12, unknown=False)
    assert greedy.offsets.tolist() == beam.offsets.tolist()
    assert greedy.tokens.tolist() == beam.tokens.tolist() and UNK not in beam.tokens


def test_top_k_of_one_is_greedy() -> None:
    model, z = small_model("lstm"), torch.randn(20, 2)
    with torch.no_grad():
        greedy = model.generate(z, greedy=True, longest=12)
        drawn = model.generate(z, top_k=1, longest=12)
    assert greedy.tokens.tolist() == drawn.tokens.tolist()
