"""Processes the blocks of a source on all cores, and shows the progress."""

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from uncollapse.data.blocks import Block, Source

In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True)
class Passes:
    """The threads that work on blocks; Arrow releases Python's lock, so they use all cores.

    ahead: blocks that may be in work beyond the one whose result is next. block: bytes of text in a
    block. advance: is called with each amount of the source that is done.
    """

    pool: ThreadPoolExecutor
    ahead: int
    block: int
    advance: Callable[[int], None]

    def over(self, source: Source, work: Callable[[Block], Out]) -> Iterator[Out]:
        """work(block) of every block in order, with few blocks in memory at a time."""
        last = 0
        for end, result in map_in_order(
            self.pool, lambda block: (block.end, work(block)), source.blocks(self.block), self.ahead
        ):
            yield result
            self.advance(end - last)
            last = end


def map_in_order(
    pool: ThreadPoolExecutor, work: Callable[[In], Out], items: Iterable[In], ahead: int
) -> Iterator[Out]:
    """work(item) of each item in order, at most `ahead` + 1 at a time.

    The error of an item is raised when its turn comes.
    """
    waiting: deque[Future[Out]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            # waiting for the oldest result keeps the order, and limits what is in memory
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    # on an error or an early exit, do not let queued items run on
    finally:
        for future in waiting:
            future.cancel()


@contextmanager
def show_block_progress(total: int) -> Iterator[Callable[[int], None]]:
    """Yields a function to call with each amount done: a bar, on a terminal only."""
    # a bar in a log file would be thousands of lines
    if not sys.stderr.isatty():
        yield lambda amount: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("tokenising", total=total)
        yield lambda amount: bar.advance(task, amount)
