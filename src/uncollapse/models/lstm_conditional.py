"""The conditional LSTM VAE for dialogue: a response x given its context c.

    q(z|x, c),   p(z|c),   p(x|z, c)      Sohn et al., NeurIPS 2015; for dialogue Serban et al., AAAI 2017, and Zhao et al., ACL 2017

One LSTM reads the context, another the response; the head sees both states. z and the context's state are joined to every decoder input
and make its first state, as z alone does in `lstm.py`.

prior: held      p(z|c) = N(0, I), or whatever prior the head brings. Every head works and keeps its floor.
prior: learned   p(z|c) = N(m(c), s(c)^2), made by a linear layer. It can follow q, so a floor under KL(q || N(0, I)) is none under
                 KL(q || p(z|c)): none is promised. Only for heads whose posterior is a diagonal Gaussian.

With a learned prior all the rest of the house sees u = (z - m(c)) / s(c) in place of z: q(u|x, c) is Gaussian too, the prior of u is
N(0, I), KL(q(u|x, c) || N(0, I)) = KL(q(z|x, c) || p(z|c)) exactly, and importance weights are the same. Metrics, then, speak of u:
mi and the gap tell what the code adds to the context. A learned prior is thus no richer than a held one before a decoder that reads
c as well; what differs is what a head's normalisation holds fast.

The context is read twice in a step, by encode and by nll: a fifth of its time.

Deviations from Zhao et al.: no dialogue acts, topics or speakers as inputs; the prior is linear in the context's state; with head=bow the
bag of words is told from the code alone, not from the context beside it. head=ae_pretrain starts the context's LSTM anew with the decoder
that it is a part of, so the pretrained codes move a little.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from uncollapse.data.corpus import Corpus
from uncollapse.data.dialogue import DialogueBatch
from uncollapse.decoders import Options
from uncollapse.distributions.normal import DiagonalGaussian, Posterior
from uncollapse.distributions.precision import wide
from uncollapse.errors import MOST_SIZE, InputError, check_choice, check_integer
from uncollapse.models.lstm import Decoder, Encoder, LSTMConfig
from uncollapse.models.text_vae import check_sizes, write

PRIORS = ("learned", "held")


@dataclass
class ConditionalLSTMConfig:
    """Sizes, and whether the prior is learned or held."""

    takes: ClassVar[str] = "dialogue"
    embedding: int
    hidden: int
    latent: int
    prior: str
    dropout_in: float
    dropout_out: float

    @property
    def seen(self) -> int:
        """What the decoder reads beside words: the code and the context."""
        return check_integer("model.latent", self.latent, 1, MOST_SIZE) + check_integer(
            "model.hidden", self.hidden, 1, MOST_SIZE
        )

    def build(
        self,
        vocabulary: int,
        posterior: Callable[[int, int], nn.Module],
        decoder: Options | None = None,
    ) -> "ConditionalLSTM":
        """`posterior` (2 hidden, latent) -> head. InputError for a size below 1, a dropout outside [0, 1), or a head that a learned
        prior does not fit."""
        check_sizes(self, "embedding", "hidden", "latent")
        check_choice("model.prior", self.prior, PRIORS)
        return ConditionalLSTM(self, vocabulary, posterior, decoder or Options())


class ConditionalLSTM(nn.Module):
    """Verbs: encode(batch) -> Posterior; nll(batch, z [B, D] | [n, B, D]) -> [B] | [n, B] nats; respond(batch, z [B, D]) -> Corpus."""

    posterior: nn.Module

    def __init__(
        self,
        cfg: ConditionalLSTMConfig,
        vocabulary: int,
        posterior: Callable[[int, int], nn.Module],
        decoder: Options,
    ):
        super().__init__()
        sizes = LSTMConfig(
            embedding=cfg.embedding,
            hidden=cfg.hidden,
            latent=cfg.seen,
            bidirectional=False,
            pool="last",
            dropout_in=cfg.dropout_in,
            dropout_out=cfg.dropout_out,
            init=None,
        )
        self.encoder = Encoder(sizes, vocabulary)
        self.context = Encoder(sizes, vocabulary)
        self.decoder = Decoder(sizes, vocabulary, decoder.word_dropout)
        # what heads and priors differ in is built last, so all share one initialisation
        self.posterior = posterior(2 * cfg.hidden, cfg.latent)
        if cfg.prior == "learned":
            self.posterior = Followed(self.posterior, nn.Linear(cfg.hidden, 2 * cfg.latent))
        self.decoder.output = decoder.output(cfg.seen, vocabulary)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """The parameters of the inference side and of the generative side, which the context's LSTM and a learned prior belong to."""
        learned = self.posterior if isinstance(self.posterior, Followed) else None
        head = self.posterior if learned is None else learned.head
        prior = [] if learned is None else [*learned.prior.parameters()]
        return {
            "encoder": [*self.encoder.parameters(), *head.parameters()],
            "decoder": [*self.context.parameters(), *prior, *self.decoder.parameters()],
        }

    def encode(self, batch: DialogueBatch) -> Posterior:
        return self.posterior(torch.cat([self.encoder(batch), self.context_state(batch)], 1))

    def nll(self, batch: DialogueBatch, z: Tensor) -> Tensor:
        return self.decoder(batch, self.seen(batch, z))

    def respond(
        self,
        batch: DialogueBatch,
        z: Tensor,
        greedy: bool = False,
        generator: torch.Generator | None = None,
        **limits: Any,
    ) -> Corpus:
        """A response to each context for codes z [B, D], in the batch's order; limits: `longest` and `unknown` of `write`."""
        return write(
            self.decoder.writer(self.seen(batch, z)), len(z), z.device, greedy, generator, **limits
        )

    def context_state(self, batch: DialogueBatch) -> Tensor:
        """[B, hidden], in the order of the responses."""
        return self.context(batch.context)[batch.place]

    def seen(self, batch: DialogueBatch, z: Tensor) -> Tensor:
        """What the decoder reads: z (out of u, where the prior is learned) and the context, [..., B, latent + hidden]."""
        context = self.context_state(batch)
        if isinstance(self.posterior, Followed):
            mean, log_var = self.posterior.prior_of(context)
            z = mean + torch.exp(0.5 * log_var) * z
        return torch.cat([z, context.expand(*z.shape[:-1], -1)], -1)


class Followed(nn.Module):
    """A head measured against a learned prior: states [B, 2 hidden] of response and context -> q(u|x, c), see above.

    It declares no floor, whatever the head declares. InputError from the constructor unless the head gives diagonal Gaussians.
    """

    head: nn.Module
    prior: nn.Linear

    def __init__(self, head: nn.Module, prior: nn.Linear):
        super().__init__()
        self.head, self.prior = head, prior
        head.eval()
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a fresh head
            found: Any = head(torch.zeros(2, 2 * prior.in_features))
        head.train()
        if type(found) is not DiagonalGaussian:
            raise InputError(
                f"model.prior=learned: {type(head).__name__} brings a prior or a density of its own; allowed with it is model.prior=held"
            )

    def prior_of(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """m(c) and ln s(c)^2, [B, latent] each."""
        mean, log_var = self.prior(context).chunk(2, -1)
        return mean, log_var

    def forward(self, states: Tensor) -> DiagonalGaussian:
        q = self.head(states)
        mean, log_var = (wide(x) for x in self.prior_of(states[:, -self.prior.in_features :]))
        narrow = torch.exp(-0.5 * log_var)
        return DiagonalGaussian(
            (q.mean - mean) * narrow, q.std * narrow, q.log_var - log_var, codes=q.codes
        )
