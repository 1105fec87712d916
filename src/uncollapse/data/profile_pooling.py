"""Likelihood profiles of all sentences of a grammar, pooled where they are proportional.

The profile of a sentence is (p(x|f))_f over the combinations f of factor values. Sentences with
proportional profiles have the same posterior over f, so sums over all sentences need only one
profile of each direction, with the mass of all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class SparseRows:
    """A matrix of `width` columns, mostly zero.

    Row i has the entries bounds[i]:bounds[i + 1] of ``values``, in these ``columns``.
    """

    bounds: Ints
    columns: Ints
    values: Floats
    width: int

    @property
    def owners(self) -> Ints:
        """The row of each value."""
        return np.repeat(np.arange(len(self.bounds) - 1), np.diff(self.bounds))

    def dense(self) -> Floats:
        """The same matrix as an ordinary array."""
        rows = np.zeros((len(self.bounds) - 1, self.width))
        rows[self.owners, self.columns] = self.values
        return rows


def make_sparse(row: Floats) -> SparseRows:
    """A matrix of one row."""
    columns = np.flatnonzero(row)
    return SparseRows(np.array([0, len(columns)]), columns, row[columns], len(row))


def pool_profiles(prior: Floats, tables: Sequence[Floats]) -> SparseRows:
    """Joint mass p(class, f) [classes, C] of the classes of sentences with proportional profiles.

    `prior` [C] is p(f), `tables` are p(phrase|f) [phrases, C], one for each slot.
    """
    ones = np.ones(len(prior))
    profiles = [multiply_and_pool(make_sparse(ones), table).dense() for table in tables]
    classes = make_sparse(prior)
    for factors in sorted(profiles, key=len):  # small ones first: fewest products overall
        classes = multiply_and_pool(classes, factors)
    return classes


def multiply_and_pool(rows: SparseRows, factors: Floats) -> SparseRows:
    """Every product of one of ``rows`` with one of ``factors`` [m, C], proportional ones pooled.

    Products that agree to nine digits are pooled: the first stands for all, with their total mass.
    Products of zeros only are dropped.
    """
    # Two fixed random projections identify a direction, which is much cheaper than comparing
    # hundreds of columns.
    products = factors[:, rows.columns] * rows.values  # [m, entries]
    # a fixed seed: which sentences are pooled must not change from run to run
    weights = np.random.default_rng(0).random((2, rows.width))[:, rows.columns]
    mass, one, other = (
        np.add.reduceat(products * w, rows.bounds[:-1], axis=1) for w in (1.0, *weights)
    )  # [m, rows]
    # a product of zeros only has no mass and no direction
    factor, row = np.nonzero(mass)
    mass, one, other = mass[factor, row], one[factor, row], other[factor, row]
    # both projections, normalised to nine digits, in one integer
    keys = np.rint(one / mass * 1e9).astype(np.int64) << 31 | np.rint(other / mass * 1e9).astype(
        np.int64
    )
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    scale = np.bincount(group, mass) / mass[first]
    factor, row = factor[first], row[first]
    # Entry k of a new row is entry k of the row it comes from.
    sizes = np.diff(rows.bounds)[row]
    owner = np.repeat(np.arange(len(row)), sizes)
    entry = np.arange(len(owner)) + np.repeat(rows.bounds[row] - (np.cumsum(sizes) - sizes), sizes)
    values = products[factor[owner], entry] * scale[owner]
    kept = values > 0
    bounds = np.concatenate([[0], np.cumsum(np.bincount(owner[kept], minlength=len(row)))])
    return SparseRows(bounds, rows.columns[entry[kept]], values[kept], rows.width)
