"""Word dropout: the decoder is fed fewer of the previous words, so that it has to use z.

Bowman et al., "Generating Sentences from a Continuous Space", CoNLL 2016, section 3.1 (there as the
keep rate, 1 - word_dropout). A dropped word is fed as the unknown word; the target never changes.
Words are dropped only in training mode, which includes rows of metrics measured in that mode. The
start of a sentence is kept, as it is not a word.
"""

import torch
from torch import Tensor

from uncollapse.data.corpus import BOS, UNK


def drop_words(tokens: Tensor, chance: float) -> Tensor:
    """Decoder inputs [B, T], each but the start of a sentence replaced with this chance."""
    hidden = (torch.rand(tokens.shape, device=tokens.device) < chance) & (tokens != BOS)
    return tokens.masked_fill(hidden, UNK)
