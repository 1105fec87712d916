"""The folder of a run during training: the files written before it, and on a failure."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from omegaconf import OmegaConf

from uncollapse.building import Parts
from uncollapse.entry import is_interrupted
from uncollapse.errors import InputError
from uncollapse.request import Request
from uncollapse.runs.heartbeat import Heartbeat
from uncollapse.runs.layout import CONFIG, DATA, FAILED, VOCABULARY
from uncollapse.runs.results import dump_json


@contextmanager
def open_folder(request: Request, parts: Parts) -> Iterator[Heartbeat]:
    """Create the run folder or continue in it, locked against other processes and machines.

    Yields the signs of life that are given in it. BusyError if another process works on the run.

    An exception inside is written to `failed` and raised again. A full disk or an interrupt is no
    failure of the run: the folder stays resumable.
    """
    run = request.run
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
        with run.lock(), Heartbeat(run.folder) as heartbeat:
            # a resumed run keeps the files it was started with
            if not run.exists:
                if listing := parts.data.listing():
                    run.write(VOCABULARY, data=listing.encode())
                run.write(DATA, data=dump_json(parts.data.facts()))
                config = OmegaConf.to_yaml(OmegaConf.create(request.config))
                # the config last: it marks the run as started, so the others must exist
                run.write(CONFIG, data=f"# {request.command}\n{config}".encode())
            run.set_aside(FAILED)  # of an earlier attempt
            yield heartbeat
    except InputError:
        raise
    except OSError as error:
        raise InputError(
            f"{error.filename or run.folder}: cannot write there ({error.strerror}); no file is "
            "incomplete: free some space and repeat the command to continue"
        ) from error
    except Exception as error:
        # an interrupt may surface as any exception, and is no failure of the run
        if is_interrupted():
            raise
        report = "".join(traceback.format_exception(error))
        # the last line, which `read_failure` returns, is then the sentence without the type
        if isinstance(error, FloatingPointError):
            report += f"{error}\n"
        run.write(FAILED, data=report.encode())
        raise
