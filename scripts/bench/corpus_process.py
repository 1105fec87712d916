"""Trains on the text files of a folder and watches its own memory; prints one JSON object.

    python -m bench.corpus_process TEXT_FOLDER OWN_FOLDER STEPS

It runs in a fresh process, so that the memory is that of this corpus alone.
"""

import json
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch

from bench.harness import assemble, assemble_trainer
from bench.timing import time_wall
from uncollapse.building import Parts
from uncollapse.json_types import JsonObject
from uncollapse.runs.layout import Run

KINDS = ("RssAnon", "RssFile")
SMALL_MODEL = ("model.embedding=32", "model.hidden=32", "model.latent=8")


class MemoryWatch(threading.Thread):
    """Reads the memory of this process every 20 ms and keeps the largest values, in MB."""

    def __init__(self) -> None:
        # a daemon, so that it does not keep the process alive after the measurement
        super().__init__(daemon=True)
        self.peak = dict.fromkeys(KINDS, 0.0)

    def run(self) -> None:
        while True:
            now = read_memory()
            self.peak = {kind: max(self.peak[kind], now[kind]) for kind in KINDS}
            time.sleep(0.02)


def read_memory() -> dict[str, float]:
    """MB in use now, by kind."""
    # each line is "Name:   number kB"
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {kind: int(lines[kind].split()[0]) / 1024 for kind in KINDS}


def measure_start(text: Path, own: Path, steps: int) -> JsonObject:
    """Set up and train on the files in `text`; caches and runs are below `own`."""
    # more threads would add allocator arenas, and so memory that depends on the machine
    torch.set_num_threads(1)
    # the imports alone take hundreds of MB, which are no cost of the corpus
    before = read_memory()
    watch = MemoryWatch()
    watch.start()
    files = [f"data.{split}={text / split}.txt" for split in ("train", "valid", "test")]
    overrides = ["data=text", f"data.cache={own}", *files, *SMALL_MODEL]
    parts, set_up = time_wall(lambda: assemble([*overrides, f"trainer.max_steps={steps}"]))
    peak_set_up = watch.peak
    _, training = time_wall(lambda: train_briefly(parts, own))
    return {
        "set_up": set_up,
        "training": training,
        "before": before,
        "peak": watch.peak,
        "peak_set_up": peak_set_up,
    }


def train_briefly(parts: Parts, folder: Path) -> None:
    """A training with its evaluations and checkpoints, in a new folder below `folder`."""
    run = Run(Path(tempfile.mkdtemp(dir=folder)))
    assemble_trainer(parts, run).fit()


if __name__ == "__main__":
    text_folder, own_folder, step_count = sys.argv[1:]
    print(json.dumps(measure_start(Path(text_folder), Path(own_folder), int(step_count))))
