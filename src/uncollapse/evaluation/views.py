"""The views of a run: codes decoded into sentences or images.

    prior            codes drawn from the prior, decoded at random and greedily
    reconstructions  test examples; their posterior means and drawn codes, decoded
    interpolations   points on the line between the posterior means of two test examples, decoded
    neighbours       test examples, and the training examples with the nearest posterior means
    traversal        the mean of one test example, with one dimension moved over its quantiles

"test" stands for the split that is evaluated.
"""

import numpy as np
import torch
from torch import Tensor

from uncollapse.data.batches import split_examples
from uncollapse.data.corpus import Corpus
from uncollapse.evaluation.decoding import Decoding, is_text
from uncollapse.evaluation.opened import OpenedRun
from uncollapse.evaluation.view_files import View, numbered_view
from uncollapse.metrics.one_pass import EVAL_BATCH

ROWS_SHOWN = 12
NEIGHBOURS_SHOWN = 3
SEARCHED = 5000  # training examples among which neighbours are searched
INTERPOLATED_PAIRS, INTERPOLATION_STEPS = 4, 7
TRAVERSED_DIMENSIONS = 8
TRAVERSAL_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def all_views(decoding: Decoding, split: str, drawn: Corpus | None, count: int) -> dict[str, View]:
    """Every view by name; `drawn`: for text, sentences decoded from `count` codes of the prior."""
    return {
        "prior": view_prior(decoding, drawn, count),
        "reconstructions": view_reconstructions(decoding, split),
        "interpolations": view_interpolations(decoding, split),
        "neighbours": view_neighbours(decoding, split),
        "traversal": view_traversal(decoding, split),
    }


def view_prior(decoding: Decoding, drawn: Corpus | None, count: int) -> View:
    """The first of the drawn sentences, which are also scored, or a few images."""
    # the same codes as those that `evaluate_samples` decoded, since prior_codes is seeded
    z = decoding.opened.prior_codes(count if is_text(decoding.opened) else ROWS_SHOWN)
    items = decoding.items(decoding.draw(z, 1) if drawn is None else drawn)[:ROWS_SHOWN]
    names = ("drawn", decoding.typical_name)
    return numbered_view(names, (items, decoding.typical(z[:ROWS_SHOWN])))


def view_reconstructions(decoding: Decoding, split: str) -> View:
    opened = decoding.opened
    batch = opened.batch(split, opened.examples_to_show(split, ROWS_SHOWN))
    # a stream of its own for each use, so that a further view does not change the others
    q = opened.encode(batch, opened.noise(2))
    codes = q.sample(generator=opened.noise(3))
    columns = (
        decoding.originals(split, batch.examples),
        decoding.typical(q.mean),
        decoding.items(decoding.draw(codes, 4)),
    )
    names = (split, f"{decoding.typical_name}, of the mean", "drawn, of a code")
    return numbered_view(names, columns)


def view_interpolations(decoding: Decoding, split: str) -> View:
    examples = decoding.opened.examples_to_show(split, 2 * INTERPOLATED_PAIRS)
    # an odd number of examples leaves the last one without a partner
    examples = examples[: len(examples) // 2 * 2]
    start, end = mean_codes(decoding.opened, split, examples).chunk(2)
    shares = np.linspace(0, 1, INTERPOLATION_STEPS)
    first, last = (decoding.originals(split, half) for half in np.split(examples, 2))
    between = [decoding.typical(share * end + (1 - share) * start) for share in shares]
    names = (split, *(f"{share:.2f}" for share in shares), split)
    return numbered_view(names, [first, *between, last])


def view_neighbours(decoding: Decoding, split: str) -> View:
    from sklearn.neighbors import NearestNeighbors

    opened = decoding.opened
    examples = opened.examples_to_show(split, ROWS_SHOWN)
    searched = opened.examples_to_show("train", SEARCHED)
    # a training split may have fewer examples
    index = NearestNeighbors(n_neighbors=min(NEIGHBOURS_SHOWN, len(searched)))
    index.fit(opened.encoded_means("train", searched))
    _, nearest = index.kneighbors(opened.encoded_means(split, examples))
    columns = [
        decoding.originals(split, examples),
        *(decoding.originals("train", searched[column]) for column in nearest.T),
    ]
    names = (split, *(f"{place}. nearest in train" for place in range(1, len(columns))))
    return numbered_view(names, columns)


def view_traversal(decoding: Decoding, split: str) -> View:
    """Dimensions whose means vary most relative to the posterior noise, moved one at a time."""
    means, variances = encode_all(decoding.opened, split)
    # the clamp matters where a head makes the posterior a point
    signal = means.var(0) / variances.mean(0).clamp_min(1e-12)
    # the most active dimensions, then in their usual order
    busiest = signal.argsort(descending=True)[:TRAVERSED_DIMENSIONS].sort().values
    shares = means.new_tensor(TRAVERSAL_QUANTILES)
    values = torch.quantile(means[:, busiest], shares, dim=0)  # [Q, J]
    moved = means[0].repeat(len(shares), len(busiest), 1)  # [Q, J, D]
    # entry (q, j) changes dimension busiest[j] only
    moved[:, torch.arange(len(busiest)), busiest] = values
    columns = [decoding.typical(z) for z in moved]
    rows = zip((f"z{j}" for j in busiest.tolist()), zip(*columns, strict=True), strict=True)
    return View([f"{share:.0%} quantile" for share in TRAVERSAL_QUANTILES], [*rows])


def encode_all(opened: OpenedRun, split: str) -> tuple[Tensor, Tensor]:
    """Posterior means and variances of at most SEARCHED examples, [N, D] each."""
    noise = opened.noise(5)
    groups = split_examples(opened.examples_to_show(split, SEARCHED), EVAL_BATCH)
    means, variances = [], []
    for group in groups:
        q = opened.encode(opened.batch(split, group), noise)
        means.append(q.mean)
        variances.append(q.variance)
    return torch.cat(means), torch.cat(variances)


def mean_codes(opened: OpenedRun, split: str, examples: np.ndarray) -> Tensor:
    """Posterior means on the model's device, [N, D]."""
    # means come as float64; the decoder takes the model's own dtype
    means = torch.from_numpy(opened.encoded_means(split, examples))
    return means.to(next(opened.model.parameters()))
