"""A process that has imported the package and forks a child for each command it is sent.

Importing torch and Hydra takes seconds, a fork takes none. Requests and answers are lines of JSON.
"""

import importlib
import json
import os
import runpy
import sys

MODULES = ("torch", "hydra", "pandas", "uncollapse.run", "uncollapse.evaluation.command", "numba")


def serve() -> None:
    """Answer requests; in a child, return to run its command."""
    for name in MODULES:
        importlib.import_module(name)
    # compiled kernels take half a second to load
    operations = importlib.import_module("uncollapse.models.operations")
    operations.choose_operations(importlib.import_module("torch").float32)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if not child:
            return become(request)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    os._exit(0)


def become(request: dict) -> None:
    """Take over the words, folder, environment and output files of a request."""
    for number, path in enumerate((os.devnull, request["out"], request["err"])):
        file = os.open(path, os.O_RDWR | os.O_CREAT)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.path[0] = request["folder"]
    sys.argv = request["words"]


if __name__ == "__main__":
    serve()
    runpy.run_path(sys.argv[0], run_name="__main__")
