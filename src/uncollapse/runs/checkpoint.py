"""Weights and the state to resume from, each with a digest of what it holds, which is checked on loading.

Files of version 0.1 have no digest; they load as they are.
"""

import hashlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uncollapse.disk import require_file, write_atomic
from uncollapse.errors import InputError, first_line
from uncollapse.runs.layout import SCHEMA

if TYPE_CHECKING:
    import torch

DIGEST_KEY = "digest"
RESTORE_HINT = "a disk or a copy has changed it; put the file back, or move the run's folder away to train it anew"


def compute_digest(value: Any) -> str:
    """Of nested tensors, numbers and text: what they are, not how a file holds them."""
    found = hashlib.sha256()
    for part in iterate_bytes(value):
        found.update(part)
    return found.hexdigest()


def iterate_bytes(value: Any) -> Iterator[bytes]:
    """The bytes of a value, in the same order for equal values."""
    import torch

    if isinstance(value, torch.Tensor):
        yield f"tensor {value.dtype} {tuple(value.shape)}".encode()
        yield value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    elif isinstance(value, Mapping):
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


def save_model(path: Path, model: Any) -> None:
    """All weights and buffers as safetensors, with their digest."""
    from safetensors.torch import save

    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()
    }
    # one entry only: safetensors writes several in any order, and equal weights are to be equal bytes
    write_atomic(path, save(tensors, metadata={DIGEST_KEY: compute_digest(tensors)}))


def load_model(path: Path, model: Any) -> None:
    """InputError when the file is damaged or belongs to another model."""
    tensors = load_tensors(path)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(
            f"{path}: not the weights of this run's model ({first_line(error)})"
        ) from error


def load_tensors(path: Path) -> "dict[str, torch.Tensor]":
    """Tensors by name. InputError when the file is damaged: cut, or with another digest than it states."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    require_file(path)
    try:
        tensors, facts = load_file(path), read_metadata(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: damaged or no weights ({first_line(error)}); {RESTORE_HINT}") from error
    if DIGEST_KEY in facts and facts[DIGEST_KEY] != compute_digest(tensors):
        raise InputError(f"{path}: damaged (its digest is not that of the weights in it); {RESTORE_HINT}")
    return tensors


def read_metadata(path: Path) -> dict[str, str]:
    """What a weights file says of itself; nothing in version 0.1."""
    from safetensors import safe_open

    with safe_open(path, framework="np") as file:
        return file.metadata() or {}


# ---------------------------------------------------------------- the state


def save_state(path: Path, state: dict) -> None:
    """Tensors, numbers and strings only, so that loading runs no code."""
    import torch

    buffer = io.BytesIO()
    state = {**state, "schema": SCHEMA}
    torch.save({**state, DIGEST_KEY: compute_digest(state)}, buffer)
    write_atomic(path, buffer.getvalue())


def load_state(path: Path) -> dict:
    """InputError when the file is damaged or not a checkpoint."""
    import torch

    require_file(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (
        Exception
    ) as error:  # torch raises half a dozen types, among them bare RuntimeError and EOFError
        raise InputError(
            f"{path}: truncated or damaged, so the run cannot be resumed; move its folder away to start anew "
            f"({type(error).__name__}: {first_line(error)})"
        ) from error
    if not isinstance(state, dict) or "step" not in state:
        raise InputError(f"{path}: not a checkpoint of a run; move its folder away to start anew")
    stated = state.pop(DIGEST_KEY, None)
    if stated is not None and stated != compute_digest(state):
        raise InputError(
            f"{path}: damaged (its digest is not that of the state in it), so the run cannot be resumed; "
            "put the file back, or move its folder away to start anew"
        )
    if state.pop("schema", SCHEMA) != SCHEMA:
        raise InputError(f"{path}: written by a newer version; update uncollapse")
    return state
