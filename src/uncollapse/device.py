"""What the machine offers a run: its device, memory, and cores."""

import ctypes
import os
import resource
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from uncollapse.errors import InputError, check_choice
from uncollapse.gpus import FRACTION

if TYPE_CHECKING:
    import torch

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # from glibc's malloc.h


def pick_device(name: object) -> "torch.device":
    """The device for auto, cpu or cuda. InputError when it is unknown or not available."""
    import torch

    if str(name).lower() in ("gpu", "nvidia"):
        raise InputError(f"device={name}: did you mean cuda? allowed are auto, cpu, cuda")
    check_choice("device", name, ("auto", "cpu", "cuda"))
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise InputError(
            "device=cuda: no CUDA device is available; allowed on this machine are auto, cpu"
        )
    device = torch.device("cuda" if available and name != "cpu" else "cpu")
    if device.type == "cuda" and FRACTION in os.environ:
        # beyond it PyTorch raises an error, and runs beside this one keep their memory
        torch.cuda.set_per_process_memory_fraction(float(os.environ[FRACTION]))
    return device


def identify_gpu(device: "torch.device") -> dict[str, str]:
    """`gpu` and `gpu_id`: which card a device is; nothing for the CPU."""
    if device.type != "cuda":
        return {}
    import torch

    properties = torch.cuda.get_device_properties(device)
    return {"gpu": properties.name, "gpu_id": f"GPU-{properties.uuid}"}


def gradients_in_evaluation(device: "torch.device") -> AbstractContextManager[None]:
    """While open, recurrent layers have gradients in evaluation mode on `device` too.

    cuDNN's have none. The flag is global, so it is left alone on the CPU, where other threads may
    evaluate at the same time.
    """
    import torch

    if device.type != "cuda":
        return nullcontext()
    off: AbstractContextManager[None] = torch.backends.cudnn.flags(enabled=False)
    return off


def peak_memory(device: "torch.device") -> float:
    """The peak memory of this process (on a GPU: of its tensors), in MiB.

    Runs in the same process share this maximum.
    """
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def keep_freed_memory() -> None:
    """Let this process use the memory again that it frees, instead of returning it to the system.

    A step allocates and frees the same large tensors as the one before. glibc maps memory for each
    of them, which the system fills with zeros first: a quarter of a step with 4,000 words. Other C
    libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)  # no mapping of its own for anything
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)  # and nothing is returned below 2 GiB at the end


def count_available_cores() -> int:
    """The cores that this process may use; on systems other than Linux, all of the machine."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
