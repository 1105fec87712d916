"""The first code of every command, so that Ctrl-C ends it with one line and no traceback.

Only three tiny modules are imported here, so that Ctrl-C is handled while the rest is imported.
"""

# `signal` itself builds enums, which would take a third of the time until Ctrl-C is handled
import _signal as signal
import os
import sys

TYPE_CHECKING = False  # importing typing would take longer than this module
if TYPE_CHECKING:
    from collections.abc import Callable

EXIT_INTERRUPTED = 130  # the exit code of shells after Ctrl-C
interrupt_count = 0  # how often Ctrl-C was pressed since `enable_clean_stop`


def run_guarded(command: "Callable[[], int]") -> int:
    """The exit code of `command`, which imports what it needs itself.

    Until it calls `enable_clean_stop`, Ctrl-C ends the process at once: no work has started, and an
    interrupted import can raise any exception. Afterwards Ctrl-C raises KeyboardInterrupt, and
    whatever exception that turns into is caught here.
    """
    # before the import of the command, which takes seconds
    install_guard()
    try:
        return command()
    except SystemExit:
        raise
    except BaseException:
        if not interrupt_count:
            raise
        print("stopped; the same command continues the work", file=sys.stderr)
        return EXIT_INTERRUPTED
    finally:
        # the interpreter's own shutdown may still take a while
        set_handler(signal.SIGINT, exit_silently if interrupt_count else exit_with_notice)


def install_guard() -> None:
    """From now on Ctrl-C ends the process with one line."""
    set_handler(signal.SIGINT, exit_with_notice)


def run_main(module: str, clean_stop: bool = True) -> int:
    """The exit code of a module's `main`; Ctrl-C is handled while the module is imported, too.

    Without `clean_stop` the module enables it itself, once its own imports are over.
    """

    def command() -> int:
        from importlib import import_module

        # imports are over: from here on, an exception can be handled
        main = import_module(module).main
        if clean_stop:
            enable_clean_stop()
        return int(main())

    return run_guarded(command)


def enable_clean_stop() -> None:
    """From now on the first Ctrl-C raises KeyboardInterrupt, so that open files can be closed.

    The second one ends the process at once.
    """
    # only once: a second call must not reset a pending interruption
    if signal.getsignal(signal.SIGINT) is exit_with_notice:
        signal.signal(signal.SIGINT, raise_interrupt)


def continue_in_child() -> None:
    """Continue in a child process. The terminal's Ctrl-C reaches neither it nor its workers.

    A worker interrupted during its imports would print a traceback. The parent waits; on a signal
    it kills the child and all workers at once, and their runs can be resumed. If the parent is
    killed, the child ends as well.
    """
    from contextlib import suppress

    parent = os.getpid()
    # otherwise both processes would print the buffered text
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if not child:
        os.setpgid(0, 0)  # a group of its own: the terminal signals only that of the parent
        # the parent decides about Ctrl-C; the default action ends the child if it is signalled
        # alone
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        from threading import Thread

        # a daemon thread, so that it does not keep the finished child alive
        Thread(target=watch_parent, args=(parent,), daemon=True).start()
        return

    def kill_child(number: int, _: object) -> None:
        with suppress(OSError):
            # the group contains the child and all of its workers
            os.killpg(child, signal.SIGKILL)
        if number == signal.SIGINT:
            exit_with_notice()
        os._exit(128 + number)

    with suppress(OSError):  # parent and child both set the group, as either may come first
        os.setpgid(child, child)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        set_handler(number, kill_child)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    os._exit(code if code >= 0 else 128 - code)  # as a shell reports death by a signal


def watch_parent(parent: int) -> None:
    """Wait until the parent process has ended, then kill this process and its workers."""
    wait_for_parent(parent)
    os.killpg(0, signal.SIGKILL)


def wait_for_parent(parent: int) -> None:
    """Return when the parent process has ended."""
    from time import sleep

    # an orphan gets another parent; polling works on every Unix
    while os.getppid() == parent:
        sleep(0.2)


def set_handler(number: int, handler: "Callable[..., None]") -> None:
    """Set a signal's handler, unless the signal is ignored, as under nohup or for `command &`."""
    if signal.getsignal(number) != signal.SIG_IGN:
        signal.signal(number, handler)


def exit_with_notice(*_: object) -> None:
    """End the process now, with one line: no traceback, no clean-up."""
    # os.write, since a signal may arrive in the middle of a print, whose lock is not re-entrant
    os.write(2, b"stopped\n")
    os._exit(EXIT_INTERRUPTED)


def exit_silently(*_: object) -> None:
    os._exit(EXIT_INTERRUPTED)


def raise_interrupt(*_: object) -> None:
    global interrupt_count
    interrupt_count += 1
    # the second Ctrl-C: clean-up hangs, or the user will not wait
    if interrupt_count > 1:
        os._exit(EXIT_INTERRUPTED)
    raise KeyboardInterrupt


def is_interrupted() -> bool:
    """Whether Ctrl-C was pressed; an interrupted import may have turned it into any exception."""
    return interrupt_count > 0
