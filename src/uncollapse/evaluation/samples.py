"""What people look at: codes decoded into sentences or images, as files; and numbers that say how good samples of the prior are.

Views, in `samples/` of a run folder, each a .txt (columns apart by TAB) or a .png (a grid, a row a line):

    prior            codes drawn from the prior, decoded by drawing and by the likeliest
    reconstructions  test examples; their posterior means decoded by the likeliest, a code of the posterior by drawing
    interpolations   the straight way between the posterior means of two test examples, by the likeliest
    neighbours       test examples, and the training examples whose posterior means are nearest
    traversal        the posterior mean of one test example, one dimension moved over what the test examples take, by the likeliest

Without unknown words (evaluate.py --no-unknown) they lie in `samples-no-unknown/`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from torch import Tensor

from uncollapse.data.batches import near_equal
from uncollapse.data.corpus import Corpus, make_batch, sentences
from uncollapse.errors import InputError
from uncollapse.evaluation.opened import Subject, encoded_means, opened, stored
from uncollapse.metrics.evaluation import EVAL_BATCH, evaluating
from uncollapse.metrics.quality import first, quality
from uncollapse.models.text_vae import LONGEST
from uncollapse.runs.layout import DONE, SAMPLES, SAMPLES_KNOWN, Run, runs_in

DRAWN = 1000  # sentences of the prior that the numbers are computed from
MOST = 1000  # characters, bytes or subwords that a sentence is written with
SHOWN, PAIRS, STEPS, NEIGHBOURS, DIMENSIONS = 12, 4, 7, 3, 8
SEARCHED = 5000  # training examples among which neighbours are sought
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
SEED = 7381
WARNED: set[Path] = set()  # studies whose lack of a language model was noted

Item = str | np.ndarray  # a sentence, or an image [S, S] of 0 and 1


@dataclass(frozen=True)
class View:
    """A table of items: the names of its columns, and rows of a name and one item for each column."""

    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Item]]]


def look(subject: Subject, split: str, unknown: bool = True) -> dict:
    """Write every view of one run, and return the numbers about its samples. InputError for a model that generates nothing."""
    if not subject.model.can_generate:
        raise InputError(
            f"{subject.run.folder}: samples are for text and images; this model's outputs are neither"
        )
    subject = replace(subject, limits=limits(subject, unknown))
    with evaluating(subject.model, train=False):
        drawn = (
            subject.model.generate(
                prior_codes(subject, DRAWN), generator=noise(subject, 1), **subject.limits
            )
            if is_text(subject)
            else None
        )
        views = {
            "prior": prior(subject, drawn),
            "reconstructions": reconstructions(subject, split),
            "interpolations": interpolations(subject, split),
            "neighbours": neighbours(subject, split),
            "traversal": traversal(subject, split),
        }
    folder = SAMPLES if unknown else SAMPLES_KNOWN
    for name, view in views.items():
        if view.rows:
            save(view, subject.run, folder, name)
    if drawn is None:
        return {}
    subject.run.write(folder, "drawn.txt", data=lines(subject.data.texts(drawn)))
    exact = subject.data.exact_log_prob
    baseline = None if exact else language_model(subject)
    held_out = first(subject.data.corpora["test"], DRAWN)
    found = quality(
        drawn, subject.data.corpora["train"], subject.data.vocabulary, exact, baseline, held_out
    )
    return {**found, "sample_unknown": unknown}


def limits(subject: Subject, unknown: bool) -> dict[str, Any]:
    """What a text model may write: as many words as ever; of smaller tokens as many as the longest training sentence has, within
    reason. InputError for images without `unknown`."""
    if not is_text(subject):
        if not unknown:
            raise InputError("--no-unknown: images have no unknown words")
        return {}
    data = subject.data
    longest = data.facts()["longest"]["train"]
    return {
        "longest": LONGEST if data.level.name == "word" else min(max(LONGEST, longest), MOST),
        "unknown": unknown,
    }


def language_model(subject: Subject) -> Callable[[Corpus], np.ndarray] | None:
    """log p [N] of sentences to the first finished head=lm run of the study on the same data.

    None, and a note, where there is none.
    """
    data = stored(subject.run).data
    for run in runs_in(subject.run.study, "lm"):
        if run.status == DONE and is_on(run, data):
            lm = opened(run, {OmegaConf.to_yaml(data): subject.data}, subject.say)
            return lambda corpus: log_prob(lm, corpus)
    if (study := subject.run.study) not in WARNED:  # once, not for each of its runs
        WARNED.add(study)
        subject.say("no finished run of head=lm on these data in the study: no sample_lm_ppl")
    return None


def is_on(run: Run, data: Any) -> bool:
    """Whether a run has these data; not one whose config is damaged."""
    try:
        return stored(run).data == data
    except InputError:
        return False


def log_prob(lm: Subject, corpus: Corpus) -> np.ndarray:
    """Of each sentence to a model without a code, [N] nats."""
    found = np.empty(len(corpus))
    with evaluating(lm.model, train=False):
        for part in near_equal(np.arange(len(corpus)), EVAL_BATCH):
            batch = make_batch(corpus, part).to(device(lm))
            found[batch.examples] = (
                -lm.model.nll(batch, lm.encode(batch).mean).double().cpu().numpy()
            )
    return found


# ---------------------------------------------------------------- the views


def prior(subject: Subject, drawn: Corpus | None) -> View:
    """The first of the drawn sentences, so that what is shown is part of what is counted; images are drawn here."""
    z = prior_codes(subject, DRAWN if is_text(subject) else SHOWN)
    by_drawing = (
        drawn
        if drawn is not None
        else subject.model.generate(z, generator=noise(subject, 1), **subject.limits)
    )
    columns = items(subject, by_drawing)[:SHOWN], likeliest(subject, z[:SHOWN])
    return View(("drawn", "likeliest"), numbered(columns))


def reconstructions(subject: Subject, split: str) -> View:
    batch = subject.batch(split, chosen(subject, split, SHOWN))
    q = subject.encode(batch, noise(subject, 2))
    codes = q.sample(generator=noise(subject, 3))
    drawn = subject.model.generate(codes, generator=noise(subject, 4), **subject.limits)
    columns = (
        originals(subject, split, batch.examples),
        likeliest(subject, q.mean),
        items(subject, drawn),
    )
    return View((split, "likeliest, of the mean", "drawn, of a code"), numbered(columns))


def interpolations(subject: Subject, split: str) -> View:
    examples = chosen(subject, split, 2 * PAIRS)
    examples = examples[: len(examples) // 2 * 2]
    start, end = codes(subject, split, examples).chunk(2)
    ways = [share * end + (1 - share) * start for share in np.linspace(0, 1, STEPS)]
    first, last = (originals(subject, split, part) for part in np.split(examples, 2))
    columns = [first, *(likeliest(subject, z) for z in ways), last]
    names = [f"{share:.2f}" for share in np.linspace(0, 1, STEPS)]
    return View((split, *names, split), numbered(columns))


def neighbours(subject: Subject, split: str) -> View:
    from sklearn.neighbors import NearestNeighbors

    examples, among = chosen(subject, split, SHOWN), chosen(subject, "train", SEARCHED)
    searched = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(among))).fit(
        encoded_means(subject, "train", among)
    )
    _, found = searched.kneighbors(encoded_means(subject, split, examples))
    columns = [
        originals(subject, split, examples),
        *(originals(subject, "train", among[near]) for near in found.T),
    ]
    return View(
        (split, *(f"{place}. nearest in train" for place in range(1, len(columns)))),
        numbered(columns),
    )


def traversal(subject: Subject, split: str) -> View:
    """The dimensions whose means vary most against their noise: those a code is told by."""
    parts, stream = near_equal(chosen(subject, split, SEARCHED), EVAL_BATCH), noise(subject, 5)
    found = [
        (q.mean, q.variance)
        for q in (subject.encode(subject.batch(split, part), stream) for part in parts)
    ]
    means, variances = (torch.cat(columns) for columns in zip(*found, strict=True))
    signal = means.var(0) / variances.mean(0).clamp_min(1e-12)
    busiest = signal.argsort(descending=True)[:DIMENSIONS].sort().values
    values = torch.quantile(means[:, busiest], means.new_tensor(QUANTILES), dim=0)  # [Q, J]
    moved = means[0].repeat(len(QUANTILES), len(busiest), 1)
    moved[:, torch.arange(len(busiest)), busiest] = values
    columns = [likeliest(subject, z) for z in moved]
    names = [f"z{j}" for j in busiest.tolist()]
    return View(
        [f"{share:.0%} quantile" for share in QUANTILES],
        [*zip(names, zip(*columns, strict=True), strict=True)],
    )


def numbered(columns: Sequence[Sequence[Item]]) -> list[tuple[str, Sequence[Item]]]:
    return [(str(number), row) for number, row in enumerate(zip(*columns, strict=True), 1)]


# ---------------------------------------------------------------- codes and what they say


def is_text(subject: Subject) -> bool:
    return hasattr(subject.data, "corpora")


def device(subject: Subject) -> torch.device:
    return next(subject.model.parameters()).device


def noise(subject: Subject, stream: int) -> torch.Generator:
    return torch.Generator(device(subject)).manual_seed(SEED + stream)


def chosen(subject: Subject, split: str, count: int) -> np.ndarray:
    """At most `count` examples, the same for every run."""
    size = subject.data.size(split)
    return np.sort(np.random.default_rng(SEED).choice(size, min(count, size), replace=False))


def prior_codes(subject: Subject, count: int) -> Tensor:
    """[count, D]."""
    return some_posterior(subject).sample_prior(count, noise(subject, 0))


def some_posterior(subject: Subject) -> Any:
    """Of two training examples: for the prior, which belongs to it."""
    return subject.encode(subject.batch("train", np.arange(2)), noise(subject, 0))


def codes(subject: Subject, split: str, examples: np.ndarray) -> Tensor:
    """Posterior means on the model's device, [N, D]."""
    parameter = next(subject.model.parameters())
    return torch.from_numpy(encoded_means(subject, split, examples)).to(parameter)


def likeliest(subject: Subject, z: Tensor) -> list[Item]:
    """Of points [N, D], each moved to the nearest code where not every point is one: means, and what lies between codes, need not be."""
    near = nearest_codes(some_posterior(subject), z)
    return items(subject, subject.model.generate(near, greedy=True, **subject.limits))


def nearest_codes(q: Any, z: Tensor) -> Tensor:
    """Points as they are, or moved to the nearest code where not every point is one."""
    return q.project(z)


def originals(subject: Subject, split: str, examples: np.ndarray) -> list[Item]:
    data = subject.data
    if not is_text(subject):
        return items(subject, torch.from_numpy(data.binary(split)[examples]))
    return items(subject, sentences(data.corpora[split], examples))


def items(subject: Subject, generated: Any) -> list[Item]:
    if isinstance(generated, Corpus):
        return [*subject.data.texts(generated)]
    side = int(generated.shape[1] ** 0.5)
    return [*generated.cpu().numpy().reshape(-1, side, side)]


# ---------------------------------------------------------------- files


def save(view: View, run: Run, folder: str, name: str) -> None:
    """Text as name.txt, images as name.png."""
    if isinstance(view.rows[0][1][0], str):
        table = [("", *view.columns), *((row, *texts) for row, texts in view.rows)]
        run.write(folder, f"{name}.txt", data=lines("\t".join(map(str, row)) for row in table))
    else:
        run.write(folder, f"{name}.png", data=png([images for _, images in view.rows]))


def lines(texts: Iterable[str]) -> bytes:
    return "".join(f"{text}\n" for text in texts).encode()


def png(rows: Sequence[Sequence[Item]]) -> bytes:
    """Images [S, S] of 0 and 1, dark on light, as a grid: each row of the view a row; small ones enlarged."""
    from io import BytesIO

    from PIL import Image

    pictures = np.array([[*row] for row in rows], dtype=float)  # [R, C, S, S]
    enlarged = np.kron(1 - pictures, np.ones((max(1, 56 // pictures.shape[-1]),) * 2))
    framed = np.pad(enlarged, ((0, 0), (0, 0), (2, 2), (2, 2)), constant_values=0.6)
    grid = framed.transpose(0, 2, 1, 3).reshape(framed.shape[0] * framed.shape[2], -1)
    file = BytesIO()
    Image.fromarray(np.uint8(255 * grid)).save(file, "PNG")
    return file.getvalue()
