"""Speed, as ratios within one run.

    python scripts/bench.py [training|heads|likelihood|mixture|evaluation|startup|report|sweep|corpus|all] [--json FILE] [--quick]
    python scripts/bench.py heads --heads bn_mu,aggressive --study results/compare

Machines differ and other processes disturb them. So training steps run on one thread and are timed by its own clock,
alternatives take turns step by step, and what counts is the median of the paired ratios. Whole commands are timed by
the wall clock.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from uncollapse.entry import install_guard

    install_guard()

import copy
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import yaml
from hydra import compose, initialize_config_dir
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from uncollapse.arguments import Parser
from uncollapse.building import Parts, prepare
from uncollapse.config import CONF, heads, knobs_of
from uncollapse.data.corpus import BOS, EOS, PAD, SPECIALS, Corpus, make_batch
from uncollapse.data.text import TextData
from uncollapse.disk import write_atomic
from uncollapse.entry import enable_clean_stop, run_guarded
from uncollapse.errors import InputError
from uncollapse.knobs import check_head
from uncollapse.metrics.information import gains
from uncollapse.metrics.likelihood import importance_weighted, log_weights
from uncollapse.metrics.one_pass import evaluate, recompute_population
from uncollapse.posteriors import DiagonalGaussian
from uncollapse.runs.identity import compute_identity
from uncollapse.runs.layout import (
    CONFIG,
    DATA,
    DONE,
    ROWS_FILE,
    SUMMARY,
    Run,
    find_runs,
    locate_run,
)
from uncollapse.runs.reading import read_config
from uncollapse.runs.results import read_summary
from uncollapse.runs.rows import Record, last_test_row, read_run_rows
from uncollapse.runs.study import read_runs
from uncollapse.training.trainer import MIXTURE, Trainer

ROOT = Path(__file__).resolve().parents[1]
TRAIN, REPORT = (
    [sys.executable, str(ROOT / "train.py")],
    [sys.executable, str(ROOT / "scripts/report.py")],
)


@dataclass(frozen=True)
class Size:
    """A model, and data to train on: `words` are the arguments of `generated`, None stands for the grammar."""

    overrides: tuple[str, ...]
    steps: int
    quick: int
    warm_up: int
    words: tuple[int, float, float, int, int] | None = None


SIZES = {
    "grammar": Size(("data=grammar", "model=lstm"), steps=150, quick=30, warm_up=10),
    "ptb": Size(("model=lstm_ptb", "data.batch_size=32"), 60, 12, 3, (10_000, 21, 10, 1, 82)),
    "published": Size(
        ("model=lstm_published", "data.batch_size=32"), 6, 2, 1, (20_000, 79, 42, 10, 200)
    ),
}


# ---------------------------------------------------------------- the harness's step


def assemble(overrides: Sequence[str], head: str = "plain", data: TextData | None = None) -> Parts:
    """What train.py builds for these overrides, on `data` instead of the config's when given."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=[f"head={head}", *overrides])
    return prepare(
        cfg, head, None if data is None else replace(data, batch_size=cfg.data.batch_size)
    )


def trainer_of(parts: Parts) -> Trainer:
    """As a run makes it, but for the files that only evaluations write."""
    nothing: Any = None
    parts.model.train()
    return Trainer(
        parts.trainer,
        parts.model,
        parts.data,
        parts.objective,
        parts.procedure,
        Run(Path()),
        nothing,
        0,
        nothing,
    )


def harness_step(parts: Parts, start: int = 0) -> Callable[[np.ndarray], None]:
    """examples -> None: one training step as the trainer makes it, batch making included; `start` steps lie behind."""
    trainer = trainer_of(parts)
    trainer.training.step = start

    def step(examples: np.ndarray) -> None:
        batch = parts.data.batch("train", examples)
        loss = parts.procedure.step(trainer.training, batch)
        if hasattr(parts.objective, "update"):
            parts.objective.update(loss)
        trainer.training.step += 1

    return step


def orders(data: TextData) -> Iterator[np.ndarray]:
    """Batches of the training split, epoch after epoch."""
    epoch = 0
    while True:
        yield from data.batches("train", 0, epoch)
        epoch += 1


# ---------------------------------------------------------------- the textbook's step


def textbook_step(parts: Parts) -> Callable[[np.ndarray], None]:
    """The same for the loop one finds in tutorials."""
    model = copy.deepcopy(parts.model).train()
    sentences = with_end(parts.data.corpora["train"])
    optimizer = torch.optim.Adam(model.parameters(), lr=parts.trainer.lr)

    def step(examples: np.ndarray) -> None:
        tokens, lengths = textbook_batch(sentences, examples)
        noise = torch.randn(len(tokens), model.decoder.cell.in_features)
        optimizer.zero_grad()
        textbook_loss(model, tokens, lengths, noise).backward()
        nn.utils.clip_grad_norm_(model.parameters(), parts.trainer.clip)
        optimizer.step()

    return step


def with_end(corpus: Corpus) -> list[Tensor]:
    """Each sentence as a tensor that ends in end-of-sentence."""
    pairs = zip(corpus.offsets[:-1], corpus.offsets[1:], strict=True)
    return [torch.tensor([*corpus.tokens[a:b].tolist(), EOS]) for a, b in pairs]


def textbook_batch(sentences: list[Tensor], examples: np.ndarray) -> tuple[Tensor, Tensor]:
    """tokens [B, T] padded to the longest, lengths [B]."""
    chosen = [sentences[i] for i in examples]
    lengths = torch.tensor([len(sentence) for sentence in chosen])
    return nn.utils.rnn.pad_sequence(chosen, batch_first=True, padding_value=PAD), lengths


def textbook_loss(model: Any, tokens: Tensor, lengths: Tensor, noise: Tensor) -> Tensor:
    """The negative ELBO per example with the plain head: every position computed, padding left out of the loss only."""
    outputs, _ = model.encoder.lstm(model.encoder.embed(tokens))
    last = outputs[torch.arange(len(tokens)), lengths - 1]
    mean, log_var = model.posterior.linear(last).chunk(2, -1)
    z = mean + torch.exp(0.5 * log_var) * noise
    kl = 0.5 * (mean.square() + log_var.exp() - log_var - 1).sum()

    decoder = model.decoder
    before = functional.pad(tokens[:, :-1], (1, 0), value=BOS)
    inputs = torch.cat(
        [decoder.drop_in(decoder.embed(before)), z[:, None].expand(-1, tokens.shape[1], -1)], -1
    )
    cell = decoder.cell(z)[None]
    outputs, _ = decoder.lstm(inputs, (torch.tanh(cell), cell))
    logits = decoder.words(decoder.drop_out(outputs))
    rec = functional.cross_entropy(
        logits.flatten(0, 1), tokens.flatten(), ignore_index=PAD, reduction="sum"
    )
    return (rec + kl) / len(tokens)


# ---------------------------------------------------------------- training: harness against textbook


def training(quick: bool) -> dict:
    torch.set_num_threads(1)
    results = {
        name: compare(size, size.quick if quick else size.steps) for name, size in SIZES.items()
    }
    rows = [
        [
            name,
            f"{r['ratio']:.2f}",
            f"{r['ratio_quartiles'][0]:.2f} to {r['ratio_quartiles'][1]:.2f}",
            f"{r['harness_tokens_per_second']:,.0f}",
            f"{r['textbook_tokens_per_second']:,.0f}",
            f"{r['harness_share_of_peak']:.0%}",
            f"{r['textbook_share_of_peak']:.0%}",
            f"{r['peak_gflops']:.0f}",
            f"{r['loss_difference']:.0e}",
            str(r["steps"]),
        ]
        for name, r in results.items()
    ]
    columns = [
        "size",
        "times faster",
        "quartiles",
        "tokens/s",
        "textbook",
        "of SGEMM",
        "textbook",
        "SGEMM GFLOP/s",
    ]
    columns += ["loss diff.", "steps"]
    show("training step against a textbook loop (real tokens, medians)", columns, rows)
    return results


def compare(size: Size, steps: int) -> dict:
    """Both loops in turns on the same examples, each pair beside a matrix product: how fast is the machine now?"""
    parts = assemble(size.overrides, data=None if size.words is None else generated(*size.words))
    difference = check_same_loss(parts)
    sides = {"harness": harness_step(parts), "textbook": textbook_step(parts)}
    seconds: dict[str, list[float]] = {"harness": [], "textbook": [], "peak": []}
    tokens = []
    square = torch.randn(1024, 1024)
    lengths = parts.data.corpora["train"].lengths
    for number, examples in zip(range(size.warm_up + steps), orders(parts.data), strict=False):
        for name in sorted(sides, reverse=number % 2 == 1):
            seconds[name].append(cpu_seconds(sides[name], examples))
        seconds["peak"].append(min(cpu_seconds(torch.mm, square, square) for _ in range(2)))
        tokens.append(int((lengths[examples] + 1).sum()))
    harness, textbook, peak = (
        np.array(seconds[name][size.warm_up :]) for name in ("harness", "textbook", "peak")
    )
    counts = np.array(tokens[size.warm_up :])
    rate = 2 * 1024**3 / peak
    flops = flops_per_token(parts.model) * counts
    ratios = textbook / harness
    return {
        "ratio": float(np.median(ratios)),
        "ratio_quartiles": np.quantile(ratios, [0.25, 0.75]).tolist(),
        "harness_tokens_per_second": float(np.median(counts / harness)),
        "textbook_tokens_per_second": float(np.median(counts / textbook)),
        "harness_share_of_peak": float(np.median(flops / harness / rate)),
        "textbook_share_of_peak": float(np.median(flops / textbook / rate)),
        "peak_gflops": float(np.median(rate)) / 1e9,
        "loss_difference": difference,
        "steps": steps,
    }


def check_same_loss(parts: Parts) -> float:
    """Relative difference of the losses on one batch, same weights and noise; it and the gradients' must be small."""
    examples = parts.data.batches("train", 0, 0)[0]
    model = parts.model.eval()
    noise = torch.randn(len(examples), model.decoder.cell.in_features)
    theirs = textbook_loss(
        model, *textbook_batch(with_end(parts.data.corpora["train"]), examples), noise
    )
    their_gradients = torch.autograd.grad(theirs, list(model.parameters()))

    batch = parts.data.batch("train", examples)
    q = model.encode(batch)
    place = {example: i for i, example in enumerate(examples)}
    z = q.mean + q.std * noise[[place[example] for example in batch.examples]]
    ours = parts.objective(model.nll(batch, z), q, z, 0.0).total
    gradients = torch.autograd.grad(ours, list(model.parameters()))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)
    for mine, other in zip(gradients, their_gradients, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-5)
    return abs(ours.item() / theirs.item() - 1)


def generated(
    vocabulary: int,
    mean: float,
    spread: float,
    shortest: int,
    longest: int,
    sentences: int = 4000,
    seed: int = 0,
) -> TextData:
    """Sentences of gamma-distributed lengths and words of Zipf's law."""
    rng = np.random.default_rng(seed)
    lengths = (
        rng.gamma((mean / spread) ** 2, spread**2 / mean, sentences)
        .round()
        .astype(int)
        .clip(shortest, longest)
    )
    ranks = (vocabulary - len(SPECIALS)) ** rng.random(lengths.sum())
    tokens = (len(SPECIALS) - 1 + ranks).astype(np.int32)
    corpus = Corpus(tokens, np.concatenate([[0], np.cumsum(lengths)]))
    return TextData({"train": corpus}, tuple(f"w{i}" for i in range(vocabulary)), batch_size=32)


def flops_per_token(model: Any) -> int:
    """Of the matrix products a training step cannot do without: two per weight and token, twice that again backward."""
    lstms = [model.encoder.lstm, model.decoder.lstm]
    weights = [weight for lstm in lstms for weight in (lstm.weight_ih_l0, lstm.weight_hh_l0)]
    return 3 * 2 * sum(weight.numel() for weight in (*weights, model.decoder.words.weight))


def cpu_seconds(work: Callable, *args: Any) -> float:
    """Processor time of a call that keeps to one thread: time spent waiting for other processes is left out."""
    start = time.process_time()
    work(*args)
    return time.process_time() - start


# ---------------------------------------------------------------- heads


@dataclass
class Entrant:
    """A head at one phase of its training: its step, the rounds it took part in and their seconds."""

    parts: Parts
    step: Callable[[np.ndarray], None]
    seconds: dict[int, float] = field(default_factory=dict)


RATIOS = ("ratio", "ratio_whole_run")
SLOW = 5  # times plain's step: such a head takes part in every tenth round only


def head_costs(quick: bool, names: Sequence[str] = (), study: Path | None = None) -> dict:
    """Seconds per training step of heads (none named: all) relative to plain, in turns on the same batches; then, from a finished
    study, to the best weights."""
    torch.set_num_threads(1)
    results = {"steps": step_costs(names or heads(), rounds=20 if quick else 120, warm_up=5)}
    rows = [
        [
            name,
            f"{1e3 * r['seconds']:.1f}",
            f"{r['ratio']:.3f}",
            f"{r['quartiles'][0]:.2f} to {r['quartiles'][1]:.2f}",
            "" if r["inner_steps"] is None else f"{r['inner_steps']:.0f}",
        ]
        for name, r in results["steps"].items()
    ]
    show(
        "training step of each head (grammar)",
        ("head", "ms/step", "relative to plain", "quartiles", "further encoder steps in one step"),
        rows,
    )
    if study is None:
        print(
            "time to the best weights: skipped (it is read from finished runs: --study results/<study>)"
        )
        return results
    results["best"] = costs_to_best(study)
    rows = [
        [
            name,
            f"{r['seconds']:.0f}",
            *(f"{r[key]:.2f}" if r[key] else "" for key in RATIOS),
            str(r["runs"]),
        ]
        for name, r in results["best"].items()
    ]
    columns = (
        "head",
        "seconds to best weights",
        "relative to plain",
        "whole run, relative",
        "runs",
    )
    show(
        f"time to the best weights ({study}, medians over seeds, by the wall clock of the runs)",
        columns,
        rows,
    )
    return results


def step_costs(
    names: Sequence[str], rounds: int, warm_up: int, overrides: Sequence[str] = ()
) -> dict[str, dict]:
    """Medians and quartiles of each head's step over plain's in the same round."""
    plain = assemble(overrides)
    entrants = {"plain": Entrant(plain, harness_step(plain))}
    for name in names:
        if name != "plain":
            entrants.update(phases(name, assemble(overrides, name, plain.data)))
    everybody = list(entrants)
    for number, examples in zip(range(warm_up + rounds), orders(plain.data), strict=False):
        turn = number % len(everybody)
        for name in everybody[turn:] + everybody[:turn]:
            entrant = entrants[name]
            if (
                number > 1
                and number % 10
                and entrant.seconds[1] > SLOW * entrants["plain"].seconds[1]
            ):
                continue
            entrant.seconds[number] = cpu_seconds(entrant.step, examples)
    return {name: told(entrant, entrants["plain"], warm_up) for name, entrant in entrants.items()}


def phases(name: str, parts: Parts) -> dict[str, Entrant]:
    """A head from its first step on and, where its procedure begins otherwise than it goes on, a second one in the phase that follows."""
    first = {name: Entrant(parts, harness_step(parts))}
    later = copy.deepcopy(replace(parts, data=None))
    later.data = parts.data
    procedure, start = later.procedure, 0
    if hasattr(procedure, "aggressive"):
        procedure.aggressive.fill_(False)
    elif not getattr(procedure, "settled", True):
        start = math.ceil(procedure.pretrain_epochs * len(parts.data.batches("train", 0, 0)))
    else:
        return first
    return {**first, f"{name}, afterwards": Entrant(later, harness_step(later, start))}


def told(entrant: Entrant, plain: Entrant, warm_up: int) -> dict:
    rounds = [number for number in entrant.seconds if number >= warm_up]
    ratios = [entrant.seconds[number] / plain.seconds[number] for number in rounds]
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75]).tolist()
    inner = getattr(entrant.parts.procedure, "inner_steps", None)
    return {
        "seconds": statistics.median(entrant.seconds[number] for number in rounds),
        "ratio": middle,
        "quartiles": [low, high],
        "rounds": len(rounds),
        "inner_steps": float(inner) / len(entrant.seconds) if inner else None,
    }


def costs_to_best(study: Path) -> dict[str, dict]:
    """Training seconds until the weights that a run kept, and to its end, relative to plain's with the same overrides and seed."""
    found: dict[str, dict[tuple, tuple[float, float]]] = {}
    for saved in read_runs(study, []):
        if saved.status != DONE:
            continue
        summary, rows = saved.summary, [row for row in saved.rows if row["split"] == "valid"]
        best = next(row["seconds"] for row in rows if row["step"] == summary["best_step"])
        knobs = {
            key: value
            for key, value in summary["overrides"].items()
            if key in knobs_of(summary["head"])
        }
        name = " ".join([summary["head"], *(f"{key}={value}" for key, value in knobs.items())])
        others = {key: value for key, value in summary["overrides"].items() if key not in knobs}
        run = (json.dumps(others, sort_keys=True), summary["seed"])
        found.setdefault(name, {})[run] = (best, summary["seconds"])
    if not found:
        raise InputError(f"{study}: no finished runs")

    def over_plain(runs: dict[tuple, tuple[float, float]], which: int) -> float | None:
        plain = {run: seconds[which] for run, seconds in found.get("plain", {}).items()}
        ratios = [seconds[which] / plain[run] for run, seconds in runs.items() if plain.get(run)]
        return statistics.median(ratios) if ratios else None

    return {
        name: {
            "seconds": statistics.median(best for best, _ in runs.values()),
            "ratio": over_plain(runs, 0),
            "ratio_whole_run": over_plain(runs, 1),
            "runs": len(runs),
        }
        for name, runs in found.items()
    }


# ---------------------------------------------------------------- likelihood: K = 500 codes for each sentence

SAMPLES = 500
SENTENCES = {"grammar": (40, 8), "ptb": (6, 2), "published": (1, 1)}  # measured, and with --quick


def likelihood(quick: bool) -> dict:
    """Sentences per second of nll at K = 500 against the way of published code, on one core and on all of them."""
    results = {name: compare_likelihood(name, size, quick) for name, size in SIZES.items()}
    rows = [
        [
            name,
            f"{r['one_core_ratio']:.2f}",
            f"{r['all_cores_ratio']:.2f}",
            f"{r['sentences_per_second']:.2f}",
            f"{r['published_sentences_per_second']:.2f}",
            f"{r['share_of_peak']:.0%}",
            f"{r['published_share_of_peak']:.0%}",
            f"{r['difference']:.0e}",
            f"{r['sentences']} of {r['words']:.0f} words",
        ]
        for name, r in results.items()
    ]
    cores = len(os.sched_getaffinity(0))
    columns = [
        "size",
        "one core: times faster",
        f"{cores} cores: times faster",
        f"sentences/s, {cores} cores",
        "published",
    ]
    columns += ["of SGEMM, one core", "published", "nll diff.", "sentences"]
    show("nll, K = 500, against one sentence at a time in chunks of 100", columns, rows)
    return results


def compare_likelihood(name: str, size: Size, quick: bool) -> dict:
    """Both ways in turns on the same sentences and codes, processor time on one core; then wall time with all cores."""
    torch.set_num_threads(1)
    parts = assemble(size.overrides, data=None if size.words is None else generated(*size.words))
    model, corpus, data = parts.model.eval(), parts.data.corpora["train"], parts.data
    typical = np.argsort(np.abs(corpus.lengths - corpus.lengths.mean()), kind="stable")
    chosen = typical[: SENTENCES[name][quick] if size.words else 500]
    chosen = np.random.default_rng(0).permutation(chosen)[: SENTENCES[name][quick]]
    sentences = {
        i: torch.tensor([*corpus.tokens[corpus.offsets[i] : corpus.offsets[i + 1]].tolist(), EOS])
        for i in chosen
    }

    def ours(example: int) -> float:
        with torch.no_grad():
            batch = data.batch("train", np.array([example]))
            weights = log_weights(
                lambda z: model.nll(batch, z), model.encode(batch), SAMPLES, seeded(example)
            )
        return float(importance_weighted(weights)["nll"][0])

    def theirs(example: int) -> float:
        with torch.no_grad():
            return published_nll(model, sentences[example], seeded(example))

    ours(chosen[0]), theirs(chosen[0])
    square = torch.randn(1024, 1024)
    peak = 2 * 1024**3 / statistics.median(cpu_seconds(torch.mm, square, square) for _ in range(9))
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    for number, example in enumerate(chosen):
        for side, work in sorted({"ours": ours, "theirs": theirs}.items(), reverse=number % 2 == 1):
            seconds[side].append(cpu_seconds(work, example))
    mine, published = np.array(seconds["ours"]), np.array(seconds["theirs"])
    words = np.array([len(sentences[i]) for i in chosen])
    flops = SAMPLES * words * decoder_flops(model)

    cores = len(os.sched_getaffinity(0))
    many = list(chosen) * (1 if len(chosen) >= cores else cores)
    with ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        list(pool.map(seeded, range(cores)))
        found, our_wall = timed(lambda: list(pool.map(ours, many)))
    torch.set_num_threads(cores)
    reference, their_wall = timed(lambda: [theirs(example) for example in many])
    torch.set_num_threads(1)
    return {
        "one_core_ratio": float(np.median(published / mine)),
        "all_cores_ratio": their_wall / our_wall,
        "sentences_per_second": len(many) / our_wall,
        "published_sentences_per_second": len(many) / their_wall,
        "share_of_peak": float(np.median(flops / mine)) / peak,
        "published_share_of_peak": float(np.median(flops / published)) / peak,
        "difference": float(np.abs(np.array(found) - np.array(reference)).max()),
        "sentences": len(chosen),
        "words": float(words.mean()),
    }


def published_nll(model: Any, tokens: Tensor, generator: torch.Generator) -> float:
    """One sentence [T]: five chunks of 100 codes, each encoded anew, all logits of a chunk kept, losses by padded cross-entropy."""
    noise = model.encode(one_sentence(tokens)).sample(SAMPLES, generator)  # the same codes as ours
    weights = []
    for z in noise.split(100):
        outputs, _ = model.encoder.lstm(model.encoder.embed(tokens[None]))
        mean, log_var = model.posterior.linear(outputs[:, -1]).chunk(2, -1)
        z = z[:, 0]
        decoder, n = model.decoder, len(z)
        before = functional.pad(tokens[:-1], (1, 0), value=BOS)
        words = decoder.drop_in(decoder.embed(before.expand(n, -1)))
        cell = decoder.cell(z)[None]
        inputs = torch.cat([words, z[:, None].expand(-1, len(tokens), -1)], -1)
        outputs, _ = decoder.lstm(inputs, (torch.tanh(cell), cell))
        logits = decoder.words(decoder.drop_out(outputs))
        targets = tokens.expand(n, -1)
        losses = functional.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=PAD, reduction="none"
        )
        log_prior = -0.5 * z.square().sum(1)
        log_posterior = -0.5 * ((z - mean).square() / log_var.exp() + log_var).sum(1)
        weights.append(-losses.view(n, -1).sum(1) + log_prior - log_posterior)
    return math.log(SAMPLES) - torch.logsumexp(torch.cat(weights), 0).item()


def one_sentence(tokens: Tensor) -> Any:
    corpus = Corpus(tokens[:-1].numpy(), np.array([0, len(tokens) - 1]))
    return make_batch(corpus, np.array([0]))


def seeded(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(int(number))


def decoder_flops(model: Any) -> int:
    """Of the products that each code and word must have: the recurrent one and the output layer."""
    return 2 * (model.decoder.lstm.weight_hh_l0.numel() + model.decoder.words.weight.numel())


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


# ---------------------------------------------------------------- the mixture q(z)


def mixture(quick: bool) -> dict:
    """log q(z) of N codes in the mixture of N posteriors: matrix products in blocks against differences of all pairs, kept whole."""
    torch.set_num_threads(1)
    results = {}
    for count, dims in ((1000, 16), (2000, 32)) if quick else ((1000, 16), (2000, 32), (5000, 32)):
        torch.manual_seed(0)
        q = DiagonalGaussian.from_log_var(torch.randn(count, dims), -torch.rand(count, dims))
        z, batches = q.sample(), []
        for begin in range(0, count, 128):
            cut = slice(begin, begin + 128)
            batches.append(DiagonalGaussian(q.mean[cut], q.std[cut], q.log_var[cut]))
        seconds: dict[str, list[float]] = {"ours": [], "published": []}
        for _ in range(3 if quick else 7):
            seconds["ours"].append(cpu_seconds(lambda: gains(joint_density(batches), z)))  # noqa: B023
            seconds["published"].append(cpu_seconds(published_mixture, q, z))
        ours, theirs = gains(joint_density(batches), z)[0][0].mean(), published_mixture(q, z)
        ratios = np.array(seconds["published"]) / np.array(seconds["ours"])
        results[f"{count} codes of {dims}"] = {
            "ratio": float(np.median(ratios)),
            "seconds": statistics.median(seconds["ours"]),
            "difference": abs(float(ours) - theirs),
        }
    rows = [
        [name, f"{r['ratio']:.2f}", f"{r['seconds']:.2f}", f"{r['difference']:.0e}"]
        for name, r in results.items()
    ]
    show(
        "mutual information from the mixture",
        ("size", "times faster", "seconds", "nats apart"),
        rows,
    )
    return results


def joint_density(batches: list[DiagonalGaussian]) -> Callable[[Tensor], Tensor]:
    return lambda codes: torch.cat([q.log_ratio(codes[:, None]) for q in batches], -1)[None]


def published_mixture(q: DiagonalGaussian, z: Tensor) -> float:
    """Mutual information by the density of each code under each posterior, differences [32, N, D] for 32 codes at a time."""
    found = []
    for part, mean, log_var in zip(z.split(32), q.mean.split(32), q.log_var.split(32), strict=True):
        away = part[:, None] - q.mean
        density = -0.5 * (away**2 / q.log_var.exp()).sum(-1) - 0.5 * q.log_var.sum(-1)
        own = -0.5 * ((part - mean) ** 2 / log_var.exp()).sum(-1) - 0.5 * log_var.sum(-1)
        found.append(own - torch.logsumexp(density, 1) + math.log(len(z)))
    return float(torch.cat(found).mean())


# ---------------------------------------------------------------- what evaluating costs a training run


def evaluation(quick: bool) -> dict:
    """Processor time of the evaluation that each epoch ends with, relative to the epoch's steps (default data and trainer)."""
    torch.set_num_threads(1)
    parts = assemble([], "bn_tau")
    step, data, cfg = harness_step(parts), parts.data, parts.trainer
    order = data.batches("train", 0, 0)
    steps = 20 if quick else 100
    looks = {
        "training-mode row": lambda: evaluate(
            parts.model, data, "train", "train", cfg.eval_examples, None, MIXTURE
        ),
        "population statistics": lambda: recompute_population(parts.model, data, cfg.population),
        "validation row": lambda: evaluate(parts.model, data, "valid", "eval", None, None, MIXTURE),
    }
    for work in looks.values():
        work()
    epoch = statistics.median(cpu_seconds(step, examples) for examples in order[:steps]) * len(
        order
    )
    seconds = {name: min(cpu_seconds(work) for _ in range(3)) for name, work in looks.items()}
    results = {name: value / epoch for name, value in seconds.items()}
    results["all"] = sum(seconds.values()) / epoch
    rows = [[name, f"{value:.1%}"] for name, value in results.items()]
    show("evaluation, share of an epoch's training time (grammar, bn_tau)", ("part", "share"), rows)
    return results


# ---------------------------------------------------------------- start-up

STAGES = """
import json, time
last, seconds = time.perf_counter(), {}
def done(name):
    global last
    now = time.perf_counter()
    seconds[name], last = now - last, now
import torch
done("import torch")
from hydra import compose, initialize_config_dir
done("import hydra")
from uncollapse.config import CONF
import uncollapse.run, uncollapse.training.trainer, uncollapse.models.lstm, uncollapse.data.builtin
done("import uncollapse")
with initialize_config_dir(str(CONF), version_base="1.3"):
    cfg = compose("train")
done("compose the config")
from uncollapse.data.english import english
grammar = english()
done("data: grammar tables")
grammar.entropy()
done("data: entropy")
uncollapse.data.builtin.GrammarConfig().load()
done("data: draw sentences")
print(json.dumps(seconds))
"""


def startup(quick: bool) -> dict:
    """Seconds from the command to the first training step, and to the two help texts; the fastest of a few starts."""
    repeats = 2 if quick else 4
    commands = {"train.py --help": [*TRAIN, "--help"], "report.py --help": [*REPORT, "--help"]}
    results: dict[str, Any] = {}
    for name, words in commands.items():
        results[name] = min(wall_seconds(words) for _ in range(repeats))
    results["train.py to first step"] = min(seconds_to_first_step() for _ in range(repeats))
    runs = [json.loads(quietly([sys.executable, "-c", STAGES])) for _ in range(repeats)]
    stages = {name: min(run[name] for run in runs) for name in runs[0]}
    stages["rest: interpreter, model, first evaluation"] = results["train.py to first step"] - sum(
        stages.values()
    )
    rows = [[name, f"{value:.2f}"] for name, value in results.items()]
    rows += [[f"    {name}", f"{value:.2f}"] for name, value in stages.items()]
    show("start-up", ("command", "seconds"), rows)
    return {**results, "stages": stages}


def wall_seconds(words: Sequence[str]) -> float:
    """Of a whole command."""
    start = time.perf_counter()
    quietly(words)
    return time.perf_counter() - start


def seconds_to_first_step() -> float:
    """Until the line of the evaluation at step 0, the last thing before training."""
    with scratch() as folder:
        start = time.perf_counter()
        words = [*TRAIN, "trainer.max_steps=1", f"results={folder}"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if "step 0 valid" in line:
                    seconds = time.perf_counter() - start
        if process.returncode:
            raise SystemExit(f"{' '.join(words)} failed")
        return seconds


def quietly(words: Sequence[str]) -> str:
    """Run a command in the checkout; its output, or the end of the benchmark with the command's complaint."""
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


@contextmanager
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="uncollapse-bench-") as folder:
        yield Path(folder)


# ---------------------------------------------------------------- report


def report(quick: bool) -> dict:
    """Seconds for the report of a study of many runs, relative to its start (the report of one run)."""
    count = 100 if quick else 500
    with scratch() as folder:
        short = [
            "trainer.max_steps=8",
            "trainer.eval_every=1",
            "data.train=600",
            "data.valid=200",
            "data.test=200",
        ]
        quietly([*TRAIN, *short, f"results={folder}", "study=real"])
        (real,) = find_runs(folder / "real")
        one = wall_seconds([*REPORT, str(real.folder)])
        multiply(real, folder / "many", count)
        many = wall_seconds([*REPORT, str(folder / "many")])
    results = {
        "runs": count,
        "seconds": many,
        "seconds_one_run": one,
        "ms_per_run": 1e3 * (many - one) / count,
    }
    rows = [["one run", f"{one:.1f}"], [f"{count} runs", f"{many:.1f}"]]
    rows += [["each further run", f"{results['ms_per_run'] / 1e3:.4f}"]]
    show("report.py", ("study", "seconds"), rows)
    return results


SHAKEN = ("nelbo", "rec", "kl")


def multiply(real: Run, study: Path, count: int) -> None:
    """A study of `count` runs over all heads: a real run's files under other names, its numbers shaken a little."""
    rng = np.random.default_rng(0)
    config = read_config(real)
    rows, summary = read_run_rows(real).rows, read_summary(real)
    for i in range(count):
        head, seed = heads()[i % len(heads())], i // len(heads())
        run = locate_run(str(study.parent), study.name, head, {}, seed)
        run.folder.mkdir(parents=True)
        named = {"head": head, "label": head, "seed": seed, "study": study.name, "overrides": {}}
        made = [shaken(row, rng) for row in rows]
        test = last_test_row(made, "eval")
        stated = {
            **summary,
            "identity": compute_identity({**config, **named}),
            **{name: test[name] for name in SHAKEN},
        }
        command = f"# python train.py head={head} seed={seed} study={study.name}\n"
        files = {
            CONFIG: command + yaml.safe_dump({**config, **named}),
            ROWS_FILE: "".join(json.dumps(row) + "\n" for row in made),
            SUMMARY: json.dumps({**stated, **named}),
            DATA: real.read(DATA).decode(),
            DONE: "",
        }
        for name, text in files.items():
            (run.folder / name).write_text(text)


def shaken(row: dict, rng: np.random.Generator) -> dict:
    factor = 1 + 0.01 * rng.standard_normal()
    return {**row, **{name: row[name] * factor for name in SHAKEN}}


# ---------------------------------------------------------------- sweep


def sweep(quick: bool) -> dict:
    """Eight runs, two at a time, against the same one after another.

    A busy machine has no second core to give; half the ratio of the processor times is what an idle one would show.
    """
    small = [
        "data.train=2000",
        "data.valid=500",
        "data.test=500",
        f"trainer.epochs={1 if quick else 6}",
    ]
    words = [*TRAIN, "-m", "head=plain,bn_mu", "seed=0,1,2,3", *small]
    with scratch() as folder:
        words += [f"results={folder}"]
        two, two_cpu = both_seconds(
            [*words, "study=two", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
        )
        one, one_cpu = both_seconds([*words, "study=one"])
        finished = len(list(folder.glob("*/runs/*/*/*/done")))
    if finished != 16:
        raise SystemExit(f"{finished} of 16 runs were finished")
    idle = two_cpu / one_cpu / 2
    results = {
        "one_after_another": one,
        "two_at_a_time": two,
        "ratio": two / one,
        "idle_ratio": idle,
    }
    rows = [
        ["one after another", f"{one:.1f}", f"{one_cpu:.1f}", "", ""],
        [
            "two at a time (joblib)",
            f"{two:.1f}",
            f"{two_cpu:.1f}",
            f"{two / one:.2f}",
            f"{idle:.2f}",
        ],
    ]
    show(
        "sweep of eight runs",
        ("launcher", "seconds", "processor seconds", "ratio", "on idle cores"),
        rows,
    )
    return results


def both_seconds(words: Sequence[str]) -> tuple[float, float]:
    """Wall and processor time of a command with all its processes."""
    before = os.times()
    wall = wall_seconds(words)
    after = os.times()
    return (
        wall,
        after.children_user + after.children_system - before.children_user - before.children_system,
    )


# ---------------------------------------------------------------- corpora that do not fit in memory

STEPS = 200  # trained at each start
CORPUS_WORDS = (
    20_000,
    13,
    6,
    3,
    60,
)  # vocabulary, and mean, spread, least and most words of a sentence
# Runs in a process of its own; arguments: the checkout's scripts, a folder with the text, another for cache and run.
START = """
import json, sys, threading, time
from pathlib import Path

def memory():
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {name: int(lines[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile", "VmHWM")}

peak = {"RssAnon": 0.0, "RssFile": 0.0}
def watch():
    while True:
        now = memory()
        for name in peak:
            peak[name] = max(peak[name], now[name])
        time.sleep(0.02)

sys.path.insert(0, sys.argv[1])
import bench
import torch
text, own = Path(sys.argv[2]), Path(sys.argv[3])
torch.set_num_threads(1)
before = memory()
threading.Thread(target=watch, daemon=True).start()
words = [f"data.{split}={text / split}.txt" for split in ("train", "valid", "test")]
small = ["model.embedding=32", "model.hidden=32", "model.latent=8", f"trainer.max_steps={bench.STEPS}"]
start = time.perf_counter()
parts = bench.assemble(["data=text", f"data.cache={own}", *words, *small])
ready = time.perf_counter() - start
set_up = dict(peak)
seconds = bench.few_steps(parts, own)
print(json.dumps({"set_up": ready, "peak_set_up": set_up, "peak": peak, "training": seconds, **memory(), "before": before}))
"""


def corpus(quick: bool) -> dict:
    """Set-up time and memory of training on generated files of 10 thousand to 10 million sentences, when first met and from the cache.

    Memory is that of the process without mapped files (RssAnon, looked at every 20 ms): pages of the token arrays are the kernel's to
    drop, and are told apart.
    """
    results: dict[str, Any] = {}
    for sentences in (10_000, 100_000) if quick else (10_000, 100_000, 1_000_000, 10_000_000):
        with scratch() as folder:
            (folder / "text").mkdir()
            for split, size in {"train": sentences, "valid": 1000, "test": 1000}.items():
                write_sentences(folder / "text" / f"{split}.txt", size)
            megabytes = (folder / "text" / "train.txt").stat().st_size / 2**20
            words = [
                sys.executable,
                "-c",
                START,
                str(ROOT / "scripts"),
                str(folder / "text"),
                str(folder / "own"),
            ]
            first, second = (json.loads(quietly(words).splitlines()[-1]) for _ in range(2))
        results[str(sentences)] = {"text_mb": megabytes, "first": first, "second": second}
        print(f"{sentences:,} sentences: done", file=sys.stderr)
    rows = [
        [
            f"{int(name):,}",
            f"{r['text_mb']:.1f}",
            f"{r['first']['set_up']:.1f}",
            f"{1e6 * r['first']['set_up'] / int(name):.1f}",
            f"{r['second']['set_up']:.2f}",
            *(f"{r[start]['peak']['RssAnon']:.0f}" for start in ("first", "second")),
            f"{r['second']['before']['RssAnon']:.0f}",
            f"{r['second']['peak']['RssFile'] - r['second']['before']['RssFile']:.0f}",
        ]
        for name, r in results.items()
    ]
    columns = [
        "sentences",
        "MB of text",
        "set-up s",
        "s per million",
        "from cache s",
        "peak MB, first",
        "peak MB, from cache",
    ]
    columns += ["of these imports", "mapped files MB"]
    show(
        f"corpora on disk: set-up, then {STEPS} steps and two evaluations (anonymous memory)",
        columns,
        rows,
    )
    return results


def few_steps(parts: Parts, folder: Path) -> float:
    """Seconds of a short training with its evaluations, checkpoints in `folder`."""
    folder = Path(tempfile.mkdtemp(dir=folder))
    start = time.perf_counter()
    silent: Any = SimpleNamespace(
        stepped=lambda *_: None, evaluated=lambda *_: None, resumed=lambda *_: None, warn=print
    )
    run = Run(folder)
    record = Record(run.path(ROWS_FILE), [])
    Trainer(
        parts.trainer,
        parts.model,
        parts.data,
        parts.objective,
        parts.procedure,
        run,
        record,
        0,
        silent,
    ).fit()
    return time.perf_counter() - start


def write_sentences(path: Path, count: int, block: int = 100_000) -> None:
    """A file of `count` sentences, one a line, gamma-distributed lengths and words of Zipf's law, written block by block."""
    import pyarrow as pa
    import pyarrow.compute as pc

    vocabulary = pa.array([f"word{i}" for i in range(CORPUS_WORDS[0])])
    with path.open("wb") as file:
        for start in range(0, count, block):
            drawn = generated(
                *CORPUS_WORDS, sentences=min(block, count - start), seed=start
            ).corpora["train"]
            words = vocabulary.take(pa.array(drawn.tokens.astype(np.int64)))
            lines = pc.binary_join(
                pa.ListArray.from_arrays(pa.array(drawn.offsets.astype(np.int32)), words), " "
            )
            file.write(("\n".join(lines.to_pylist()) + "\n").encode())


# ---------------------------------------------------------------- the command

PARTS = {
    "training": training,
    "heads": head_costs,
    "likelihood": likelihood,
    "mixture": mixture,
    "evaluation": evaluation,
    "startup": startup,
    "report": report,
    "sweep": sweep,
    "corpus": corpus,
}


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    console = Console()
    Console(width=None if console.is_terminal else 160).print(table)


def main() -> int:
    enable_clean_stop()
    parser = Parser(description="Speed, as ratios within one run.")
    parser.add_argument("part", nargs="?", default="all", choices=[*PARTS, "all"])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here, too")
    parser.add_argument(
        "--quick", action="store_true", help="fewer steps and runs: a glance, not a measurement"
    )
    parser.add_argument("--heads", metavar="A,B", help="for heads: only these beside plain")
    parser.add_argument(
        "--study",
        type=Path,
        metavar="FOLDER",
        help="for heads: finished runs, for the time to the best weights",
    )
    asked = parser.parse_args()
    try:
        names = [check_head(name) for name in (asked.heads or "").split(",") if name]
        if asked.study is not None:
            costs_to_best(asked.study)  # refused now, not after an hour
    except InputError as error:
        parser.error(str(error))
    parts: dict[str, Callable[..., dict]] = {
        **PARTS,
        "heads": partial(head_costs, names=names, study=asked.study),
    }
    results = {
        name: part(asked.quick) for name, part in parts.items() if asked.part in (name, "all")
    }
    if asked.json:
        write_atomic(asked.json, (json.dumps(results, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(run_guarded(main))
