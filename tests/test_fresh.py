"""`data.fresh=true`: new training sentences in every epoch, so nothing is learned by heart."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import composed, folder_of, rows, run_here, run_interrupted
from schemas import GrammarConfig

from uncollapse.data.text import TextData
from uncollapse.errors import InputError

TRAIN = 300


def read_sentences(data: TextData, epoch: int) -> list[list[int]]:
    return data.batch("train", np.arange(TRAIN), epoch).tokens.tolist()


def fresh_grammar(**more: object) -> TextData:
    return GrammarConfig(train=TRAIN, valid=50, test=50, fresh=True, **more).load()


def test_epochs_differ_and_each_can_be_drawn_again() -> None:
    data, again = fresh_grammar(), fresh_grammar()
    epochs = [read_sentences(data, epoch) for epoch in range(3)]
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    # in another order, as after resuming
    assert [read_sentences(again, epoch) for epoch in (2, 0, 1)] == [epochs[i] for i in (2, 0, 1)]
    assert read_sentences(fresh_grammar(data_seed=1), 1) != epochs[1]


def test_first_epoch_and_evaluation_data_equal_those_of_fixed_data() -> None:
    fresh, fixed = fresh_grammar(), GrammarConfig(train=TRAIN, valid=50, test=50).load()
    assert read_sentences(fresh, 0) == read_sentences(fixed, 0) == read_sentences(fixed, 5)
    for split in ("valid", "test"):
        examples = np.arange(50)
        one, other = fresh.batch(split, examples, 3), fixed.batch(split, examples)
        assert one.tokens.tolist() == other.tokens.tolist()
    assert fresh.facts()["fresh"] and "fresh" not in fixed.facts()


def test_new_sentences_come_from_the_grammar() -> None:
    """Their mean -log p is the entropy, within 4 standard errors."""
    data = GrammarConfig(train=20_000, valid=2, test=2, fresh=True).load()
    assert data.draw_epoch and data.exact_log_prob and data.entropy
    bits = -data.exact_log_prob(data.draw_epoch(7))
    assert abs(bits.mean() - data.entropy) < 4 * bits.std() / len(bits) ** 0.5


def test_resumed_run_equals_uninterrupted_run(tmp_path: Path) -> None:
    words = ("data.fresh=true", "trainer.epochs=3", "trainer.eval_every=8")
    run_here(tmp_path / "full", "plain", *words)
    run_interrupted(tmp_path / "cut", "plain", *words, step=11)
    run_here(tmp_path / "cut", "plain", *words)
    full, cut = (folder_of(tmp_path / name, "plain") for name in ("full", "cut"))
    assert rows(full) == rows(cut)
    assert (full / "model.safetensors").read_bytes() == (cut / "model.safetensors").read_bytes()
    assert json.loads((full / "data.json").read_text())["fresh"] is True


def test_batches_by_length_are_refused() -> None:
    with pytest.raises(InputError, match=r"data\.batching=by_length: data\.fresh=true"):
        fresh_grammar(batching="by_length")
    assert composed("head=plain").data.fresh is False
