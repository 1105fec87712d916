"""Weights, and the state to resume from; each file holds a digest that is checked on loading.

Files of version 0.1 have no digest; they are loaded unchecked.
"""

import hashlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from uncollapse.disk import require_plain_file, write_atomic
from uncollapse.errors import InputError, first_line
from uncollapse.runs.layout import SCHEMA

if TYPE_CHECKING:
    import torch

DIGEST_KEY = "digest"
RESTORE_HINT = (
    "a disk or a copy has changed it; restore the file, "
    "or move the run's folder away to train it from scratch"
)


class HasWeights(Protocol):
    """The methods of a model that saving and loading need."""

    def state_dict(self) -> "dict[str, torch.Tensor]": ...
    def load_state_dict(self, state_dict: "dict[str, torch.Tensor]") -> object: ...


def compute_digest(value: object) -> str:
    """SHA-256 of nested tensors, numbers and text; independent of how a file stores them."""
    digest = hashlib.sha256()
    for chunk in iterate_bytes(value):
        digest.update(chunk)
    return digest.hexdigest()


def iterate_bytes(value: object) -> Iterator[bytes]:
    """The bytes of a value, in the same order for equal values."""
    import torch

    if isinstance(value, torch.Tensor):
        # dtype and shape too: equal bytes of another shape are another tensor
        yield f"tensor {value.dtype} {tuple(value.shape)}".encode()
        # viewed as bytes, which works for every dtype, bfloat16 included
        yield value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    elif isinstance(value, Mapping):
        # keys may be of several types, such as optimizer states by number; so sorted as text
        for key in sorted(value, key=repr):
            yield f"key {key!r}".encode()
            yield from iterate_bytes(value[key])
    elif isinstance(value, list | tuple):
        yield f"list {len(value)}".encode()
        for item in value:
            yield from iterate_bytes(item)
    else:
        yield repr(value).encode()


# ---------------------------------------------------------------- weights


def save_model(path: Path, model: HasWeights) -> None:
    """Save all weights and buffers as safetensors, with their digest."""
    from safetensors.torch import save

    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()
    }
    # one metadata entry only: safetensors writes several in any order, and equal weights must
    # give equal bytes
    write_atomic(path, save(tensors, metadata={DIGEST_KEY: compute_digest(tensors)}))


def load_model(path: Path, model: HasWeights) -> None:
    """Load weights into `model`. InputError if the file is damaged or of another model."""
    tensors = load_tensors(path)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(
            f"{path}: not the weights of this run's model ({first_line(error)})"
        ) from error


def load_tensors(path: Path) -> "dict[str, torch.Tensor]":
    """Tensors by name. InputError if the file is truncated, or differs from its own digest."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    require_plain_file(path)
    try:
        tensors, metadata = load_file(path), read_metadata(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f"{path}: damaged, or not a file of weights ({first_line(error)}); {RESTORE_HINT}"
        ) from error
    if DIGEST_KEY in metadata and metadata[DIGEST_KEY] != compute_digest(tensors):
        raise InputError(f"{path}: damaged (its weights do not match its digest); {RESTORE_HINT}")
    return tensors


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a weights file; empty for version 0.1."""
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:  # numpy: reading metadata needs no torch
        return file.metadata() or {}


# ---------------------------------------------------------------- state to resume from


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Save tensors, numbers and strings only, so that loading cannot run code."""
    import torch

    buffer = io.BytesIO()
    # the schema is part of what the digest covers
    state = {**state, "schema": SCHEMA}
    torch.save({**state, DIGEST_KEY: compute_digest(state)}, buffer)
    write_atomic(path, buffer.getvalue())


def load_state(path: Path) -> dict[str, Any]:
    """The state that `save_state` wrote. InputError if the file is damaged or something else."""
    import torch

    require_plain_file(path)
    try:
        # weights_only: a checkpoint from someone else must not run code
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types, among them RuntimeError and EOFError
        raise InputError(
            f"{path}: truncated or damaged, so the run cannot be resumed; move its folder away to "
            f"start from scratch ({type(error).__name__}: {first_line(error)})"
        ) from error
    if not isinstance(state, dict) or "step" not in state:
        raise InputError(
            f"{path}: not a checkpoint of a run; move its folder away to start from scratch"
        )
    # checkpoints of version 0.1 state no digest
    stated = state.pop(DIGEST_KEY, None)
    if stated is not None and stated != compute_digest(state):
        raise InputError(
            f"{path}: damaged (its state does not match its digest), so the run cannot be resumed; "
            "restore the file, or move its folder away to start from scratch"
        )
    # checkpoints without a schema have the first one
    if state.pop("schema", SCHEMA) != SCHEMA:
        raise InputError(f"{path}: written by a newer version; update uncollapse")
    return state
