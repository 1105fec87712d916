"""The first lines of every command, which import nothing: Ctrl-C ends it in one line, whatever it is doing."""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

STOPPED = 130  # the exit code that shells give to Ctrl-C
pressed = 0  # how often


def guarded(command: Callable[[], int]) -> int:
    """The exit code of `command`, which imports what it needs by itself.

    Until it calls `working`, Ctrl-C ends the process at once: nothing has been begun, and an import that is interrupted
    half way raises all kinds of things. After it, Ctrl-C is a KeyboardInterrupt, and whatever becomes of that ends here.
    """
    signal.signal(signal.SIGINT, leave)
    try:
        return command()
    except BaseException:
        if not pressed:
            raise
        print("stopped", file=sys.stderr)
        return STOPPED
    finally:
        signal.signal(signal.SIGINT, leave_quietly if pressed else leave)


def call(module: str) -> int:
    """The exit code of a module's `main`, once it is imported."""

    def command() -> int:
        from importlib import import_module

        main = import_module(module).main
        working()
        return main()

    return guarded(command)


def working() -> None:
    """From here on Ctrl-C is a KeyboardInterrupt, so that what is open can be closed; the second time it ends all at once."""
    if signal.getsignal(signal.SIGINT) is leave:
        signal.signal(signal.SIGINT, interrupt)


def leave(*_: Any) -> None:
    """End the process now, in one line: no traceback, no clean-up."""
    os.write(2, b"stopped\n")
    os._exit(STOPPED)


def leave_quietly(*_: Any) -> None:
    os._exit(STOPPED)


def interrupt(*_: Any) -> None:
    global pressed
    pressed += 1
    if pressed > 1:
        os._exit(STOPPED)
    raise KeyboardInterrupt
