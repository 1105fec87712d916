"""What text models share: the verbs of a VAE made of an encoder, a head and a decoder, and sentences written word by word."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from uncollapse.data.corpus import BOS, EOS, PAD, UNK, Corpus, TextBatch
from uncollapse.distributions.normal import Posterior
from uncollapse.errors import MOST_DEPTH, MOST_SIZE, InputError, check_integer


def check_sizes(cfg: Any, *names: str) -> None:
    """InputError unless these sizes of a model are whole numbers >= 1, and its dropouts lie in [0, 1)."""
    for name in names:
        deep = name in ("layers", "attention_heads")
        check_integer(f"model.{name}", getattr(cfg, name), 1, MOST_DEPTH if deep else MOST_SIZE)
    for name in ("dropout_in", "dropout_out"):
        if not 0 <= getattr(cfg, name) < 1:
            raise InputError(
                f"model.{name}={getattr(cfg, name)}: out of range; allowed is 0 <= {name} < 1"
            )


class TextVAE(nn.Module):
    """Verbs: encode(batch) -> Posterior; nll(batch, z [B, D] | [n, B, D]) -> [B] | [n, B] nats; generate(z [N, D]) -> Corpus.

    To be made of parts built in the order of the arguments: what heads differ in comes last, so that all share one initialisation.
    The decoder gets the output layer (see decoders.plain) as `output`, and offers `writer(z)` for `write`.
    """

    def __init__(self, encoder: nn.Module, decoder: Any, posterior: nn.Module, output: nn.Module):
        super().__init__()
        self.encoder, self.decoder, self.posterior = encoder, decoder, posterior
        self.decoder.output = output

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """The parameters of the inference side and of the generative side, for procedures that step them apart."""
        return {
            "encoder": [*self.encoder.parameters(), *self.posterior.parameters()],
            "decoder": [*self.decoder.parameters()],
        }

    def encode(self, batch: TextBatch) -> Posterior:
        return self.posterior(self.encoder(batch))

    def nll(self, batch: TextBatch, z: Tensor) -> Tensor:
        return self.decoder(batch, z)

    def generate(
        self,
        z: Tensor,
        greedy: bool = False,
        generator: torch.Generator | None = None,
        **limits: Any,
    ) -> Corpus:
        """A sentence for each code; limits: `longest` and `unknown` of `write`."""
        return write(self.decoder.writer(z), len(z), z.device, greedy, generator, **limits)


LONGEST = 200  # tokens; a sentence that has not ended by then is left without its end


@torch.no_grad()
def write(
    next_logits: Callable[[Tensor], Tensor],
    count: int,
    device: torch.device,
    greedy: bool,
    generator: torch.Generator | None,
    longest: int = LONGEST,
    unknown: bool = True,
) -> Corpus:
    """`count` sentences of at most `longest` words, each word drawn from softmax(logits) or, if greedy, the likeliest.

    next_logits: all tokens so far [N, t], the start of a sentence first -> [N, V]. Neither start nor padding is ever written, and
    without `unknown` no unknown word: the others have its probability.
    """
    never = torch.tensor([PAD, BOS] if unknown else [PAD, BOS, UNK], device=device)
    tokens = torch.full((count, 1), BOS, device=device)
    ended = torch.zeros(count, dtype=torch.bool, device=device)
    for _ in range(longest):
        logits = next_logits(tokens).index_fill(1, never, -torch.inf)
        chosen = (
            logits.argmax(1)
            if greedy
            else torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
        )
        chosen = chosen.masked_fill(ended, PAD)
        tokens = torch.cat([tokens, chosen[:, None]], 1)
        ended = ended | (chosen == EOS)
        if ended.all():
            break
    written = tokens[:, 1:].cpu().numpy()
    words = (written != PAD) & (written != EOS)
    return Corpus(written[words].astype(np.int32), np.concatenate([[0], np.cumsum(words.sum(1))]))
