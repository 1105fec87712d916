"""Progress of a long evaluation: a bar on a terminal, otherwise a line every 30 seconds."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SECONDS_BETWEEN_LINES = 30


@contextmanager
def show_group_progress(
    name: str, say: Callable[[str], None], total: int, done: int
) -> Iterator[Callable[[], None]]:
    """Yield a function to call after each further group; `done` of the `total` are complete."""
    # a bar in a log file would be thousands of lines
    if not sys.stderr.isatty():
        yield line_printer(name, say, total, done)
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=total, completed=done)
        yield lambda: bar.advance(task)


def line_printer(
    name: str, say: Callable[[str], None], total: int, done: int
) -> Callable[[], None]:
    """A function that counts calls and now and then prints the time left."""
    start = last = time.monotonic()
    count = done

    def advance() -> None:
        nonlocal count, last
        count += 1
        now = time.monotonic()
        if now - last > SECONDS_BETWEEN_LINES:
            last = now
            # only the groups of this call count, as earlier ones took no time now
            left = (now - start) / (count - done) * (total - count)
            say(f"{name}: {count} of {total} groups, {left:.0f} s left")

    return advance
