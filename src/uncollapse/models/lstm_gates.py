"""One LSTM step for many codes at a time, without gradients: the inner loop of likelihoods."""

import math

import torch
from torch import Tensor, nn

from uncollapse.interfaces.decoder import join_features
from uncollapse.models.lstm_sequence import LSTM_WEIGHTS

# logits computed at a time: few enough to stay in the cache until they are summed
CACHED_LOGITS = 1 << 18
SAFE_EXPONENT = 80.0  # exp(80) = 5.5e34, far below the largest float32, 3.4e38


class Gates:
    """The weights of an LSTM and its output layer, laid out for `LSTMDecoder.nll_of_many`.

    Gates are in the order i, f, o, g. As tanh(g) = 2 s(2g) - 1, the weights of g are doubled and
    one sigmoid serves all four. The inputs of the output layer must lie in [-1, 1], as the LSTM's
    outputs do.
    """

    def __init__(self, lstm: nn.LSTM, weight: Tensor, bias: Tensor, latent: int):
        weight_ih, weight_hh, bias_ih, bias_hh = (lstm.get_parameter(name) for name in LSTM_WEIGHTS)
        # PyTorch's order is i, f, g, o; g comes last here, so that the three plain sigmoids are
        # adjacent
        i, f, g, o = torch.arange(4 * lstm.hidden_size).chunk(4)
        order = torch.cat([i, f, o, g]).to(weight.device)
        scale = torch.ones_like(order, dtype=weight.dtype)
        scale[3 * lstm.hidden_size :] = 2
        # scaling weights and biases of g by 2 gives 2 g before the sigmoid
        inputs = weight_ih[order] * scale[:, None]
        self.from_words, self.from_z = inputs[:, :-latent].T, inputs[:, -latent:].T
        self.bias = (bias_ih + bias_hh)[order] * scale
        self.recurrent = (weight_hh[order] * scale[:, None]).T.contiguous()
        self.logits, self.logit_bias = weight, bias
        # an upper bound on log sum exp: inputs lie in [-1, 1], so a logit is at most the sum of the
        # absolute weights and the bias. Below the limit the largest logit need not be subtracted
        bound = (weight.abs().sum(1) + bias.abs()).max() + math.log(len(bias))
        self.safe = bool(bound < SAFE_EXPONENT)

    def words(self, embedded: Tensor) -> Tensor:
        """[..., E] -> [..., 4H]."""
        return embedded @ self.from_words + self.bias

    def z(self, z: Tensor) -> Tensor:
        """[R, D] -> [R, 4H]."""
        return z @ self.from_z

    def log_normaliser(self, h: Tensor) -> Tensor:
        """log sum_v exp(logit_v) for inputs of the output layer, h [R, H + F] -> [R]."""
        # the block is narrower for more rows, so that it always has about CACHED_LOGITS entries
        width = max(1, CACHED_LOGITS // len(h))
        blocks = zip(self.logits.split(width), self.logit_bias.split(width), strict=True)
        sums = [self.sum_block(torch.addmm(bias, h, weight.T)) for weight, bias in blocks]
        if len(sums) == 1:
            # in place, as nothing else needs the logits
            return sums[0].log_() if self.safe else sums[0]
        stacked = torch.stack(sums)
        return stacked.sum(0).log_() if self.safe else torch.logsumexp(stacked, 0)

    def sum_block(self, logits: Tensor) -> Tensor:
        """The sum of exponentials if that is safe, else its logarithm; [R, V] -> [R]."""
        return logits.exp_().sum(1) if self.safe else torch.logsumexp(logits, 1)


def update_state(pre: Tensor, h: Tensor, c: Tensor) -> None:
    """One LSTM step in place: `pre` [R, 4H] before the non-linearity, state h and c [R, H]."""
    i, f, o, g = pre.sigmoid_().chunk(4, 1)
    # c <- f c + i tanh(g), where tanh(g) is 2 g - 1 for this g
    # f c + i (2 g - 1) = f c + 2 i g - i
    c.mul_(f).addcmul_(i, g, value=2).sub_(i)
    # h = o tanh(c) = o (2 s(2c) - 1): the sigmoid is six times as fast as tanh
    torch.mul(c, 2, out=h).sigmoid_().mul_(2).sub_(1).mul_(o)


def rescale_features(weight: Tensor, features: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """An equal output layer whose features [R, F] lie in [-1, 1].

    A column of features that does not is divided by its largest absolute value, and the matching
    column of weight [V, H + F] is multiplied by it.
    """
    if features is None:
        return weight, None
    # at least 1, so that features already within the range stay as they are
    largest = features.abs().amax(0).clamp_min(1)
    # the columns of h are not rescaled: an LSTM's outputs lie in [-1, 1]
    scale = join_features(weight.new_ones(weight.shape[1] - len(largest)), largest)
    return weight * scale, features / largest
