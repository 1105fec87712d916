"""One Hydra job: a run, and the report of how it ended."""

import sys
import traceback

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from uncollapse.entry import is_interrupted
from uncollapse.errors import BusyError, InputError
from uncollapse.processes import EndedElsewhere
from uncollapse.rate_search import replace_rate
from uncollapse.run import carry_out
from uncollapse.runs.rows import read_validation_objective
from uncollapse.sweep import TAKEN, note_end, note_start


def main(cfg: DictConfig) -> float | None:
    """Carry out the run of a job; its validation objective, which sweepers may minimise.

    An error of a single job ends the process with one sentence; in a sweep it is noted for the
    summary, and the other jobs go on.
    """
    hydra = HydraConfig.get()
    head, in_sweep = hydra.runtime.choices.get("head"), hydra.mode == RunMode.MULTIRUN
    # not resolved: an override may refer to another key
    task = OmegaConf.to_container(hydra.overrides.task, resolve=False)
    overrides = [str(word) for word in task or ()]
    words = " ".join(overrides)
    note_start(words)
    try:
        cfg, overrides = replace_rate(cfg, head, overrides)
        outcome = carry_out(cfg, head, overrides)
        note_end(outcome.status, words)
        return read_validation_objective(outcome.run) if outcome.run else None
    except EndedElsewhere:
        return None
    except InputError as error:
        # that another process trains the run is no error of a sweep
        is_taken = isinstance(error, BusyError)
        note_end(TAKEN if is_taken else "refused", words, str(error))
        sentence = str(error) if is_taken and in_sweep else f"error: {error}"
        print(f"[{words}] {sentence}" if in_sweep else sentence, file=sys.stderr)
        if not in_sweep:
            raise SystemExit(2) from None
    # anything else is noted, so that one failed job does not end a sweep overnight
    except (KeyboardInterrupt, Exception) as error:
        # Ctrl-C ends the sweep as well, not only this job
        if is_interrupted():
            raise
        note_end("failed", words, str(error))
        traceback.print_exc()
        print(f"failed: {words}: {error}", file=sys.stderr)
        if not in_sweep:
            raise SystemExit(1) from None
    return None
