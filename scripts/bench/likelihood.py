"""How fast is nll with 500 codes per sentence, compared with the method of published code?"""

import math
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bench.harness import MODEL_SIZES
from bench.table import print_table
from bench.textbook import Layers, read_sentence, word_losses
from bench.timing import product_flops, time_cpu, time_matrix_product, time_wall
from uncollapse.building import Parts
from uncollapse.data.corpus import Corpus, make_batch
from uncollapse.device import count_available_cores
from uncollapse.metrics.likelihood import importance_weighted, log_weights
from uncollapse.models import Model

CODES_EACH = 500  # for each sentence
PUBLISHED_CHUNK = 100  # codes that the published code decodes at a time
CANDIDATES = 500  # sentences of the grammar from which those to measure are drawn
# how many are measured: normally, with --quick
SENTENCES = {"grammar": (40, 8), "ptb": (6, 2), "published": (1, 1)}


@dataclass(frozen=True)
class LikelihoodSpeed:
    """Ratios above 1 mean that the harness is faster."""

    one_core_ratio: float
    all_cores_ratio: float
    sentences_per_second: float  # on all cores
    published_sentences_per_second: float
    share_of_peak: float  # of a matrix product's speed, on one core
    published_share_of_peak: float
    difference: float  # nats, the largest over sentences
    sentences: int
    words: float  # mean length


LIKELIHOOD_COLUMNS: dict[str, Callable[[LikelihoodSpeed], str]] = {
    "one core: times faster": lambda r: f"{r.one_core_ratio:.2f}",
    "all cores: times faster": lambda r: f"{r.all_cores_ratio:.2f}",
    "sentences/s, all cores": lambda r: f"{r.sentences_per_second:.2f}",
    "published": lambda r: f"{r.published_sentences_per_second:.2f}",
    "of SGEMM, one core": lambda r: f"{r.share_of_peak:.0%}",
    "published of SGEMM": lambda r: f"{r.published_share_of_peak:.0%}",
    "nll diff.": lambda r: f"{r.difference:.0e}",
    "sentences": lambda r: f"{r.sentences} of {r.words:.0f} words",
}


class Methods:
    """Both ways to compute nll of one training sentence, with the same codes for both."""

    def __init__(self, parts: Parts) -> None:
        self.model: Model = parts.model.eval()
        self.layers = Layers.of(parts.model)
        self.data = parts.data
        self.corpus: Corpus = parts.data.corpora["train"]

    @torch.no_grad()
    def harness(self, example: int) -> float:
        batch = self.data.batch("train", np.array([example]))
        weights = log_weights(
            lambda z: self.model.nll(batch, z),
            self.model.encode(batch),
            CODES_EACH,
            make_generator(example),
        )
        return float(importance_weighted(weights)["nll"][0])

    @torch.no_grad()
    def published(self, example: int) -> float:
        tokens = read_sentence(self.corpus, example)
        batch = make_batch(self.corpus, np.array([example]))
        # the same seed as in `harness`, and so the same codes
        codes = self.model.encode(batch).sample(CODES_EACH, make_generator(example))[:, 0]
        return published_nll(self.layers, tokens, codes)


def measure_likelihood(quick: bool) -> dict[str, LikelihoodSpeed]:
    torch.set_num_threads(1)
    results = {
        name: compare_nll(
            size.assemble(),
            count=SENTENCES[name][quick],
            candidates=SENTENCES[name][quick] if size.text else CANDIDATES,
        )
        for name, size in MODEL_SIZES.items()
    }
    title = (
        f"nll, K = {CODES_EACH}, against one sentence at a time in chunks of {PUBLISHED_CHUNK} "
        f"({count_available_cores()} cores)"
    )
    print_table(title, "size", LIKELIHOOD_COLUMNS, results)
    return results


def compare_nll(parts: Parts, count: int, candidates: int) -> LikelihoodSpeed:
    """Processor time on one core, the methods taking turns; then wall time on all cores."""
    methods = Methods(parts)
    chosen = choose_sentences(methods.corpus, count, candidates)
    words = np.array([methods.corpus.lengths[i] + 1 for i in chosen])
    flops = CODES_EACH * words * count_flops_per_code(methods.layers)
    ours, theirs = time_on_one_core(methods, chosen)
    # the speed of a matrix product is the upper bound of what either method can reach
    peak = product_flops() / statistics.median(time_matrix_product(9))
    # where there are fewer sentences than cores, repeat them so that every core has work
    many = chosen * (1 if count >= count_available_cores() else count_available_cores())
    (values, our_wall), (reference, their_wall) = time_on_all_cores(methods, many)
    return LikelihoodSpeed(
        one_core_ratio=float(np.median(theirs / ours)),
        all_cores_ratio=their_wall / our_wall,
        sentences_per_second=len(many) / our_wall,
        published_sentences_per_second=len(many) / their_wall,
        share_of_peak=float(np.median(flops / ours)) / peak,
        published_share_of_peak=float(np.median(flops / theirs)) / peak,
        difference=float(np.abs(np.array(values) - np.array(reference)).max()),
        sentences=len(chosen),
        words=float(words.mean()),
    )


def choose_sentences(corpus: Corpus, count: int, candidates: int) -> list[int]:
    """`count` random sentences of the `candidates` whose lengths are nearest to the mean."""
    distance = np.abs(corpus.lengths - corpus.lengths.mean())
    # a stable sort, so that ties give the same sentences on every machine
    typical = np.argsort(distance, kind="stable")[:candidates]
    return np.random.default_rng(0).permutation(typical)[:count].tolist()


def time_on_one_core(methods: Methods, chosen: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Processor seconds for each sentence: harness, published."""
    sides = {"harness": methods.harness, "published": methods.published}
    for work in sides.values():
        work(chosen[0])  # warm up
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number, example in enumerate(chosen):
        # the method that goes first alternates, since the second one finds warm caches
        for name in sorted(sides, reverse=number % 2 == 1):
            seconds[name].append(time_cpu(sides[name], example))
    return np.array(seconds["harness"]), np.array(seconds["published"])


def time_on_all_cores(
    methods: Methods, chosen: Sequence[int]
) -> tuple[tuple[list[float], float], tuple[list[float], float]]:
    """Values and wall seconds of the harness, and of the published method.

    The harness uses one thread per core, the published method torch's own threads.
    """
    cores = count_available_cores()
    # one thread per sentence; threads within an operation would compete with them for the cores
    with ThreadPoolExecutor(cores, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        list(pool.map(make_generator, range(cores)))  # start the threads
        ours = time_wall(lambda: list(pool.map(methods.harness, chosen)))
    torch.set_num_threads(cores)
    theirs = time_wall(lambda: [methods.published(example) for example in chosen])
    torch.set_num_threads(1)
    return ours, theirs


def published_nll(layers: Layers, tokens: Tensor, codes: Tensor) -> float:
    """nll in nats of one sentence [T] from codes [K, D].

    Each chunk of codes encodes the sentence again and keeps all its logits.
    """
    weights = []
    for z in codes.split(PUBLISHED_CHUNK):
        outputs, _ = layers.encoder.lstm(layers.encoder.embed(tokens[None]))
        mean, log_var = layers.to_code(outputs[:, -1]).chunk(2, -1)
        losses = word_losses(layers.decoder, tokens.expand(len(z), -1), z)
        # without -D/2 ln(2 pi), which cancels in log p(z) - log q(z|x)
        log_prior = -0.5 * z.square().sum(1)
        log_posterior = -0.5 * ((z - mean).square() / log_var.exp() + log_var).sum(1)
        weights.append(-losses.sum(1) + log_prior - log_posterior)
    return math.log(len(codes)) - torch.logsumexp(torch.cat(weights), 0).item()


def make_generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def count_flops_per_code(layers: Layers) -> int:
    """Operations for each code and word: the recurrent product and the output layer."""
    recurrent = 4 * layers.decoder.lstm.hidden_size**2
    return 2 * (recurrent + layers.decoder.words.weight.numel())
