"""Clocks: processor time of a call, wall time of a call, and both for a command."""

import os
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from bench.processes import run_quietly

Result = TypeVar("Result")

MATRIX_SIDE = 1024  # of square matrices, whose product measures the machine's current speed


def time_cpu(work: Callable[..., object], *args: object) -> float:
    """Processor seconds of a call on one thread; waiting for other processes is not counted."""
    start = time.process_time()
    work(*args)
    return time.process_time() - start


def time_wall(work: Callable[[], Result]) -> tuple[Result, float]:
    """The result of a call, and its wall seconds."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def time_command(words: Sequence[str]) -> float:
    """Wall seconds of a command from start to end."""
    return time_wall(lambda: run_quietly(words))[1]


def time_command_and_children(words: Sequence[str]) -> tuple[float, float]:
    """Wall seconds of a command, and the processor seconds of all its processes."""
    before = os.times()
    wall = time_command(words)
    after = os.times()
    user = after.children_user - before.children_user
    return wall, user + after.children_system - before.children_system


def time_matrix_product(repeats: int) -> list[float]:
    """Processor seconds of products of two MATRIX_SIDE x MATRIX_SIDE matrices."""
    square = torch.randn(MATRIX_SIDE, MATRIX_SIDE)
    return [time_cpu(torch.mm, square, square) for _ in range(repeats)]


def product_flops() -> int:
    """Floating-point operations of one such product."""
    return 2 * MATRIX_SIDE**3
