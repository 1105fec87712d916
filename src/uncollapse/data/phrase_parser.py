"""Parses the sentences of a grammar into phrases, many sentences at a time.

The slots form a finite automaton over words: a state is "between two slots" or "inside a phrase".
The subset construction makes it deterministic. A sentence runs forward through the subsets and,
from the accepting state, back through the one state of each subset that leads there. Each step is
one table look-up for a block of sentences.

If some word can lead into one state from two members of a reachable subset, two derivations exist
and the grammar is refused.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from uncollapse.data.profile_pooling import Ints

State = tuple[int, int, int]
# subset, word, target subset, and for each member of the target its source and the phrase entered
Transition = tuple[int, int, int, list[int], list[int]]


class PhraseParser:
    """Finds the phrase of each slot of a sentence. ValueError for ambiguous slots.

    States are ``(slot, 0, 0)``, where the slots before it are filled, and ``(slot, phrase, i)``,
    i words into a phrase. Rows of the tables are transitions; row 0 is a dead end
    on the way forward, and no step on the way back.
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
        # no possible sentence is longer, so the tables need not be run beyond this
        self._longest = sum(max(len(spelled[p]) for p in ps) for ps in self._phrases_of)
        self._build()

    def __call__(self, tokens: NDArray, bounds: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """The phrase in each slot [n, S], and whether the sentence is possible [n].

        The phrases of an impossible sentence are arbitrary.
        """
        lengths = np.diff(bounds)
        # a long impossible sentence is cut here and marked as impossible below
        steps = min(int(lengths.max(initial=0)), self._longest)
        row = np.zeros((steps, len(lengths)), dtype=np.int64)
        state = np.ones(len(lengths), dtype=np.int64)
        for t in range(steps):
            running = np.flatnonzero(lengths > t)
            word = tokens[bounds[:-1][running] + t]
            # unknown words share one extra column of the table, which leads to the dead end
            word = np.where((word >= 0) & (word < self._unknown), word, self._unknown)
            row[t, running] = self._row[state[running], word]
            state[running] = self._target[row[t, running]]
        member = self._accepting[state]
        possible = (member >= 0) & (lengths <= self._longest)
        # slots that no phrase enters keep their empty phrase
        chosen = np.tile(self._empty, (len(lengths), 1))
        # backwards, since only the end of a sentence decides between the members of a subset
        for t in reversed(range(steps)):
            entered = self._entered[row[t], member]
            hit = np.flatnonzero(entered >= 0)
            chosen[hit, self._slot_of[entered[hit]]] = entered[hit]
            member = self._source[row[t], member]
        return chosen, possible

    def _edges(self, state: State) -> Iterator[tuple[int, State, int]]:
        """(word, next state, phrase entered or -1) for each transition from a state."""
        slot, phrase, i = state
        if i:
            yield self._spelled[phrase][i], self._after(slot, phrase, i + 1), -1
            return
        # skip slots as long as they may be empty
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
        subsets: list[tuple[State, ...]] = [(), ((0, 0, 0),)]  # 0: dead end; 1: the start
        number = {subset: i for i, subset in enumerate(subsets)}
        # How each member of a subset is reached, as phrases entered: only for the message.
        paths: list[list[tuple[int, ...]]] = [[], [()]]
        rows: list[Transition] = []
        for i, subset in enumerate(subsets):  # the list grows during the loop
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

    def _tabulate(self, rows: list[Transition], subsets: int, widest: int) -> None:
        """Store the transitions as arrays, for look-ups by a block of sentences."""
        self._row = np.zeros((subsets, self._unknown + 1), dtype=np.int32)
        self._target = np.zeros(len(rows) + 1, dtype=np.int32)
        # members are numbered within their subset, and padded to the largest subset
        self._source = np.zeros((len(rows) + 1, widest), dtype=np.int32)
        # row 0 is the identity: a sentence that has not reached step t stays where it is
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
    """The phrases entered on the way to a member, and one more unless `entered` is -1."""
    return paths[member] if entered < 0 else (*paths[member], entered)
