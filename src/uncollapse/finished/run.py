"""A finished run as a Python object: `uncollapse.load(path)`."""

from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias, Unpack

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from uncollapse.data import SPLITS
from uncollapse.data.dialogue import DialogueData
from uncollapse.distributions.normal import DiagonalGaussian, log_of_variance
from uncollapse.errors import InputError, check_choice, check_integer
from uncollapse.evaluation.decoding import create_decoding, is_text
from uncollapse.evaluation.opened import OpenedRun, open_run
from uncollapse.finished.examples import DIALOGUE_HINT, GIVEN_SPLIT, read_array, take_given
from uncollapse.finished.folder import find_run
from uncollapse.finished.options import DecodingOptions, DecodingWords
from uncollapse.interfaces.posterior import Posterior
from uncollapse.json_types import JsonObject
from uncollapse.metrics.one_pass import evaluating
from uncollapse.runs.reading import Saved, read_run
from uncollapse.runs.rules import DEFAULT_RULE, RULES, chooses_the_same, select_weights

# N sentences, images [N, H, W] or [N, H, W, C] of values from 0 to 1, or vectors [N, P]
Decoded: TypeAlias = list[str] | np.ndarray
DECODED_TOGETHER = 256  # codes
MOST_INTERPOLATED = 10_000  # of an interpolation


@dataclass(frozen=True)
class EncodedExamples:
    """The posteriors of N examples, in the order in which the examples were given.

    mean [N, D]; log_var [N, D], the log variances of a diagonal Gaussian, None for other
    posteriors; kl [N], in nats per example; unknown [N], tokens of each sentence that became <unk>,
    None for other data and for splits of the run.
    """

    mean: np.ndarray
    log_var: np.ndarray | None
    kl: np.ndarray
    unknown: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.mean)


class FinishedRun:
    """A finished run with its model in evaluation mode, as `load` returns it.

    config: the resolved config. summary: the numbers of summary.json with those of evaluations.
    notes: what is wrong with the files of the run, usually nothing. opened: model and data. No
    method changes the random state or the number of threads of the process.
    """

    def __init__(self, saved: Saved, opened: OpenedRun, rule: str) -> None:
        self.opened = opened
        self.config: JsonObject = deepcopy(saved.config)
        self.data_config: JsonObject = saved.config["data"]
        self.summary: JsonObject = select_weights(saved.summary, rule, saved.name)
        self.rows = pd.DataFrame(saved.rows)  # one row per line of metrics.jsonl
        self.notes = saved.notes

    def __repr__(self) -> str:
        return f"<finished run {self.opened.run.folder}, {self.opened.weights.name}>"

    # ---- codes

    def encode(
        self, examples: object = None, *, split: str | None = None, seed: int = 0
    ) -> EncodedExamples:
        """The posteriors of examples, or of a split of the run's own data, in their order.

        Text: a list of sentences, split into tokens as in training, or a list of lists of tokens.
        Images: an array [N, H, W], [N, H, W, C] or [N, P] of values from 0 to 1; where the run's
        images are binary, a value is the probability of a 1, drawn by `seed`. Vectors: an array
        [N, P]. InputError for examples of another kind or size.
        """
        if (examples is None) == (split is None):
            raise InputError("encode: give either examples or split=NAME")
        opened, unknown = self.opened, None
        if split is None:
            check_integer("seed", seed, 0)
            given = take_given(opened.data, self.data_config, examples, seed)
            opened, unknown, split = replace(opened, data=given.data), given.unknown, GIVEN_SPLIT
        check_choice("split", split, SPLITS)
        numbers = opened.encoded(split, np.arange(opened.data.size(split)), join_columns)
        size = self.prior.mean.shape[1]
        log_var = numbers[:, size : 2 * size] if self.prior.is_gaussian else None
        return EncodedExamples(numbers[:, :size], log_var, numbers[:, -1], unknown)

    def decode(self, z: object, *, seed: int = 0, **options: Unpack[DecodingWords]) -> Decoded:
        """A sentence, an image or a vector for each code z [N, D], drawn by default.

        greedy: the most likely word or value each time. temperature: above 1 more varied, below 1
        less. For sentences: top_k and top_p limit the words that are drawn; beam: so many
        hypotheses of a beam search; unk: whether <unk> may be written. InputError for codes of
        another size, and for options that contradict each other.
        """
        checked = DecodingOptions.from_words(options)
        return self.write(self.read_codes(z), checked, self.generator(seed))

    def reconstruct(
        self, examples: object, *, seed: int = 0, **options: Unpack[DecodingWords]
    ) -> Decoded:
        """The posterior means of examples, decoded; greedily, if no option says otherwise."""
        return self.decode(self.encode(examples).mean, seed=seed, **choose_greedy(options))

    def interpolate(
        self,
        a: object,
        b: object,
        steps: int = 7,
        *,
        seed: int = 0,
        **options: Unpack[DecodingWords],
    ) -> Decoded:
        """Decoded points on the line between the posterior means of two examples, ends included.

        Greedily decoded, if no option says otherwise.
        """
        check_integer("steps", steps, 2, MOST_INTERPOLATED)
        start, end = self.encode([a, b]).mean
        points = start + np.linspace(0, 1, steps)[:, None] * (end - start)
        return self.decode(points, seed=seed, **choose_greedy(options))

    def sample(self, n: int, *, seed: int = 0, **options: Unpack[DecodingWords]) -> Decoded:
        """n sentences, images or vectors: codes drawn from the prior, decoded as in `decode`."""
        checked, generator = DecodingOptions.from_words(options), self.generator(seed)
        check_integer("n", n, 1)
        with evaluating(self.opened.model, train=False):
            z = self.prior.sample_prior(n, generator)
        return self.write(z, checked, generator)

    # ---- steps of these

    @cached_property
    def prior(self) -> Posterior:
        """A posterior, for what all posteriors of a run share, such as the prior."""
        with evaluating(self.opened.model, train=False):
            return self.opened.any_posterior()

    def generator(self, seed: int) -> torch.Generator:
        """A random stream of its own."""
        return torch.Generator(self.opened.device).manual_seed(check_integer("seed", seed, 0))

    def read_codes(self, z: object) -> Tensor:
        """Codes as a tensor that the decoder takes. InputError for another size."""
        size = self.prior.mean.shape[1]
        x = read_array(z, f"codes [N, {size}]")
        if x.shape[1:] != (size,):
            raise InputError(f"codes of shape {list(x.shape)}: this run takes codes [N, {size}]")
        if not np.isfinite(x).all():
            raise InputError("a code that is infinite or NaN: allowed are finite numbers")
        with evaluating(self.opened.model, train=False):
            dtype = self.prior.sample().dtype
        codes = torch.from_numpy(x).to(self.opened.device, dtype)
        # a mean or an interpolation need not be a possible code (vMF): take the nearest one
        return self.prior.project(codes)

    def write(self, z: Tensor, options: DecodingOptions, generator: torch.Generator) -> Decoded:
        """A sentence, an image or a vector for each code."""
        if isinstance(self.opened.data, DialogueData):
            raise InputError(DIALOGUE_HINT)
        text = is_text(self.opened)
        limits = options.limits(text)
        # other data have no unknown words, which the options have refused already
        decoding = create_decoding(self.opened, unknown=options.unk or not text)
        written: list[Any] = []
        with evaluating(self.opened.model, train=False):
            for codes in z.split(DECODED_TOGETHER):
                made = self.opened.model.generate(
                    codes, options.greedy, generator, **{**decoding.limits, **limits}
                )
                written += decoding.items(made) if text else [*decoding.arrays(made)]
        return written if text else np.stack(written)


def join_columns(q: Posterior) -> Tensor:
    """Mean, log variance of a diagonal Gaussian, and total KL of each posterior, [B, columns]."""
    columns = [q.mean, *([compute_log_var(q)] if q.is_gaussian else []), q.kl.sum(-1, True)]
    return torch.cat([column.double() for column in columns], 1)


def compute_log_var(q: Posterior) -> Tensor:
    """ln Var_q z of a diagonal Gaussian, [B, D]."""
    if isinstance(q, DiagonalGaussian):
        return q.log_var
    return log_of_variance(q.variance)


def choose_greedy(options: DecodingWords) -> DecodingWords:
    """The options, with greedy=True if none of them says how to choose words."""
    ways = {"temperature", "top_k", "top_p", "beam", "greedy"}
    return options if ways & options.keys() else {**options, "greedy": True}


# ---------------------------------------------------------------- loading


def load(path: str | Path, *, weights: str = DEFAULT_RULE, device: str = "auto") -> FinishedRun:
    """Open a finished run by its folder, results/<study>/runs/<head>/<overrides>/seed=<n>.

    weights: the rule that chose them (best_objective, last, best_nelbo, best_nll), of those that
    the run kept. device: auto, cpu or cuda. InputError for any other path, an unfinished run, and
    weights or data that are missing or have changed.
    """
    check_choice("weights", weights, RULES)
    run = find_run(Path(path))
    saved = read_run(run, run.folder)
    same = weights != DEFAULT_RULE and chooses_the_same(saved.summary, weights, str(run.folder))
    # building a model draws random numbers
    with torch.random.fork_rng():
        opened = open_run(run, {}, print, DEFAULT_RULE if same else weights, device, threads=None)
    return FinishedRun(saved, opened, weights)
