"""A corpus whose every quantity is known exactly: sentences from a small grammar with sentence-level latent factors.

Posterior collapse is hard to judge on text of unknown entropy. Here the data distribution p(x), its entropy and the
posterior over what a latent code should carry are all available in closed form, so a model can be held against them.

**Shape of the grammar.** First a value is drawn for each *factor* (topic, tense, …), independently; one such
*combination* f is one of C component grammars. Then S *slots* are filled from left to right, independently given f,
each with one *phrase* (zero or more words) from a table that looks at some of the factors. The sentence is the
concatenation:

    p(x) = Σ_f p(f) Π_s p(phrase_s | f)

That is exact because each sentence splits into phrases in one way only, which the constructor verifies. The check is a
little stricter than it need be: the split must be unique over the union of all component grammars.

**Parsing.** The slots form a finite automaton over words (a state is "between two slots" or "inside a phrase").
It is made deterministic by the subset construction; a sentence runs forward through the subsets and, from the
accepting state, back through the one state of each subset that leads there. If some word can lead into one state from
two members of a reachable subset, two derivations exist and the grammar is refused. Each step is one table look-up
for a whole block of sentences.

**Entropy.** H(x) = H(f) + H(x|f) - H(f|x). The first two are sums over the tables (unique derivations make
H(x|f) the sum of the slots' entropies). The last needs a sum over all sentences, but only through the *direction* of
their likelihood profile (p(x|f))_f: sentences with proportional profiles have the same posterior over f and can be
pooled. Slot by slot, the set of pooled profiles is multiplied by the slot's own pooled profiles and pooled again,
which leaves some thousands of classes of the built-in grammar's more than 10^11 sentences, and few factor combinations
in each. Profiles that agree to nine digits are pooled too; this moves the entropy by less than those digits, as the
masses are added without rounding.

All logarithms are natural; all probabilities of impossible sentences are exactly zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
State = tuple[int, int, int]  # of the parser's automaton

SENTENCES_AT_ONCE = 1024  # sentences worked on at a time: a block of joint log-probabilities stays within the processor's cache


@dataclass(frozen=True)
class Sample:
    """n sentences laid end to end: sentence i is ``tokens[offsets[i]:offsets[i + 1]]``."""

    tokens: NDArray[np.int32]  # [total], ids into Grammar.words
    offsets: Ints  # [n + 1]
    factors: NDArray[np.int8]  # [n, F], index of each factor's value

    def __len__(self) -> int:
        return len(self.offsets) - 1


@dataclass(frozen=True)
class Slot:
    """One place in the sentence: for each value of the factors in ``given``, the probabilities of its phrases.

    A phrase is words separated by single spaces; the empty string leaves the slot empty. ``table`` has one row per
    combination of values, keyed by the tuple of values in the order of ``given`` (the empty tuple if there are none).
    """

    name: str
    given: tuple[str, ...]
    table: Mapping[tuple[str, ...], Mapping[str, float]]


@dataclass(frozen=True)
class Entropies:
    """The parts of the entropy of a grammar, nats per sentence."""

    sentence: float  # H(x)
    factors: float  # H(f)
    given_factors: float  # H(x | f)
    factors_left: float  # H(f | x)
    information: dict[str, float]  # I(x; f_k) for each factor


class Grammar:
    """A finite mixture of unambiguous slot grammars.

    ``priors`` gives each factor's values and their probabilities, ``slots`` the sentence from left to right.
    Raises ValueError if a table is incomplete, does not sum to one, or the slots are ambiguous.
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
        #: [C, F], the value index of each factor in each combination; the last factor changes fastest
        self.combinations: Ints = np.indices(shape).reshape(len(shape), -1).T.astype(np.int64)
        self._prior = np.ones(len(self.combinations))
        for k, marginal in enumerate(self._marginals):
            self._prior *= marginal[self.combinations[:, k]]
        filled = [_fill(slot, self.factors, self.combinations) for slot in self.slots]
        self._tables: list[Floats] = [table for _, table in filled]  # per slot [phrases, C]
        self._phrases = [phrase for phrases, _ in filled for phrase in phrases]
        self._slot_of = np.repeat(np.arange(len(filled)), [len(phrases) for phrases, _ in filled])
        self.words: tuple[str, ...] = tuple(
            sorted({word for phrase in self._phrases for word in phrase.split()})
        )
        with np.errstate(divide="ignore"):
            self._log_prior = np.log(self._prior)
            self._log_table = np.log(np.concatenate(self._tables))  # [phrases of all slots, C]
        ids = {word: i for i, word in enumerate(self.words)}
        spelled = [tuple(ids[word] for word in phrase.split()) for phrase in self._phrases]
        self._length = np.array([len(s) for s in spelled])
        self._start = np.cumsum(self._length) - self._length
        self._spelled = np.array([token for s in spelled for token in s], dtype=np.int32)
        self._parser = _Parser(spelled, self._slot_of, len(self.words), self._describe)

    def sample(self, n: int, seed: int) -> Sample:
        """Draw ``n`` sentences and their factors; the same seed and n give the same sample."""
        rng = np.random.default_rng(seed)
        combination = _draw(self._prior[:, None], np.zeros(n, dtype=np.int64), rng)
        chosen = np.empty((n, len(self._tables)), dtype=np.int64)
        first = 0
        for s, table in enumerate(self._tables):
            chosen[:, s] = first + _draw(table, combination, rng)
            first += len(table)
        lengths = self._length[chosen]
        ends = np.cumsum(lengths)
        # Token j of the corpus is token (j - where its phrase begins in the corpus) of that phrase.
        shift = np.repeat(self._start[chosen].ravel() - (ends - lengths.ravel()), lengths.ravel())
        tokens = self._spelled[shift + np.arange(len(shift))]
        offsets = np.concatenate([[0], np.cumsum(lengths.sum(axis=1))]).astype(np.int64)
        return Sample(tokens, offsets, self.combinations[combination].astype(np.int8))

    def log_prob(self, tokens: ArrayLike, offsets: ArrayLike) -> Floats:
        """log p(x), nats, [n]; -inf for what the grammar cannot make (unknown ids and empty sentences included)."""
        blocks = [_log_sum_exp(joint) for joint in self._joint_blocks(tokens, offsets)]
        return np.concatenate(blocks) if blocks else np.zeros(0)

    def log_joint(self, tokens: ArrayLike, offsets: ArrayLike) -> Floats:
        """log p(f) + log p(x | f), nats, [n, C], with the columns in the order of ``combinations``.

        Takes 8 n C bytes: call it on blocks of sentences.
        """
        blocks = list(self._joint_blocks(tokens, offsets))
        return np.concatenate(blocks) if blocks else np.zeros((0, len(self._prior)))

    def factor_posterior(self, tokens: ArrayLike, offsets: ArrayLike) -> dict[str, Floats]:
        """p(f_k = v | x) as name -> [n, values]; rows of NaN for sentences the grammar cannot make."""
        cards = [len(values) for values in self.factors.values()]
        picks = self._value_indicators()
        blocks = [np.zeros((0, sum(cards)))]
        for joint in self._joint_blocks(tokens, offsets):
            with np.errstate(invalid="ignore"):  # -inf - (-inf) is the NaN that is promised
                blocks.append(np.exp(joint - _log_sum_exp(joint)[:, None]) @ picks)
        parts = np.split(np.concatenate(blocks), np.cumsum(cards)[:-1], axis=1)
        return dict(zip(self.factors, parts, strict=True))

    def entropy(self) -> float:
        """H(x), nats per sentence, exact up to rounding."""
        return self.entropies.sentence

    @cached_property
    def entropies(self) -> Entropies:
        """H(x) and its parts, by the pooling of likelihood profiles that the module's docstring explains."""
        classes = self._profile_classes()
        per_factor = [_entropy(marginal) for marginal in self._marginals]
        factors = sum(per_factor)
        given = float(sum(self._prior @ _column_entropies(table) for table in self._tables))
        of_class = _entropy(np.add.reduceat(classes.values, classes.bounds[:-1]))
        left = _entropy(classes.values) - of_class
        information = {}
        for k, (name, values) in enumerate(self.factors.items()):
            cell = (
                classes.owners * len(values) + self.combinations[classes.columns, k]
            )  # class and value together
            information[name] = per_factor[k] - (
                _entropy(np.bincount(cell, classes.values)) - of_class
            )
        return Entropies(factors + given - left, factors, given, left, information)

    def text(self, tokens: ArrayLike, offsets: ArrayLike) -> list[str]:
        """Each sentence as words separated by spaces; ids outside the vocabulary read ``<unk>``."""
        ids, bounds = np.asarray(tokens), np.asarray(offsets)
        known = (ids >= 0) & (ids < len(self.words))
        words = [*self.words, "<unk>"]
        spelled = [words[i] for i in np.where(known, ids, len(self.words)).tolist()]
        return [
            " ".join(spelled[a:b])
            for a, b in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
        ]

    def _joint_blocks(self, tokens: ArrayLike, offsets: ArrayLike) -> Iterator[Floats]:
        """``log_joint`` for BLOCK sentences at a time."""
        ids, bounds = np.asarray(tokens), np.asarray(offsets, dtype=np.int64)
        for begin in range(0, len(bounds) - 1, SENTENCES_AT_ONCE):
            chosen, possible = self._parser(ids, bounds[begin : begin + SENTENCES_AT_ONCE + 1])
            joint = np.tile(self._log_prior, (len(chosen), 1))
            for column in chosen.T:
                joint += self._log_table[column]
            joint[~possible] = -np.inf
            yield joint

    def _value_indicators(self) -> Floats:
        """[C, values of all factors]: 1 where the combination has that value. Sums a joint over the other factors."""
        columns = [np.eye(len(m))[self.combinations[:, k]] for k, m in enumerate(self._marginals)]
        return np.concatenate(columns, axis=1)

    def _profile_classes(self) -> _Sparse:
        """Joint mass p(class, f), [classes, C], of the classes of sentences with proportional likelihood profiles."""
        ones = np.ones(len(self._prior))
        profiles = [_pooled_products(_sparse(ones), table).dense() for table in self._tables]
        classes = _sparse(self._prior)
        for factors in sorted(profiles, key=len):  # small ones first: fewest products overall
            classes = _pooled_products(classes, factors)
        return classes

    def _describe(self, derivation: Sequence[int]) -> str:
        """A derivation (phrase ids, empty phrases left out) for an error message."""
        return " + ".join(
            f"{self._phrases[p]!r} as {self.slots[self._slot_of[p]].name}" for p in derivation
        )


class _Parser:
    """Splits sentences into phrases, a block at a time. The module's docstring explains the method.

    Automaton states are ``(slot, 0, 0)`` (slots before it are filled) and ``(slot, phrase, i)`` (i words into phrase).
    Rows of the tables below are transitions of the subset automaton; row 0 is the transition that does nothing.
    """

    def __init__(
        self,
        spelled: Sequence[tuple[int, ...]],  # the words of each phrase
        slot_of: Ints,  # and its slot
        vocabulary: int,
        describe: Callable[[Sequence[int]], str],
    ) -> None:
        self._spelled, self._slot_of, self._unknown, self._describe = (
            spelled,
            slot_of,
            vocabulary,
            describe,
        )
        self._phrases_of = [np.flatnonzero(slot_of == s).tolist() for s in range(slot_of[-1] + 1)]
        self._empty = np.array(
            [next((p for p in ps if not spelled[p]), -1) for ps in self._phrases_of], dtype=np.int64
        )
        self._longest = sum(max(len(spelled[p]) for p in ps) for ps in self._phrases_of)
        self._build()

    def __call__(self, tokens: NDArray, bounds: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """Phrase chosen in each slot [n, S] and whether the sentence is possible [n]; if not, its row means nothing."""
        lengths = np.diff(bounds)
        steps = min(int(lengths.max(initial=0)), self._longest)
        row = np.zeros((steps, len(lengths)), dtype=np.int64)
        state = np.ones(len(lengths), dtype=np.int64)
        for t in range(steps):
            running = np.flatnonzero(lengths > t)
            word = tokens[bounds[:-1][running] + t]
            word = np.where((word >= 0) & (word < self._unknown), word, self._unknown)
            row[t, running] = self._row[state[running], word]
            state[running] = self._target[row[t, running]]
        member = self._accepting[state]
        possible = (member >= 0) & (lengths <= self._longest)
        chosen = np.tile(self._empty, (len(lengths), 1))
        for t in reversed(range(steps)):
            entered = self._entered[row[t], member]
            hit = np.flatnonzero(entered >= 0)
            chosen[hit, self._slot_of[entered[hit]]] = entered[hit]
            member = self._source[row[t], member]
        return chosen, possible

    def _edges(self, state: State) -> Iterator[tuple[int, State, int]]:
        """(word, next state, phrase entered or -1) for each way on from a state."""
        slot, phrase, i = state
        if i:
            yield self._spelled[phrase][i], self._after(slot, phrase, i + 1), -1
            return
        for s in range(slot, len(self._phrases_of)):
            for p in self._phrases_of[s]:
                if self._spelled[p]:
                    yield self._spelled[p][0], self._after(s, p, 1), p
            if self._empty[s] < 0:
                return

    def _after(self, slot: int, phrase: int, i: int) -> State:
        return (slot, phrase, i) if i < len(self._spelled[phrase]) else (slot + 1, 0, 0)

    def _accepts(self, state: State) -> bool:
        return state[2] == 0 and bool((self._empty[state[0] :] >= 0).all())

    def _build(self) -> None:
        """Subset construction; fills the tables and refuses ambiguity."""
        subsets: list[tuple[State, ...]] = [(), ((0, 0, 0),)]  # 0: no way on; 1: the start
        number = {subset: i for i, subset in enumerate(subsets)}
        # How each member of a subset is reached, as phrases entered: only for the message.
        paths: list[list[tuple[int, ...]]] = [[], [()]]
        rows: list[
            tuple[int, int, int, list[int], list[int]]
        ] = []  # subset, word, target, source, entered
        for i, subset in enumerate(subsets):  # grows while it is walked
            for word, ways in self._moves(subset, paths[i]).items():
                target = tuple(sorted(ways))
                if target not in number:
                    number[target] = len(subsets)
                    subsets.append(target)
                    paths.append([_path(paths[i], *ways[to]) for to in target])
                rows.append(
                    (
                        i,
                        word,
                        number[target],
                        [ways[to][0] for to in target],
                        [ways[to][1] for to in target],
                    )
                )
        self._accepting = np.array(
            [self._end(subset, paths[i]) for i, subset in enumerate(subsets)]
        )
        self._tabulate(rows, len(subsets), max(map(len, subsets)))

    def _moves(
        self, subset: tuple[State, ...], paths: Sequence[tuple[int, ...]]
    ) -> dict[int, dict[State, tuple[int, int]]]:
        """word -> next state -> the member that leads there and the phrase entered (or -1)."""
        moves: dict[int, dict[State, tuple[int, int]]] = {}
        for member, state in enumerate(subset):
            for word, to, entered in self._edges(state):
                ways = moves.setdefault(word, {})
                if to in ways:
                    self._refuse(_path(paths, *ways[to]), _path(paths, member, entered))
                ways[to] = (member, entered)
        return moves

    def _end(self, subset: tuple[State, ...], paths: Sequence[tuple[int, ...]]) -> int:
        """The member in which a sentence may end, or -1."""
        ends = [member for member, state in enumerate(subset) if self._accepts(state)]
        if len(ends) > 1:
            self._refuse(paths[ends[0]], paths[ends[1]])
        return ends[0] if ends else -1

    def _tabulate(
        self, rows: list[tuple[int, int, int, list[int], list[int]]], subsets: int, widest: int
    ) -> None:
        """The transitions as arrays, for look-ups by a whole block of sentences."""
        self._row = np.zeros((subsets, self._unknown + 1), dtype=np.int32)
        self._target = np.zeros(len(rows) + 1, dtype=np.int32)
        self._source = np.zeros((len(rows) + 1, widest), dtype=np.int32)
        self._source[0] = np.arange(widest)
        self._entered = np.full((len(rows) + 1, widest), -1, dtype=np.int32)
        for r, (subset, word, target, source, entered) in enumerate(rows, start=1):
            self._row[subset, word] = r
            self._target[r] = target
            self._source[r, : len(source)] = source
            self._entered[r, : len(entered)] = entered

    def _refuse(self, one: tuple[int, ...], other: tuple[int, ...]) -> None:
        raise ValueError(
            f"ambiguous grammar: {self._describe(one)} clashes with {self._describe(other)}"
        )


def _path(paths: Sequence[tuple[int, ...]], member: int, entered: int) -> tuple[int, ...]:
    return paths[member] if entered < 0 else (*paths[member], entered)


def _check_sums_to_one(row: Mapping[str, float], what: str) -> None:
    if not (
        all(p >= 0 for p in row.values()) and abs(sum(row.values()) - 1) <= 1e-9
    ):  # NaN fails, too
        raise ValueError(
            f"{what}: probabilities must be non-negative and sum to 1, not {sum(row.values()):.9g}"
        )


def _fill(
    slot: Slot, factors: Mapping[str, tuple[str, ...]], combinations: Ints
) -> tuple[list[str], Floats]:
    """A slot's phrases that are ever used, and their probabilities given each combination, [phrases, C]."""
    unknown = set(slot.given) - set(factors)
    if unknown:
        raise ValueError(f"slot {slot.name!r} depends on unknown factors {sorted(unknown)}")
    for key, row in slot.table.items():
        _check_sums_to_one(row, f"slot {slot.name!r} given {key}")
    phrases = list(
        dict.fromkeys(phrase for row in slot.table.values() for phrase, p in row.items() if p > 0)
    )
    crooked = [phrase for phrase in phrases if phrase != " ".join(phrase.split())]
    if crooked:
        raise ValueError(
            f"slot {slot.name!r}: words of {crooked[0]!r} are not separated by single spaces"
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
    """For each entry of ``column`` [n], one row index drawn from that column of ``table`` [rows, columns]."""
    ladder = np.cumsum(table, axis=0).T
    # Dividing by the last step makes it exactly 1 and keeps rows of probability zero at the end out of reach.
    ladder = ladder / ladder[:, -1:] + np.arange(len(ladder))[:, None]
    # All columns in one increasing sequence: column c occupies (c, c + 1]. Rounding must not reach the next one.
    mark = np.minimum(column + rng.random(len(column)), np.nextafter(column + 1.0, 0.0))
    return np.searchsorted(ladder.ravel(), mark, side="right") - column * len(table)


def _log_sum_exp(rows: Floats) -> Floats:
    """log Σ exp over the last axis, [n]; -inf where all entries are."""
    top = rows.max(axis=1)
    top[np.isneginf(top)] = 0.0
    with np.errstate(divide="ignore"):
        return top + np.log(np.exp(rows - top[:, None]).sum(axis=1))


@dataclass(frozen=True)
class _Sparse:
    """A matrix of `width` columns, mostly zero: row i has ``values[bounds[i]:bounds[i + 1]]`` in these ``columns``."""

    bounds: Ints
    columns: Ints
    values: Floats
    width: int

    @property
    def owners(self) -> Ints:
        """The row of each value."""
        return np.repeat(np.arange(len(self.bounds) - 1), np.diff(self.bounds))

    def dense(self) -> Floats:
        rows = np.zeros((len(self.bounds) - 1, self.width))
        rows[self.owners, self.columns] = self.values
        return rows


def _sparse(row: Floats) -> _Sparse:
    """A matrix of one row."""
    columns = np.flatnonzero(row)
    return _Sparse(np.array([0, len(columns)]), columns, row[columns], len(row))


def _pooled_products(rows: _Sparse, factors: Floats) -> _Sparse:
    """Every product of one of ``rows`` with one of ``factors`` [m, C]; proportional ones (to nine digits) are pooled.

    Products are told apart by two fixed random projections of their direction, which is much cheaper than comparing
    hundreds of columns. The first of each direction stands for all, with their whole mass; products of zeros only
    are dropped.
    """
    products = factors[:, rows.columns] * rows.values  # [m, entries]
    weights = np.random.default_rng(0).random((2, rows.width))[:, rows.columns]
    mass, one, other = (
        np.add.reduceat(products * w, rows.bounds[:-1], axis=1) for w in (1.0, *weights)
    )  # [m, rows]
    factor, row = np.nonzero(mass)
    mass, one, other = mass[factor, row], one[factor, row], other[factor, row]
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
    return _Sparse(bounds, rows.columns[entry[kept]], values[kept], rows.width)


def _plogp(p: NDArray) -> Floats:
    """p log p with 0 log 0 = 0."""
    return p * np.log(np.where(p > 0, p, 1.0))


def _entropy(p: NDArray) -> float:
    return float(-_plogp(p).sum())


def _column_entropies(table: Floats) -> Floats:
    """Entropy of each column's distribution, nats."""
    return -_plogp(table).sum(axis=0)
