"""The conditional LSTM VAE for dialogue: a response x given its context c.

    q(z|x, c),   p(z|c),   p(x|z, c)

Sohn et al., NeurIPS 2015; for dialogue Serban et al., AAAI 2017, and Zhao et al., ACL 2017. One
LSTM reads the context, another the response, and the head sees both states. z and the context's
state are joined to every decoder input and give its first state, as z alone does in `lstm.py`.

prior: held      p(z|c) = N(0, I), or the prior of the head. Every head works and keeps its floor.
prior: learned   p(z|c) = N(m(c), s(c)^2), made by a linear layer. It can move with q, so a lower
                 bound on KL(q || N(0, I)) is not one on KL(q || p(z|c)), and no floor is promised.
                 Only for heads whose posterior is a diagonal Gaussian.

With a learned prior the rest of the package works with u = (z - m(c)) / s(c) in place of z.
q(u|x, c) is Gaussian too, the prior of u is N(0, I), KL(q(u|x, c) || N(0, I)) equals
KL(q(z|x, c) || p(z|c)) exactly, and importance weights are the same. So metrics are those of u: mi
and the gap measure what the code adds to the context. As the decoder reads c as well, a learned
prior gives the model no more capacity than a fixed one; the difference is which moments a head's
normalisation fixes.

The context is encoded twice in a step, by encode and by nll; the second time takes a fifth of the
step.

Deviations from Zhao et al.: no dialogue acts, topics or speakers as inputs; the prior is linear in
the context's state; with head=bow the bag of words is predicted from the code alone, without the
context. With head=ae_pretrain the context's LSTM, as a component of the decoder, is reset with it,
so the pretrained codes move a little.
"""

import warnings
from dataclasses import dataclass
from typing import ClassVar, Unpack

import torch
from torch import Tensor, nn

from uncollapse.data.corpus import Corpus
from uncollapse.data.dialogue import DialogueBatch
from uncollapse.decoders import Options
from uncollapse.distributions.normal import DiagonalGaussian
from uncollapse.distributions.precision import wide
from uncollapse.errors import MAX_SIZE, InputError, check_choice, check_integer
from uncollapse.interfaces.model import Limits, MakeHead, Model, ModelConfig
from uncollapse.interfaces.posterior import Posterior, PosteriorHead
from uncollapse.models.lstm import LSTMConfig, LSTMDecoder, LSTMEncoder
from uncollapse.models.text_vae import check_dropouts, check_sizes, generate_sentences

PRIOR_KINDS = ("learned", "held")


@dataclass
class ConditionalLSTMConfig(ModelConfig):
    """Sizes, and whether the prior is learned or held fixed."""

    takes: ClassVar[str] = "dialogue"
    embedding: int
    hidden: int
    latent: int
    prior: str
    dropout_in: float
    dropout_out: float

    @property
    def seen(self) -> int:
        """Entries of the code and of the context's state, which the decoder reads."""
        latent = check_integer("model.latent", self.latent, 1, MAX_SIZE)
        return latent + check_integer("model.hidden", self.hidden, 1, MAX_SIZE)

    def build(
        self, inputs: int, posterior: MakeHead, decoder: Options | None = None
    ) -> "ConditionalLSTM":
        """`posterior` is called with (2 hidden, latent).

        InputError for a bad size or dropout, or a head that a learned prior does not fit.
        """
        check_sizes(self, "embedding", "hidden", "latent")
        check_dropouts(self)
        check_choice("model.prior", self.prior, PRIOR_KINDS)
        return ConditionalLSTM(self, inputs, posterior, decoder or Options())


class ConditionalLSTM(Model):
    """A VAE of responses given contexts: its decoder reads z together with the context's state."""

    decoder: LSTMDecoder

    def __init__(
        self, cfg: ConditionalLSTMConfig, vocabulary: int, posterior: MakeHead, decoder: Options
    ):
        super().__init__()
        # the decoder treats the code and the context's state as one longer code
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
        self.encoder = LSTMEncoder(sizes, vocabulary)
        self.context = LSTMEncoder(sizes, vocabulary)
        self.decoder = LSTMDecoder(sizes, vocabulary, decoder.word_dropout)
        # what differs between heads and priors is built last, so that all share one initialisation
        self.posterior = posterior(2 * cfg.hidden, cfg.latent)
        if cfg.prior == "learned":
            self.posterior = LearnedPriorHead(self.posterior, nn.Linear(cfg.hidden, 2 * cfg.latent))
        self.decoder.output = decoder.output(cfg.seen, vocabulary)

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """The context's LSTM and a learned prior belong to the decoder."""
        learned = self.posterior if isinstance(self.posterior, LearnedPriorHead) else None
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
        **limits: Unpack[Limits],
    ) -> Corpus:
        """A response to each context of a batch, in the batch's order, for codes z [B, D]."""
        return generate_sentences(self.decoder, self.seen(batch, z), greedy, generator, **limits)

    def context_state(self, batch: DialogueBatch) -> Tensor:
        """[B, hidden], in the order of the responses."""
        # contexts are sorted by their own length; `place` puts them in the order of responses
        return self.context(batch.context)[batch.place]

    def seen(self, batch: DialogueBatch, z: Tensor) -> Tensor:
        """The decoder's input, z and the context's state, [..., B, latent + hidden].

        With a learned prior the argument is the standardised code u, from which z is computed.
        """
        context = self.context_state(batch)
        if isinstance(self.posterior, LearnedPriorHead):
            mean, log_var = self.posterior.prior_of(context)
            # from u back to z = m(c) + s(c) u
            z = mean + torch.exp(0.5 * log_var) * z
        return torch.cat([z, context.expand(*z.shape[:-1], -1)], -1)


class LearnedPriorHead(PosteriorHead):
    """A head measured against a learned prior: states of response and context -> q(u|x, c).

    A floor that the head declares does not hold against a learned prior, so this declares none.
    InputError from the constructor unless the head gives diagonal Gaussians.
    """

    def __init__(self, head: PosteriorHead, prior: nn.Linear):
        super().__init__()
        self.head, self.prior = head, prior
        # a trial pass; evaluation mode leaves the batch statistics unchanged
        head.eval()
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the warning that the head was never trained
            q = head(torch.zeros(2, 2 * prior.in_features))
        head.train()
        # exact type: a subclass may have another density
        if type(q) is not DiagonalGaussian:
            raise InputError(
                f"model.prior=learned: {type(head).__name__} has a prior or a density of its "
                "own; allowed with it is model.prior=held"
            )

    def set_epoch(self, epoch: int) -> None:
        self.head.set_epoch(epoch)

    def prior_of(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """m(c) and ln s(c)^2 for context states [B, hidden], [B, latent] each."""
        mean, log_var = self.prior(context).chunk(2, -1)
        return mean, log_var

    def forward(self, h: Tensor) -> DiagonalGaussian:
        """States h [B, 2 hidden], the context's last."""
        q = self.head(h)
        mean, log_var = (wide(x) for x in self.prior_of(h[:, -self.prior.in_features :]))
        inverse_std = torch.exp(-0.5 * log_var)
        # u = (z - m(c)) / s(c) is linear in z, so it is Gaussian with these parameters
        return DiagonalGaussian(
            (q.mean - mean) * inverse_std, q.std * inverse_std, q.log_var - log_var, codes=q.codes
        )
