"""Composition of batches and their padding, against naive loops."""

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from uncollapse.data import batches
from uncollapse.data.batches import epoch_batches, join_singles, split_examples
from uncollapse.data.corpus import BOS, EOS, PAD, UNK, Corpus, make_batch
from uncollapse.data.text import TextData
from uncollapse.errors import InputError

properties = settings(max_examples=150, deadline=None, derandomize=True)
policies = st.sampled_from(["mixed", "by_length"])
many_lengths = st.lists(st.integers(1, 12), max_size=80)
some_lengths = st.lists(st.integers(1, 12), min_size=1, max_size=24)


def make_corpus(sentences) -> Corpus:
    offsets = np.cumsum([0, *map(len, sentences)])
    return Corpus(
        np.array([token for sentence in sentences for token in sentence], dtype=np.int32), offsets
    )


def make_sentences(lengths, seed=0):
    """Random sentences of these lengths, every token an ordinary or an unknown word."""
    rng = np.random.default_rng(seed)
    return [rng.integers(UNK, 30, n).tolist() for n in lengths]


# ---------------------------------------------------------------- composition


@properties
@given(many_lengths, st.integers(1, 9), policies, st.integers(0, 50), st.integers(0, 50))
def test_every_example_appears_once_per_epoch(lengths, size, policy, seed, epoch):
    batches = epoch_batches(np.array(lengths, dtype=int), size, policy, seed, epoch)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(len(batch) for batch in batches)


@properties
@given(many_lengths, st.integers(2, 9), policies, st.integers(0, 50))
def test_no_batch_has_one_example_unless_data_has_one(lengths, size, policy, seed):
    batches = epoch_batches(np.array(lengths, dtype=int), size, policy, seed, 0)
    if len(lengths) >= 2:
        assert min(map(len, batches)) >= 2
    assert max(map(len, batches), default=0) <= (size if size > 2 else 3)


@properties
@given(st.integers(1, 500), st.integers(1, 40))
def test_batch_sizes_differ_by_at_most_one(n, size):
    sizes = [len(batch) for batch in epoch_batches(np.ones(n, dtype=int), size, "mixed", 0, 0)]
    assert max(sizes) - min(sizes) <= 1 and sum(sizes) == n
    assert len(sizes) == -(-n // size) or (size == 2 and len(sizes) == max(1, n // 2))


@pytest.mark.parametrize(
    ("n", "size", "sizes"),
    [
        (10, 4, [4, 3, 3]),
        (9, 4, [3, 3, 3]),
        (8, 4, [4, 4]),
        (5, 2, [3, 2]),
        (3, 1, [1, 1, 1]),
        (0, 4, []),
    ],
)
def test_batch_sizes_by_hand(n, size, sizes):
    assert [len(part) for part in split_examples(np.arange(n), size)] == sizes


@properties
@given(many_lengths, st.integers(2, 9), st.integers(0, 50))
def test_batching_by_length_mixes_lengths_only_to_avoid_singles(lengths, size, seed):
    lengths = np.array(lengths, dtype=int)
    count = {n: int((lengths == n).sum()) for n in lengths}
    for batch in epoch_batches(lengths, size, "by_length", seed, 0):
        here = set(lengths[batch])
        # at most one length in a batch belongs to several sentences of the corpus
        assert sum(count[n] > 1 for n in here) <= 1
        if len(here) > 1:
            between = [n for n in count if min(here) <= n <= max(here)]
            assert sum(count[n] > 1 for n in between) <= 1


def test_single_example_joins_next_shorter_group():
    groups = [[0], [1, 2], [3], [4], [5, 6], [7, 8, 9], [10]]
    joined = [group.tolist() for group in join_singles([np.array(g) for g in groups])]
    assert joined == [[0, 1, 2, 3, 4], [5, 6], [7, 8, 9, 10]]


@pytest.mark.parametrize("policy", ["mixed", "by_length"])
def test_order_depends_only_on_seed_and_epoch(policy):
    lengths = np.random.default_rng(0).integers(1, 9, 200)

    def order(seed, epoch):
        return [batch.tolist() for batch in epoch_batches(lengths, 8, policy, seed, epoch)]

    first = order(1, 2)
    np.random.default_rng().random()
    torch.manual_seed(99)
    assert order(1, 2) == first
    assert order(1, 3) != first and order(2, 2) != first and order(2, 1) != first


def test_batches_by_length_are_shuffled():
    lengths = np.repeat(np.arange(1, 21), 4)
    first, second = (
        [int(lengths[batch[0]]) for batch in epoch_batches(lengths, 4, "by_length", 0, epoch)]
        for epoch in (0, 1)
    )
    assert sorted(first) == sorted(second) == list(range(1, 21))
    assert first != sorted(first) and first != second


def test_mixed_batches_are_a_uniform_shuffle():
    """Two given examples of 20 share one of the four batches of 5 with probability 4/19."""
    together = 0
    for epoch in range(2000):
        home = np.empty(20, dtype=int)
        for number, batch in enumerate(epoch_batches(np.ones(20, dtype=int), 5, "mixed", 0, epoch)):
            home[batch] = number
        together += home[0] == home[1]
    assert abs(together / 2000 - 4 / 19) < 4 * np.sqrt(4 / 19 * 15 / 19 / 2000)


def test_unknown_policy_is_refused():
    with pytest.raises(InputError, match=r"^data\.batching=sorted: allowed are mixed, by_length$"):
        epoch_batches(np.ones(4, dtype=int), 2, "sorted", 0, 0)


def test_text_data_has_its_own_default_size_and_policy():
    corpus = make_corpus(make_sentences([1, 1, 2, 2, 3, 3]))
    data = TextData({"train": corpus}, ("a",), 2, "by_length")
    assert all(len(set(corpus.lengths[batch])) == 1 for batch in data.batches("train", 0, 0))
    assert [len(batch) for batch in data.batches("train", 0, 0, size=6, batching="mixed")] == [6]
    assert data.size("train") == 6


# ---------------------------------------------------------------- padded batches


@properties
@given(some_lengths, st.integers(0, 1000))
@example([8, 8, 6, 4, 4, 4, 2, 2], 0)  # equal lengths on both sides of a quarter of the batch
def test_batch_holds_sorted_padded_sentences(lengths, seed):
    sentences = make_sentences(lengths, seed)
    chosen = np.random.default_rng(seed).permutation(len(lengths))
    batch = make_batch(make_corpus(sentences), chosen)
    assert sorted(batch.examples) == sorted(chosen) and len(batch) == len(lengths)
    assert batch.lengths.tolist() == sorted((n + 1 for n in lengths), reverse=True)
    width = max(lengths) + 1
    for row, which in enumerate(batch.examples):
        full = [*sentences[which], EOS]
        assert batch.tokens[row].tolist() == full + [PAD] * (width - len(full))
        assert batch.lengths[row] == len(full)


@properties
@given(some_lengths, st.integers(0, 1000))
@example([8, 8, 6, 4, 4, 4, 2, 2], 0)
def test_targets_and_owners_list_each_real_token_once(lengths, seed):
    batch = make_batch(make_corpus(make_sentences(lengths, seed)), np.arange(len(lengths)))
    found = list(zip(batch.owner.tolist(), batch.time.tolist(), strict=True))
    real = [(row, step) for row, n in enumerate(batch.lengths.tolist()) for step in range(n)]
    # step by step, and within a step in the order of rows
    assert found == sorted(real, key=lambda place: place[::-1])
    assert batch.targets.tolist() == [batch.tokens[place] for place in found]
    assert batch.batch_sizes == tuple(
        sum(n > step for n in batch.lengths.tolist()) for step in range(batch.lengths[0])
    )
    places = batch.find_places(batch.owner, batch.time)
    assert places.tolist() == list(range(len(found)))


def test_reserved_words_come_first():
    assert (PAD, BOS, EOS, UNK) == (0, 1, 2, 3)


def test_to_moves_every_tensor():
    batch = make_batch(make_corpus(make_sentences([3, 5, 1])), np.arange(3))
    assert batch.to(torch.device("cpu")) is batch
    moved = batch.to(torch.device("meta"))
    tensors = (moved.tokens, moved.lengths, moved.targets, moved.owner, moved.time)
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert len(moved) == 3 and moved.examples is batch.examples


@pytest.mark.parametrize("policy", ["mixed", "by_length"])
@pytest.mark.parametrize(("n", "size"), [(100, 7), (101, 2), (40, 64)])
def test_ordering_on_disk_equals_ordering_in_memory(monkeypatch, policy, n, size):
    lengths = np.random.default_rng(1).integers(1, 9, n)
    few = epoch_batches(lengths, size, policy, 3, 4)
    monkeypatch.setattr(batches, "LARGE_EPOCH", 16)
    assert isinstance(batches.list_numbers(n).base, np.memmap)
    many = epoch_batches(lengths, size, policy, 3, 4)
    assert [batch.tolist() for batch in many] == [batch.tolist() for batch in few]
    assert all(batch.dtype == np.int64 for batch in many)


def test_mixed_batches_split_a_permutation_evenly():
    order = np.random.default_rng((5, 6)).permutation(103)
    found = epoch_batches(np.ones(103), 10, "mixed", 5, 6)
    assert [batch.tolist() for batch in found] == [
        part.tolist() for part in np.array_split(order, 11)
    ]
    assert found[-1].tolist() == found[10].tolist() and [b.tolist() for b in found[2:4]] == [
        found[2].tolist(),
        found[3].tolist(),
    ]
    with pytest.raises(IndexError):
        found[11]
