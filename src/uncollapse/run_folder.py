"""The folder of a run while it is trained: what is written before training, and on a failure."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from omegaconf import OmegaConf

from uncollapse.building import Parts
from uncollapse.entry import interrupted
from uncollapse.errors import InputError
from uncollapse.request import Request
from uncollapse.runs.layout import CONFIG, DATA, FAILED, VOCABULARY
from uncollapse.runs.results import text


@contextmanager
def open_folder(request: Request, parts: Parts) -> Iterator[None]:
    """Create the run folder or continue in it, locked against other processes.

    An exception inside is written to `failed` and raised again. A full disk or an interrupt is no
    failure of the run: the folder stays resumable.
    """
    run = request.run
    try:
        run.folder.mkdir(parents=True, exist_ok=True)
        with run.lock():
            if not run.exists:
                if listing := parts.data.listing():
                    run.write(VOCABULARY, data=listing.encode())
                run.write(DATA, data=text(parts.data.facts()))
                config = OmegaConf.to_yaml(OmegaConf.create(request.config))
                run.write(CONFIG, data=f"# {request.command}\n{config}".encode())
            run.set_aside(FAILED)
            yield
    except InputError:
        raise
    except OSError as error:
        raise InputError(
            f"{error.filename or run.folder}: cannot write there ({error.strerror}); no file is "
            "half written: make room and give the same command to go on"
        ) from error
    except Exception as error:
        if interrupted():
            raise
        report = "".join(traceback.format_exception(error))
        if isinstance(error, FloatingPointError):
            report += f"{error}\n"
        run.write(FAILED, data=report.encode())
        raise
