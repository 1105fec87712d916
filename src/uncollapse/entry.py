"""The first lines of every command, which import nothing else: Ctrl-C ends it in one line, whatever it is doing."""

import _signal as signal  # without the enums of `signal`, whose import is a third of the time before the guard stands
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

STOPPED = 130  # the exit code that shells give to Ctrl-C
pressed = 0  # how often


def guarded(command: "Callable[[], int]") -> int:
    """The exit code of `command`, which imports by itself what it needs.

    Until it calls `working`, Ctrl-C ends the process at once: nothing has been begun, and an import that is cut raises all
    kinds of things. After it, Ctrl-C is a KeyboardInterrupt, and whatever becomes of that ends here.
    """
    guard()
    try:
        return command()
    except SystemExit:
        raise
    except BaseException:
        if not pressed:
            raise
        print("stopped; the same command goes on", file=sys.stderr)
        return STOPPED
    finally:
        handle(signal.SIGINT, leave_quietly if pressed else leave)


def guard() -> None:
    """From here on Ctrl-C ends the process in one line."""
    handle(signal.SIGINT, leave)


def call(module: str) -> int:
    """The exit code of a module's `main`, once it is imported."""

    def command() -> int:
        from importlib import import_module

        main = import_module(module).main
        working()
        return main()

    return guarded(command)


def working() -> None:
    """From here on the first Ctrl-C is a KeyboardInterrupt, so that what is open can be closed; the second ends all at once."""
    if signal.getsignal(signal.SIGINT) is leave:
        signal.signal(signal.SIGINT, interrupt)


def apart() -> None:
    """Go on in a child process that the terminal's Ctrl-C does not reach, nor the workers that it will start.

    A worker that is cut while it imports would print what it was at. This process waits, and on a signal kills them all
    at once, which runs survive; should it be killed itself, they end too.
    """
    from contextlib import suppress

    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if not child:
        os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        from threading import Thread

        Thread(target=follow, args=(parent,), daemon=True).start()
        return

    def end(number: int, _: object) -> None:
        with suppress(OSError):
            os.killpg(child, signal.SIGKILL)
        if number == signal.SIGINT:
            leave()
        os._exit(128 + number)

    with suppress(OSError):  # both do it, since neither knows who is first
        os.setpgid(child, child)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        handle(number, end)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os._exit(code if code >= 0 else 128 - code)


def follow(parent: int) -> None:
    """Wait for the end of the process that waits for this one, then end all that belongs to this one."""
    from time import sleep

    while os.getppid() == parent:
        sleep(0.2)
    os.killpg(0, signal.SIGKILL)


def handle(number: int, handler: "Callable[..., None]") -> None:
    """Set a signal's handler, unless it is ignored from outside, as nohup and a script's & want it."""
    if signal.getsignal(number) != signal.SIG_IGN:
        signal.signal(number, handler)


def leave(*_: object) -> None:
    """End the process now, in one line: no traceback, no clean-up."""
    os.write(2, b"stopped\n")
    os._exit(STOPPED)


def leave_quietly(*_: object) -> None:
    os._exit(STOPPED)


def interrupt(*_: object) -> None:
    global pressed
    pressed += 1
    if pressed > 1:
        os._exit(STOPPED)
    raise KeyboardInterrupt


def interrupted() -> bool:
    """Whether Ctrl-C is behind an exception, whatever that has become in an import."""
    return pressed > 0
