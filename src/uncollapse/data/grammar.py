"""Grammars with latent factors: sentences whose probability and entropy are known exactly.

Posterior collapse is hard to judge on text of unknown entropy. Here p(x), its entropy and the
posterior over the factors that a latent code should carry are available in closed form.

**The grammar.** A value is drawn for each *factor* (topic, tense ...) independently. Each
*combination* f of values is one of C component grammars. S *slots* are then filled from left to
right, independently given f, each with one *phrase* (zero or more words) from a table that depends
on some of the factors. The sentence is the concatenation of the phrases:

    p(x) = Σ_f p(f) Π_s p(phrase_s | f)

This is exact because each sentence splits into phrases in one way only, which the constructor
verifies (phrase_parser.py). The check is slightly stricter than needed: the split must be unique
over the union of all component grammars.

**Entropy.** H(x) = H(f) + H(x|f) - H(f|x). The first two are sums over the tables: with unique
derivations, H(x|f) is the sum of the slots' entropies. H(f|x) needs a sum over all sentences, but
only through the direction of their likelihood profile (p(x|f))_f. Sentences with proportional
profiles are pooled slot by slot (profile_pooling.py), which leaves some thousands of classes of the
more than 10^11 sentences of the built-in grammar. Profiles that agree to nine digits are pooled
too; this moves the entropy by less than those digits, as the masses are added without rounding.

Logarithms are natural. Probabilities of impossible sentences are exactly zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from uncollapse.data.phrase_parser import PhraseParser
from uncollapse.data.profile_pooling import Floats, Ints, SparseRows, pool_profiles

# A block of joint log-probabilities of this many sentences stays within the processor's cache.
SENTENCES_AT_ONCE = 1024


@dataclass(frozen=True)
class Sample:
    """n sentences in one array: sentence i is ``tokens[offsets[i]:offsets[i + 1]]``."""

    tokens: NDArray[np.int32]  # [total], ids into Grammar.words
    offsets: Ints  # [n + 1]
    factors: NDArray[np.int8]  # [n, F], index of each factor's value

    def __len__(self) -> int:
        return len(self.offsets) - 1


@dataclass(frozen=True)
class Slot:
    """One position in the sentence: the probabilities of its phrases given the factors ``given``.

    A phrase is words separated by single spaces; the empty string leaves the slot empty. ``table``
    has one row per combination of values. Its key is the tuple of values in the order of ``given``
    (the empty tuple if there are none).
    """

    name: str
    given: tuple[str, ...]
    table: Mapping[tuple[str, ...], Mapping[str, float]]


@dataclass(frozen=True)
class Entropies:
    """The entropy of a grammar and its components, nats per sentence."""

    sentence: float  # H(x)
    factors: float  # H(f)
    given_factors: float  # H(x | f)
    factors_left: float  # H(f | x)
    information: dict[str, float]  # I(x; f_k) for each factor


class Grammar:
    """A finite mixture of unambiguous slot grammars.

    ``priors`` gives the values of each factor with their probabilities, ``slots`` the sentence
    from left to right. ValueError if a table is incomplete or does not sum to one, or if the
    slots are ambiguous.
    """

    def __init__(self, priors: Mapping[str, Mapping[str, float]], slots: Sequence[Slot]) -> None:
        if not priors or not slots:
            raise ValueError("a grammar needs at least one factor and one slot")
        for name, prior in priors.items():
            _check_sums_to_one(prior, f"factor {name!r}")
        self.factors: dict[str, tuple[str, ...]] = {
            name: tuple(prior) for name, prior in priors.items()
        }
        self.slots = tuple(slots)
        self._marginals = [
            np.array(list(prior.values()), dtype=np.float64) for prior in priors.values()
        ]
        shape = [len(values) for values in self.factors.values()]
        #: [C, F], index of each factor's value in each combination; the last factor is fastest
        self.combinations: Ints = np.indices(shape).reshape(len(shape), -1).T.astype(np.int64)
        self._prior = np.ones(len(self.combinations))
        # factors are independent, so a combination's prior is the product of theirs
        for k, marginal in enumerate(self._marginals):
            self._prior *= marginal[self.combinations[:, k]]
        filled = [_fill(slot, self.factors, self.combinations) for slot in self.slots]
        self._tables: list[Floats] = [table for _, table in filled]  # per slot [phrases, C]
        self._phrases = [phrase for phrases, _ in filled for phrase in phrases]
        self._slot_of = np.repeat(np.arange(len(filled)), [len(phrases) for phrases, _ in filled])
        self.words: tuple[str, ...] = tuple(
            sorted({word for phrase in self._phrases for word in phrase.split()})
        )
        with np.errstate(divide="ignore"):  # the log of an impossible phrase is -inf
            self._log_prior = np.log(self._prior)
            self._log_table = np.log(np.concatenate(self._tables))  # [phrases of all slots, C]
        ids = {word: i for i, word in enumerate(self.words)}
        # all phrases are in one array; `_start` and `_length` find one
        spelled = [tuple(ids[word] for word in phrase.split()) for phrase in self._phrases]
        self._length = np.array([len(s) for s in spelled])
        self._start = np.cumsum(self._length) - self._length
        self._spelled = np.array([token for s in spelled for token in s], dtype=np.int32)
        self._parser = PhraseParser(spelled, self._slot_of, len(self.words), self._describe)

    def sample(self, n: int, seed: int | Sequence[int]) -> Sample:
        """Draw ``n`` sentences and their factors; the same seed and n give the same sample."""
        rng = np.random.default_rng(seed)
        # all sentences draw their combination first, then slot by slot: the order fixes the
        # random stream
        combination = _draw(self._prior[:, None], np.zeros(n, dtype=np.int64), rng)
        chosen = np.empty((n, len(self._tables)), dtype=np.int64)
        first = 0
        for s, table in enumerate(self._tables):
            chosen[:, s] = first + _draw(table, combination, rng)
            first += len(table)
        lengths = self._length[chosen]
        ends = np.cumsum(lengths)
        # Token j of the corpus is token (j - start of its phrase in the corpus) of that phrase.
        shift = np.repeat(self._start[chosen].ravel() - (ends - lengths.ravel()), lengths.ravel())
        tokens = self._spelled[shift + np.arange(len(shift))]
        offsets = np.concatenate([[0], np.cumsum(lengths.sum(axis=1))]).astype(np.int64)
        return Sample(tokens, offsets, self.combinations[combination].astype(np.int8))

    def log_prob(self, tokens: ArrayLike, offsets: ArrayLike) -> Floats:
        """log p(x), nats, [n]; -inf for impossible sentences, unknown ids and empty sentences."""
        blocks = [_log_sum_exp(joint) for joint in self._joint_blocks(tokens, offsets)]
        return np.concatenate(blocks) if blocks else np.zeros(0)

    def log_joint(self, tokens: ArrayLike, offsets: ArrayLike) -> Floats:
        """log p(f) + log p(x | f), nats, [n, C], with the columns in the order of ``combinations``.

        Takes 8 n C bytes: call it on blocks of sentences.
        """
        blocks = list(self._joint_blocks(tokens, offsets))
        return np.concatenate(blocks) if blocks else np.zeros((0, len(self._prior)))

    def factor_posterior(self, tokens: ArrayLike, offsets: ArrayLike) -> dict[str, Floats]:
        """p(f_k = v | x) as name -> [n, values]; rows of NaN for impossible sentences."""
        cards = [len(values) for values in self.factors.values()]
        picks = self._value_indicators()
        blocks = [np.zeros((0, sum(cards)))]
        for joint in self._joint_blocks(tokens, offsets):
            with np.errstate(invalid="ignore"):  # -inf - (-inf) gives the promised NaN
                # normalised in log space first: the joint of a long sentence underflows
                blocks.append(np.exp(joint - _log_sum_exp(joint)[:, None]) @ picks)
        parts = np.split(np.concatenate(blocks), np.cumsum(cards)[:-1], axis=1)
        return dict(zip(self.factors, parts, strict=True))

    def entropy(self) -> float:
        """H(x), nats per sentence, exact up to rounding."""
        return self.entropies.sentence

    @cached_property
    def entropies(self) -> Entropies:
        """H(x) and its components, from pooled likelihood profiles."""
        classes: SparseRows = pool_profiles(self._prior, self._tables)
        per_factor = [_entropy(marginal) for marginal in self._marginals]
        factors = sum(per_factor)
        given = float(sum(self._prior @ _column_entropies(table) for table in self._tables))
        # classes are pooled sentences, so this is the entropy of the class of x; what is left of
        # the joint entropy of class and f is H(f|x)
        of_class = _entropy(np.add.reduceat(classes.values, classes.bounds[:-1]))
        left = _entropy(classes.values) - of_class
        information = {}
        for k, (name, values) in enumerate(self.factors.items()):
            # one number for class and value together
            cell = classes.owners * len(values) + self.combinations[classes.columns, k]
            # I(x; f_k) = H(f_k) - H(f_k | class)
            information[name] = per_factor[k] - (
                _entropy(np.bincount(cell, classes.values)) - of_class
            )
        return Entropies(factors + given - left, factors, given, left, information)

    def text(self, tokens: ArrayLike, offsets: ArrayLike) -> list[str]:
        """Each sentence as words separated by spaces; ids outside the vocabulary read ``<unk>``."""
        ids, bounds = np.asarray(tokens), np.asarray(offsets)
        valid = (ids >= 0) & (ids < len(self.words))
        words = [*self.words, "<unk>"]
        spelled = [words[i] for i in np.where(valid, ids, len(self.words)).tolist()]
        return [
            " ".join(spelled[a:b])
            for a, b in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
        ]

    def _joint_blocks(self, tokens: ArrayLike, offsets: ArrayLike) -> Iterator[Floats]:
        """``log_joint`` for SENTENCES_AT_ONCE sentences at a time."""
        ids, bounds = np.asarray(tokens), np.asarray(offsets, dtype=np.int64)
        for begin in range(0, len(bounds) - 1, SENTENCES_AT_ONCE):
            chosen, possible = self._parser(ids, bounds[begin : begin + SENTENCES_AT_ONCE + 1])
            joint = np.tile(self._log_prior, (len(chosen), 1))
            # one slot after another, which needs no array [n, S, C]
            for column in chosen.T:
                joint += self._log_table[column]
            joint[~possible] = -np.inf
            yield joint

    def _value_indicators(self) -> Floats:
        """[C, values of all factors]: 1 where the combination has that value.

        A joint times this matrix is summed over all other factors.
        """
        columns = [np.eye(len(m))[self.combinations[:, k]] for k, m in enumerate(self._marginals)]
        return np.concatenate(columns, axis=1)

    def _describe(self, derivation: Sequence[int]) -> str:
        """A derivation (phrase ids, empty phrases left out) for an error message."""
        return " + ".join(
            f"{self._phrases[p]!r} as {self.slots[self._slot_of[p]].name}" for p in derivation
        )


def _check_sums_to_one(row: Mapping[str, float], what: str) -> None:
    # written so that NaN fails, too
    if not (all(p >= 0 for p in row.values()) and abs(sum(row.values()) - 1) <= 1e-9):
        raise ValueError(
            f"{what}: probabilities must be non-negative and sum to 1, not {sum(row.values()):.9g}"
        )


def _fill(
    slot: Slot, factors: Mapping[str, tuple[str, ...]], combinations: Ints
) -> tuple[list[str], Floats]:
    """The phrases of a slot, and their probabilities given each combination, [phrases, C]."""
    unknown = set(slot.given) - set(factors)
    if unknown:
        raise ValueError(f"slot {slot.name!r} depends on unknown factors {sorted(unknown)}")
    for key, row in slot.table.items():
        _check_sums_to_one(row, f"slot {slot.name!r} given {key}")
    phrases = list(
        # dict.fromkeys removes duplicates and keeps the order, on which the random stream depends
        dict.fromkeys(phrase for row in slot.table.values() for phrase, p in row.items() if p > 0)
    )
    # the parser splits at single spaces, so anything else would give empty words
    misspaced = [phrase for phrase in phrases if phrase != " ".join(phrase.split())]
    if misspaced:
        raise ValueError(
            f"slot {slot.name!r}: words of {misspaced[0]!r} are not separated by single spaces"
        )
    names = list(factors)
    columns = []
    for combination in combinations:
        key = tuple(factors[name][combination[names.index(name)]] for name in slot.given)
        if key not in slot.table:
            raise ValueError(f"slot {slot.name!r} has no row for {key}")
        columns.append([slot.table[key].get(phrase, 0.0) for phrase in phrases])
    return phrases, np.array(columns, dtype=np.float64).T


def _draw(table: Floats, column: Ints, rng: np.random.Generator) -> Ints:
    """Row indices [n], entry i drawn from column ``column[i]`` of ``table`` [rows, columns]."""
    steps = np.cumsum(table, axis=0).T
    # Dividing by the last step makes it exactly 1, so rows of probability zero at the end are
    # never drawn.
    steps = steps / steps[:, -1:] + np.arange(len(steps))[:, None]
    # All columns make one increasing sequence, of which column c occupies (c, c + 1]. The minimum
    # keeps a rounded sum from reaching the next column.
    mark = np.minimum(column + rng.random(len(column)), np.nextafter(column + 1.0, 0.0))
    return np.searchsorted(steps.ravel(), mark, side="right") - column * len(table)


def _log_sum_exp(rows: Floats) -> Floats:
    """log Σ exp over the last axis, [n]; -inf where all entries are."""
    top = rows.max(axis=1)
    # a row without any finite entry: subtracting -inf would give NaN
    top[np.isneginf(top)] = 0.0
    with np.errstate(divide="ignore"):
        return top + np.log(np.exp(rows - top[:, None]).sum(axis=1))


def _plogp(p: NDArray) -> Floats:
    """p log p with 0 log 0 = 0."""
    # log 1 = 0 where p = 0, so that no warning is raised
    return p * np.log(np.where(p > 0, p, 1.0))


def _entropy(p: NDArray) -> float:
    return float(-_plogp(p).sum())


def _column_entropies(table: Floats) -> Floats:
    """Entropy of each column's distribution, nats."""
    return -_plogp(table).sum(axis=0)
