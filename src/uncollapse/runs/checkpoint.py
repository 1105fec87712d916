"""Weights and the state to resume from, as files that are either complete or not there."""

from pathlib import Path
from typing import Any

from uncollapse.disk import write_atomic
from uncollapse.errors import InputError


def save_model(path: Path, model: Any) -> None:
    """All weights and buffers as safetensors."""
    from safetensors.torch import save

    write_atomic(path, save({name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}))


def load_model(path: Path, model: Any) -> None:
    """InputError when the file is damaged or belongs to another model."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        model.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError, OSError) as error:
        raise InputError(
            f"{path}: not the weights of this run's model, or damaged ({str(error).splitlines()[0]})"
        ) from error


def save_state(path: Path, state: dict) -> None:
    """Tensors, numbers and strings only, so that loading runs no code."""
    import io

    import torch

    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomic(path, buffer.getvalue())


def load_state(path: Path) -> dict:
    """InputError when the file is truncated or not a checkpoint."""
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises half a dozen types, among them bare RuntimeError and EOFError
        raise InputError(
            f"{path}: truncated or damaged, so the run cannot be resumed; move its folder away to start anew "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'unexpected end'})"
        ) from error
    if not isinstance(state, dict) or "step" not in state:
        raise InputError(f"{path}: not a checkpoint of a run; move its folder away to start anew")
    return state
