"""Bag of words: z alone must also predict which words a sentence has, regardless of their order.

Zhao, Zhao & Eskenazi, "Learning Discourse-level Diversity for Neural Dialog Models using
Conditional Variational Autoencoders", ACL 2017 (arXiv 1703.10960), section 3.3. One network with a
hidden layer of tanh units maps z to the logits of one distribution over words. The negative log
probability of all words of the sentence is added to the negative ELBO, in the paper with weight 1.
The decoder's memory of previous words cannot lower this term. The network is not a component of the
model and is discarded after training. The paper also anneals the KL: `head=bow_anneal`.
"""

from torch import Tensor, nn

from uncollapse.distributions.precision import wide
from uncollapse.errors import MAX_SIZE, check_integer, check_number
from uncollapse.interfaces.data import Batch
from uncollapse.interfaces.objective import Loss, ObjectiveModule, Schedule
from uncollapse.interfaces.posterior import Posterior
from uncollapse.objectives.elbo import ELBO


class BagOfWords(ObjectiveModule):
    """rec + weight * KL + bow_weight * -log p(bag | z); bow_weight 0 is the ELBO."""

    outputs: nn.Module

    def __init__(self, bow_weight: float, bow_hidden: int, weight: Schedule = 1.0):
        super().__init__()
        self.bow_weight = check_number("bow_weight", bow_weight, 0, closed=True)
        self.hidden = check_integer("bow_hidden", bow_hidden, 1, MAX_SIZE)
        self.elbo = ELBO(weight)

    def shape(self, latent: int, inputs: int) -> None:
        """Make the network: z [B, latent] -> the argument of a batch's `bag_nll`, [B, inputs]."""
        self.outputs = nn.Sequential(
            nn.Linear(latent, self.hidden), nn.Tanh(), nn.Linear(self.hidden, inputs)
        )

    @property
    def weight(self) -> Schedule:
        return self.elbo.weight

    @property
    def final_weight(self) -> float:
        return self.elbo.final_weight

    def forward(
        self, nll: Tensor, q: Posterior, z: Tensor, epoch: float, batch: Batch | None = None
    ) -> Loss:
        plain = self.elbo(nll, q, z, epoch, batch)
        # without the term, training is that of plain bit for bit
        if self.bow_weight == 0:
            return plain
        if batch is None:
            raise ValueError("the bag-of-words loss needs the batch")
        # -log p(bag | z) of the words, batch mean in nats
        # in float32 at least, as a softmax over a vocabulary
        bag = batch.bag_nll(wide(self.outputs(z))).mean()
        return Loss(plain.total + self.bow_weight * bag, {**plain.terms, "bow": bag}, plain.weight)
