"""The first lines of every command, which import nothing else: Ctrl-C ends it in one line, whatever it is doing."""

import _signal as signal  # without the enums of `signal`, whose import is a third of the time before the guard stands
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

EXIT_INTERRUPTED = 130  # the exit code that shells give to Ctrl-C
interrupt_count = 0  # how often


def run_guarded(command: "Callable[[], int]") -> int:
    """The exit code of `command`, which imports by itself what it needs.

    Until it calls `working`, Ctrl-C ends the process at once: nothing has been begun, and an import that is cut raises all
    kinds of things. After it, Ctrl-C is a KeyboardInterrupt, and whatever becomes of that ends here.
    """
    install_guard()
    try:
        return command()
    except SystemExit:
        raise
    except BaseException:
        if not interrupt_count:
            raise
        print("stopped; the same command goes on", file=sys.stderr)
        return EXIT_INTERRUPTED
    finally:
        set_handler(signal.SIGINT, exit_silently if interrupt_count else exit_with_notice)


def install_guard() -> None:
    """From here on Ctrl-C ends the process in one line."""
    set_handler(signal.SIGINT, exit_with_notice)


def run_main(module: str) -> int:
    """The exit code of a module's `main`, once it is imported."""

    def command() -> int:
        from importlib import import_module

        main = import_module(module).main
        enable_clean_stop()
        return main()

    return run_guarded(command)


def enable_clean_stop() -> None:
    """From here on the first Ctrl-C is a KeyboardInterrupt, so that what is open can be closed; the second ends all at once."""
    if signal.getsignal(signal.SIGINT) is exit_with_notice:
        signal.signal(signal.SIGINT, raise_interrupt)


def continue_in_child() -> None:
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

        Thread(target=watch_parent, args=(parent,), daemon=True).start()
        return

    def end(number: int, _: object) -> None:
        with suppress(OSError):
            os.killpg(child, signal.SIGKILL)
        if number == signal.SIGINT:
            exit_with_notice()
        os._exit(128 + number)

    with suppress(OSError):  # both do it, since neither knows who is first
        os.setpgid(child, child)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        set_handler(number, end)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os._exit(code if code >= 0 else 128 - code)


def watch_parent(parent: int) -> None:
    """Wait for the end of the process that waits for this one, then end all that belongs to this one."""
    from time import sleep

    while os.getppid() == parent:
        sleep(0.2)
    os.killpg(0, signal.SIGKILL)


def set_handler(number: int, handler: "Callable[..., None]") -> None:
    """Set a signal's handler, unless it is ignored from outside, as nohup and a script's & want it."""
    if signal.getsignal(number) != signal.SIG_IGN:
        signal.signal(number, handler)


def exit_with_notice(*_: object) -> None:
    """End the process now, in one line: no traceback, no clean-up."""
    os.write(2, b"stopped\n")
    os._exit(EXIT_INTERRUPTED)


def exit_silently(*_: object) -> None:
    os._exit(EXIT_INTERRUPTED)


def raise_interrupt(*_: object) -> None:
    global interrupt_count
    interrupt_count += 1
    if interrupt_count > 1:
        os._exit(EXIT_INTERRUPTED)
    raise KeyboardInterrupt


def is_interrupted() -> bool:
    """Whether Ctrl-C is behind an exception, whatever that has become in an import."""
    return interrupt_count > 0
