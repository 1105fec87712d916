"""What does the evaluation after each epoch cost, relative to the epoch's training steps?"""

import statistics
from collections.abc import Callable

import torch

from bench.harness import assemble, make_harness_step
from bench.table import print_table
from bench.timing import time_cpu
from uncollapse.metrics.information import MIXTURE
from uncollapse.metrics.one_pass import evaluate, recompute_population


def measure_evaluation(quick: bool) -> dict[str, float]:
    """Shares of processor time with the default data and trainer, head=bn_tau."""
    torch.set_num_threads(1)
    parts = assemble([], "bn_tau")
    step, model, data, cfg = make_harness_step(parts), parts.model, parts.data, parts.trainer
    work: dict[str, Callable[[], object]] = {
        "training-mode row": lambda: evaluate(
            model, data, "train", "train", cfg.eval_examples, None, MIXTURE
        ),
        "population statistics": lambda: recompute_population(model, data, cfg.population),
        "validation row": lambda: evaluate(model, data, "valid", "eval", None, None, MIXTURE),
    }
    # before the timing, since the first calls also allocate buffers
    for call in work.values():
        call()  # warm up
    batches = data.batches("train", 0, 0)
    timed = [time_cpu(step, examples) for examples in batches[: 20 if quick else 100]]
    epoch = statistics.median(timed) * len(batches)
    # the fastest of three is disturbed least by other processes
    seconds = {name: min(time_cpu(call) for _ in range(3)) for name, call in work.items()}
    results = {name: value / epoch for name, value in seconds.items()}
    results["all"] = sum(seconds.values()) / epoch
    title = "evaluation, share of an epoch's training time (grammar, bn_tau)"
    print_table(title, "work", {"share": "{:.1%}".format}, results)
    return results
