"""Models, and the verbs that all of them share."""

from collections.abc import Iterator
from typing import Any, Protocol

from torch import Tensor, nn

from uncollapse.distributions.normal import Posterior


class Model(Protocol):
    """A VAE as procedures, metrics and the trainer see it; what a batch is stays between the model and its data. B examples, D latents."""

    posterior: nn.Module  # the head; may declare floor()

    def encode(self, batch: Any) -> Posterior: ...
    def nll(
        self, batch: Any, z: Tensor
    ) -> Tensor: ...  # z [B, D] | [n, B, D] -> -log p(x|z), [B] | [n, B] nats
    def parts(
        self,
    ) -> dict[
        str, list[nn.Parameter]
    ]: ...  # "encoder" and "decoder", for procedures that step them apart

    # what every nn.Module has
    training: bool

    def train(self, mode: bool = True) -> Any: ...
    def eval(self) -> Any: ...
    def parameters(self) -> Iterator[nn.Parameter]: ...
    def named_buffers(self) -> Iterator[tuple[str, Tensor]]: ...
    def modules(self) -> Iterator[nn.Module]: ...
    def state_dict(self) -> dict[str, Tensor]: ...
    def load_state_dict(self, state_dict: Any) -> Any: ...
