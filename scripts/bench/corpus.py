"""How do set-up time and memory grow with the corpus, without and with cached tokens?"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass

from bench.generated import TextShape, write_sentences
from bench.processes import run_module, scratch_folder
from bench.table import print_table

SENTENCE_COUNTS = (10_000, 100_000, 1_000_000, 10_000_000)
TRAINING_STEPS = 200  # at each start
TEXT_SHAPE = TextShape(20_000, mean=13, spread=6, shortest=3, longest=60)

Memory = dict[str, float]  # MB: RssAnon (the process's own), RssFile (mapped files)


@dataclass(frozen=True)
class Start:
    """What one start of the training process measured (see corpus_process.py)."""

    set_up: float  # seconds
    training: float  # seconds
    before: Memory  # after the imports
    peak: Memory
    peak_set_up: Memory


@dataclass(frozen=True)
class CorpusCost:
    """Two starts of training on one corpus."""

    sentences: int
    text_mb: float
    first: Start
    second: Start  # with the tokens in the cache


CORPUS_COLUMNS: dict[str, Callable[[CorpusCost], str]] = {
    "MB of text": lambda r: f"{r.text_mb:.1f}",
    "set-up s": lambda r: f"{r.first.set_up:.1f}",
    "s per million": lambda r: f"{1e6 * r.first.set_up / r.sentences:.1f}",
    "from cache s": lambda r: f"{r.second.set_up:.2f}",
    "peak MB, first": lambda r: f"{r.first.peak['RssAnon']:.0f}",
    "peak MB, from cache": lambda r: f"{r.second.peak['RssAnon']:.0f}",
    "of these imports": lambda r: f"{r.second.before['RssAnon']:.0f}",
    "mapped files MB": lambda r: f"{r.second.peak['RssFile'] - r.second.before['RssFile']:.0f}",
}


def measure_corpora(quick: bool) -> dict[str, CorpusCost]:
    """Generated files of ten thousand to ten million sentences.

    Memory is that of the process without mapped files (RssAnon, read every 20 ms). The kernel can
    drop pages of the mapped token arrays, so these are reported separately.
    """
    results = {}
    for sentences in SENTENCE_COUNTS[:2] if quick else SENTENCE_COUNTS:
        results[f"{sentences:,}"] = time_starts(sentences)
        print(f"{sentences:,} sentences: done", file=sys.stderr)
    title = (
        f"corpora on disk: set-up, then {TRAINING_STEPS} steps and two evaluations "
        "(anonymous memory)"
    )
    print_table(title, "sentences", CORPUS_COLUMNS, results)
    return results


def time_starts(sentences: int) -> CorpusCost:
    """Write a corpus of so many sentences and train on it twice."""
    with scratch_folder() as folder:
        text = folder / "text"
        text.mkdir()
        for split, size in {"train": sentences, "valid": 1000, "test": 1000}.items():
            write_sentences(text / f"{split}.txt", TEXT_SHAPE, size)
        megabytes = (text / "train.txt").stat().st_size / 2**20
        args = ("corpus_process", str(text), str(folder / "own"), str(TRAINING_STEPS))
        # the second start reads the tokens that the first one has cached
        outputs = [run_module(*args) for _ in range(2)]
    first, second = (Start(**json.loads(output.splitlines()[-1])) for output in outputs)
    return CorpusCost(sentences, megabytes, first, second)
