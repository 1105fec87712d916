"""Sentences written word by word: what text models share."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from uncollapse.data.corpus import BOS, EOS, PAD, Corpus

LONGEST = 200  # words; a sentence that has not ended by then is left without its end


@torch.no_grad()
def write(
    next_logits: Callable[[Tensor], Tensor],
    count: int,
    device: torch.device,
    greedy: bool,
    generator: torch.Generator | None,
    longest: int = LONGEST,
) -> Corpus:
    """`count` sentences of at most `longest` words, each word drawn from softmax(logits) or, if greedy, the likeliest.

    next_logits: all tokens so far [N, t], the start of a sentence first -> [N, V]. Neither start nor padding is ever written.
    """
    tokens = torch.full((count, 1), BOS, device=device)
    ended = torch.zeros(count, dtype=torch.bool, device=device)
    for _ in range(longest):
        logits = next_logits(tokens).index_fill(1, torch.tensor([PAD, BOS], device=device), -torch.inf)
        chosen = logits.argmax(1) if greedy else torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
        chosen = chosen.masked_fill(ended, PAD)
        tokens = torch.cat([tokens, chosen[:, None]], 1)
        ended = ended | (chosen == EOS)
        if ended.all():
            break
    written = tokens[:, 1:].cpu().numpy()
    words = (written != PAD) & (written != EOS)
    return Corpus(written[words].astype(np.int32), np.concatenate([[0], np.cumsum(words.sum(1))]))
