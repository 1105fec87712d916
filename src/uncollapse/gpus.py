"""The GPUs of this machine, and how runs share them. PyTorch is not imported."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from uncollapse.errors import InputError, check_integer

FRACTION = "UNCOLLAPSE_GPU_FRACTION"  # the environment variable with a run's share of the memory
VISIBLE = "CUDA_VISIBLE_DEVICES"
CONTEXT_GB = 0.6  # what CUDA itself takes for each process, outside PyTorch's count
LEAST_GB = 0.5  # a smaller share holds no model worth a GPU


@dataclass(frozen=True)
class Gpu:
    """One GPU, as the driver describes it; memory in GB."""

    index: int
    uuid: str
    total: float
    free: float


def list_gpus() -> list[Gpu]:
    """The GPUs that this process may use; none where there is no driver."""
    query = "--query-gpu=index,uuid,memory.total,memory.free"
    try:
        done = subprocess.run(
            ["nvidia-smi", query, "--format=csv,noheader,nounits"],
            capture_output=True, text=True, timeout=30, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return []
    gpus = [read_gpu(line) for line in done.stdout.splitlines()]
    if VISIBLE not in os.environ:
        return gpus
    # in the order of the variable, as CUDA numbers them
    names = [name.strip() for name in os.environ[VISIBLE].split(",") if name.strip()]
    return [gpu for name in names for gpu in gpus if name in (str(gpu.index), gpu.uuid)]


def read_gpu(line: str) -> Gpu:
    """A GPU from a line of the driver's list, which counts memory in MiB."""
    index, uuid, total, free = (word.strip() for word in line.split(","))
    return Gpu(int(index), uuid, float(total) * 2**20 / 1e9, float(free) * 2**20 / 1e9)


def share_gpus(key: str, wanted: object, per_gpu: object) -> list[dict[str, str]]:
    """The environment of each process when `per_gpu` runs share each of the `wanted` GPUs.

    `wanted` is how many, or a list of their numbers. Neighbours are on different GPUs, so that few
    processes spread over all. The memory that is free now is divided equally. InputError if there
    are not so many GPUs, or if the shares are too small.
    """
    runs = check_integer(f"{key}.per_gpu", per_gpu, 1)
    chosen = choose_gpus(f"{key}.gpus", wanted, list_gpus())
    environments = [make_environment(f"{key}.per_gpu", gpu, runs) for gpu in chosen]
    return environments * runs


def choose_gpus(key: str, wanted: object, gpus: Sequence[Gpu]) -> list[Gpu]:
    """The first `wanted` GPUs, or those with the numbers in a list."""
    allowed = (
        f"this machine has {len(gpus)}, numbered from 0" if gpus else "this machine has no GPU"
    )
    numbers = list(range(wanted)) if type(wanted) is int else wanted
    if not isinstance(numbers, Sequence) or isinstance(numbers, str) or not numbers:
        raise InputError(f"{key}={wanted}: allowed is how many, or a list of numbers; {allowed}")
    if any(type(number) is not int or not 0 <= number < len(gpus) for number in numbers):
        raise InputError(f"{key}={wanted}: {allowed}")
    if len(set(numbers)) < len(numbers):
        raise InputError(f"{key}={wanted}: a number stands there twice")
    return [gpus[number] for number in numbers]


def make_environment(key: str, gpu: Gpu, runs: int) -> dict[str, str]:
    """What a process finds in its environment that is one of `runs` on a GPU."""
    if runs == 1:
        return {VISIBLE: gpu.uuid}
    share = gpu.free / runs - CONTEXT_GB
    if share < LEAST_GB:
        raise InputError(
            f"{key}={runs}: GPU {gpu.index} has {gpu.free:.1f} of {gpu.total:.1f} GB free, which "
            f"leaves each run {max(share, 0):.1f} GB; allowed is what leaves {LEAST_GB} GB"
        )
    return {VISIBLE: gpu.uuid, FRACTION: f"{share / gpu.total:.4f}"}
