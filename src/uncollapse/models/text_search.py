"""How a text model chooses its words: from reshaped probabilities, or by beam search.

Top-k: Fan, Lewis & Dauphin, "Hierarchical Neural Story Generation", ACL 2018, section 5.3. Top-p
(nucleus): Holtzman et al., "The Curious Case of Neural Text Degeneration", ICLR 2020 (arXiv
1904.09751), section 3.1. The beam search adds log probabilities without any correction for length,
so its result is an approximation of the most likely sentence.
"""

from typing import Protocol

import torch
from torch import Tensor

from uncollapse.data.corpus import BOS, EOS, PAD


class NextLogits(Protocol):
    """The logits of the next word [N, V], given all tokens so far [N, t], from BOS on.

    rows [N]: which row of the last call each row continues; None: the same one.
    """

    def __call__(self, tokens: Tensor, rows: Tensor | None = None) -> Tensor: ...


def shape_logits(
    logits: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Tensor:
    """Logits [N, V] divided by the temperature, then limited by `top_k`, then by `top_p`."""
    logits = logits / temperature
    if top_k is not None:
        logits = keep_top_k(logits, top_k)
    return logits if top_p is None else keep_top_p(logits, top_p)


def keep_top_k(logits: Tensor, k: int) -> Tensor:
    """The k largest logits of each row [N, V]; -inf elsewhere."""
    values, words = logits.topk(min(k, logits.shape[1]), 1)
    # by position, so that equal logits do not make more than k
    return torch.full_like(logits, -torch.inf).scatter(1, words, values)


def keep_top_p(logits: Tensor, p: float) -> Tensor:
    """The logits [N, V] of the fewest words that have a probability of p together; -inf elsewhere.

    At least one word of each row is kept.
    """
    if p >= 1:
        return logits
    values, words = logits.sort(dim=1, descending=True, stable=True)
    chances = values.softmax(1)
    # a word is needed if those before it have not reached p
    needed = chances.cumsum(1) - chances < p
    needed[:, 0] = True
    return torch.full_like(logits, -torch.inf).scatter(
        1, words, values.masked_fill(~needed, -torch.inf)
    )


@torch.no_grad()
def search_beams(
    next_logits: NextLogits, count: int, width: int, never: Tensor, longest: int
) -> Tensor:
    """The most likely of `width` hypotheses for each of `count` sentences, tokens [count, T].

    Rows i width ... (i + 1) width - 1 of `next_logits` belong to sentence i. The words `never` are
    not written. Tokens begin with BOS, and are PAD after EOS.
    """
    device = never.device
    tokens = torch.full((count * width, 1), BOS, device=device)
    # float64, so that adding scores cannot make different words equal
    scores = torch.full((count, width), -torch.inf, dtype=torch.float64, device=device)
    # all hypotheses are equal at first, so only one of them may grow
    scores[:, 0] = 0
    ended = torch.zeros(count, width, dtype=torch.bool, device=device)
    start, rows = width * torch.arange(count, device=device)[:, None], None
    for _ in range(longest):
        logits = next_logits(tokens, rows).double().index_fill(1, never, -torch.inf)
        log_p = logits.log_softmax(1).view(count, width, -1)
        # a sentence that has ended is continued with padding, at no cost
        log_p = log_p.masked_fill(ended[..., None], -torch.inf)
        log_p[..., PAD].masked_fill_(ended, 0)
        scores, best = (scores[..., None] + log_p).flatten(1).topk(width, 1)
        parent, word = best // logits.shape[1], best % logits.shape[1]
        rows = (start + parent).flatten()
        tokens = torch.cat([tokens[rows], word.view(-1, 1)], 1)
        ended = ended.gather(1, parent) | (word == EOS)
        # scores only fall, so nothing can overtake a best hypothesis that has ended
        if ended[:, 0].all():
            break
    return tokens.view(count, width, -1)[:, 0]
