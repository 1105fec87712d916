"""A process that has imported everything, and forks and possibly kills a child for each command.

Requests and answers are lines of JSON. A child is killed by SIGKILL after `delay` seconds, or exits
at its `event`-th disk operation.
"""

import builtins
import gc
import importlib
import io
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from conftest import composed

from uncollapse.runs.provenance import find_provenance

CUT = 77  # exit code of a child that ended at an event


def serve() -> None:
    modules: list[str] = []
    for line in sys.stdin:
        request = json.loads(line)
        for name in modules:
            with suppress(Exception):
                importlib.import_module(name)
        answer = forked(request)
        modules = json.loads(Path(request["modules"]).read_text()) if "modules" in request else []
        print(json.dumps(answer), flush=True)


def forked(request: dict[str, Any]) -> dict[str, Any]:
    """Exit code and seconds of a child."""
    if "train" in request:  # slow imports and caches are loaded once, not in each child
        config(*request["train"])
        find_provenance()
    gc.freeze()
    start = time.monotonic()
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os._exit(code_of(request))
    end = start + request.get("delay", 1e9)
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() >= end:
            os.kill(child, signal.SIGKILL)
            ended = os.waitpid(child, 0)
            break
        time.sleep(0.0005)
    return {"code": os.waitstatus_to_exitcode(ended[1]), "seconds": time.monotonic() - start}


def code_of(request: dict[str, Any]) -> int:
    events = cut_at(request.get("event"))
    code = (
        train(request["train"], request["results"])
        if "train" in request
        else evaluate(request["evaluate"])
    )
    if "modules" in request:
        Path(request["modules"]).write_text(json.dumps([*sys.modules]))
    if "events" in request:
        Path(request["events"]).write_text(str(events()))
    return code


def train(words: list[str], results: str) -> int:
    from uncollapse.run import run

    cfg = config(*words).copy()
    cfg.results = results
    return 0 if run(cfg, words[0].removeprefix("head="), words[1:]) in ("done", "skipped") else 1


@cache
def config(*words: str) -> Any:
    return composed(*words)


def evaluate(words: list[str]) -> int:
    from uncollapse.evaluation.command import main

    return main(words)


def cut_at(event: int | None) -> Callable[[], int]:
    """End this process before its `event`-th rename, sync or opening for writing.

    Returns a function that gives the current count.
    """
    count = 0

    def guarded(honest: Callable[..., Any], changes: Callable[..., bool]) -> Callable[..., Any]:
        def call(*words: Any, **more: Any) -> Any:
            nonlocal count
            if changes(*words, **more):
                if count == event:
                    os._exit(CUT)
                count += 1
            return honest(*words, **more)

        return call

    def writes(file: Any, mode: str = "r", *_: Any, **__: Any) -> bool:
        return isinstance(file, str | os.PathLike) and any(letter in mode for letter in "wax")

    os.replace = guarded(os.replace, lambda *_: True)  # type: ignore[assignment]
    os.fsync = guarded(os.fsync, lambda *_: True)  # type: ignore[assignment]
    builtins.open = io.open = guarded(io.open, writes)  # type: ignore[assignment]
    return lambda: count


if __name__ == "__main__":
    serve()
