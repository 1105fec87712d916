"""Vectors of numbers, and Gaussian data whose every quantity is known in closed form."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from uncollapse.data.batches import epoch_batches
from uncollapse.data.text import SPLITS, check_batching
from uncollapse.errors import MAX_EXAMPLES, InputError, check_integer, check_number
from uncollapse.interfaces.data import Batch, BestAccuracy, Data, DataConfig
from uncollapse.json_types import JsonObject


@dataclass(frozen=True)
class VectorBatch(Batch):
    """B examples: x [B, P] float32. `targets` is for text only."""

    x: Tensor
    examples: np.ndarray
    targets: None = None

    def __len__(self) -> int:
        return len(self.x)

    def to(self, device: torch.device) -> "VectorBatch":
        return replace(self, x=self.x.to(device))

    def bag_nll(self, outputs: Tensor) -> Tensor:
        """-log N(x; outputs, I), outputs [B, P]; [B] nats."""
        # the variance is 1, so only the constant of the normaliser is added
        return 0.5 * ((self.x - outputs).square() + math.log(2 * math.pi)).sum(-1)


@dataclass(frozen=True)
class VectorData(Data):
    """Vectors: split -> [N, P] float32, and the eigenvalues of their covariance [P], if known."""

    vectors: Mapping[str, np.ndarray]
    batch_size: int
    batching: str = "mixed"
    entropy: float | None = None
    log_prob: Mapping[str, np.ndarray] = field(default_factory=dict)
    labels: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    best_accuracy: BestAccuracy | None = None
    eigenvalues: tuple[float, ...] | None = None
    content: str | None = None  # a fingerprint, where the config alone does not determine the data
    divided: JsonObject | None = None  # the file that the splits come from, and their shares

    @property
    def inputs(self) -> int:
        """P, the numbers per example."""
        return self.vectors["train"].shape[1]

    def size(self, split: str) -> int:
        return len(self.vectors[split])

    def lengths(self, split: str) -> np.ndarray:
        """P for each example, [N]."""
        return np.full(self.size(split), self.inputs)

    def batches(
        self,
        split: str,
        seed: int,
        epoch: int,
        size: int | None = None,
        batching: str | None = None,
    ) -> Sequence[np.ndarray]:
        """The example numbers of each batch of one epoch."""
        return epoch_batches(
            self.lengths(split), size or self.batch_size, batching or self.batching, seed, epoch
        )

    def batch(self, split: str, examples: np.ndarray, epoch: int = 0) -> VectorBatch:
        """These examples; the same in every epoch."""
        return VectorBatch(torch.from_numpy(self.vectors[split][examples]), examples)

    def facts(self) -> JsonObject:
        """Dimension, sizes, and the exactly known quantities."""
        return {
            "dim": self.inputs,
            **{split: len(vectors) for split, vectors in self.vectors.items()},
            "eigenvalues": None if self.eigenvalues is None else list(self.eigenvalues),
            "entropy": self.entropy,
            "oracle_nll": {split: -float(values.mean()) for split, values in self.log_prob.items()}
            or None,
            "content": self.content,
            **({"divided": self.divided} if self.divided else {}),
        }


# ---------------------------------------------------------------- Gaussian data


@dataclass(kw_only=True)
class GaussianConfig(DataConfig):
    """x ~ N(0, Sigma), Sigma = U diag(eigenvalues) U^T, with a random rotation U.

    The mean of each split is exactly 0 and its covariance (divided by N) exactly Sigma, up to
    float32 rounding. The mean log-likelihood of a Gaussian model and the optimum of a linear VAE
    depend on a sample through these two moments only. So the known quantities of the distribution
    hold for each split, too: a trained model misses them only by imperfect optimisation, and cannot
    overfit.
    The data depend on data_seed, not on the seed of the run.
    """

    kind: ClassVar[str] = "vectors"
    eigenvalues: list[float]
    train: int
    valid: int
    test: int
    data_seed: int
    batch_size: int
    batching: str

    def load(self) -> VectorData:
        """InputError for eigenvalues missing or <= 0, and for a split with too few examples."""
        check_batching(self.batch_size, self.batching)
        check_integer("data.data_seed", self.data_seed, 0)
        eigenvalues = self.spectrum()
        # a random stream of its own, so that all splits share the rotation
        axes = draw_rotation(len(eigenvalues), np.random.default_rng((self.data_seed, len(SPLITS))))
        vectors, log_prob = {}, {}
        for stream, split in enumerate(SPLITS):
            rng = np.random.default_rng((self.data_seed, stream))
            draws = rng.standard_normal((self.examples(split), len(eigenvalues)))
            # scaled along the axes, then rotated
            vectors[split] = (match_moments(draws) * np.sqrt(eigenvalues) @ axes.T).astype(
                np.float32
            )
            # of the float32 values that the model sees, computed in float64
            log_prob[split] = log_density(vectors[split], axes, eigenvalues)
        return VectorData(
            vectors,
            self.batch_size,
            self.batching,
            entropy=gaussian_entropy(eigenvalues),
            log_prob=log_prob,
            eigenvalues=tuple(eigenvalues.tolist()),
        )

    def spectrum(self) -> np.ndarray:
        """The eigenvalues [P], checked."""
        if not self.eigenvalues:
            raise InputError(
                "data.eigenvalues=[]: allowed is a list of at least one number above 0"
            )
        return np.array(
            [
                check_number(f"data.eigenvalues[{i}]", value, 0)
                for i, value in enumerate(self.eigenvalues)
            ]
        )

    def examples(self, split: str) -> int:
        """The number of examples of a split, checked.

        Fewer than P + 1 examples cannot have the covariance Sigma.
        """
        size, dim = (
            check_integer(f"data.{split}", getattr(self, split), 1, MAX_EXAMPLES),
            len(self.eigenvalues),
        )
        if size <= dim:
            raise InputError(
                f"data.{split}={size}: {dim} data.eigenvalues need at least {dim + 1} examples"
            )
        return size


def draw_rotation(dim: int, rng: np.random.Generator) -> np.ndarray:
    """An orthogonal matrix [dim, dim], uniformly distributed (Mezzadri 2007)."""
    q, r = np.linalg.qr(rng.standard_normal((dim, dim)))  # the signs below make it unique
    # without this, the distribution would depend on the sign convention of LAPACK
    return q * np.sign(np.diag(r))


def match_moments(draws: np.ndarray) -> np.ndarray:
    """Draws [N, P], N > P, mapped to mean 0 and identity covariance (divided by N)."""
    # whitening by r, the Cholesky factor of the sample's own covariance
    # the columns of q are orthonormal, so sqrt(N) q has the identity as its covariance
    q, r = np.linalg.qr(draws - draws.mean(0))
    return np.sqrt(len(draws)) * q * np.sign(np.diag(r))


def log_density(x: np.ndarray, axes: np.ndarray, eigenvalues: np.ndarray) -> np.ndarray:
    """log N(x; 0, axes diag(eigenvalues) axes^T) of each x [N, P]; [N] float64, nats."""
    along = x.astype(np.float64) @ axes
    return -0.5 * (along**2 / eigenvalues + np.log(2 * np.pi * eigenvalues)).sum(1)


def gaussian_entropy(eigenvalues: np.ndarray) -> float:
    """1/2 ln det(2 pi e Sigma), nats."""
    return 0.5 * float(np.log(2 * np.pi * np.e * eigenvalues).sum())
