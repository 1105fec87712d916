"""Word dropout: the decoder is fed fewer of the words before, so that it has to look at z.

Bowman et al., "Generating Sentences from a Continuous Space", CoNLL 2016, section 3.1 (there as the keep rate, 1 - word_dropout). A word
that is dropped is fed as the unknown word; what the decoder is asked for never changes. In training only, so rows of training mode
are measured with it and rows of evaluation mode without; the start of a sentence stays, since it carries no word.
"""

import torch
from torch import Tensor

from uncollapse.data.corpus import BOS, UNK


def drop_words(tokens: Tensor, chance: float) -> Tensor:
    """Decoder inputs [B, T], each replaced by the unknown word with this chance, the start of a sentence never."""
    hidden = (torch.rand(tokens.shape, device=tokens.device) < chance) & (tokens != BOS)
    return tokens.masked_fill(hidden, UNK)
