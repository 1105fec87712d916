"""Dialogues for the conditional VAE: each turn but the first is a response to those before it.

Files hold one dialogue a line as JSON; act and emotion are optional:

    {"turns": [{"text": ..., "act": ..., "emotion": ...}, ...]}

The hub's DailyDialog has the columns dialog, act and emotion, which are lists.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from uncollapse.data.corpus import EOS, Corpus, TextBatch, gather_slices, make_batch, take_sentences
from uncollapse.data.dialogue_files import Turns, read_folder, read_hub
from uncollapse.data.digests import fingerprint
from uncollapse.data.facts import require_facts
from uncollapse.data.hub import draw_at_most
from uncollapse.data.profile import check_unknown_share
from uncollapse.data.sentence_sizes import measure_sentences
from uncollapse.data.text import SPLITS, TextData, check_batching
from uncollapse.data.words import (
    build_vocabulary,
    count_words,
    encode_words,
    separate_tokens,
    split_words,
)
from uncollapse.errors import InputError, check_integer, expand_home
from uncollapse.interfaces.data import DataConfig
from uncollapse.json_types import JsonObject


@dataclass(frozen=True)
class DialogueBatch(TextBatch):
    """B responses, longest first, and their contexts.

    `context` is sorted by its own lengths: the context of response i is its row place[i].
    """

    context: TextBatch = field(kw_only=True)
    place: Tensor = field(kw_only=True)

    def to(self, device: torch.device) -> "DialogueBatch":
        if device.type == "cpu":
            return self
        moved = super().to(device)
        assert isinstance(moved, DialogueBatch)
        return replace(moved, context=self.context.to(device), place=self.place.to(device))


@dataclass(frozen=True)
class DialogueData(TextData):
    """Text whose `corpora` are the responses.

    `contexts` (split -> Corpus): the turns before each response, each ended by end-of-sentence.
    """

    contexts: Mapping[str, Corpus] = field(default_factory=dict)

    def batch(self, split: str, examples: np.ndarray, epoch: int = 0) -> DialogueBatch:
        """These examples; the same in every epoch."""
        responses = make_batch(self.corpora[split], examples)
        # `responses.examples` is already sorted; the batch of contexts is sorted again, by its
        # own lengths
        context = make_batch(self.contexts[split], responses.examples)
        place = np.empty(len(examples), dtype=np.int64)
        # both argsorts order rows by example number, so they pair each response with its context
        place[np.argsort(responses.examples, kind="stable")] = np.argsort(
            context.examples, kind="stable"
        )
        return DialogueBatch(**vars(responses), context=context, place=torch.from_numpy(place))

    def facts(self) -> JsonObject:
        words = {split: corpus.words_per_sentence for split, corpus in self.contexts.items()}
        return {**super().facts(), "words_per_context": words}


@dataclass(kw_only=True)
class DialogueConfig(DataConfig):
    """Dialogues from a folder with train/valid/test.jsonl[.gz|.xz], or from the hub."""

    kind: ClassVar[str] = "dialogue"
    name: str
    dir: str | None
    hub: str | None
    revision: str | None
    turns: int
    context_words: int
    train_size: int | None
    valid_size: int | None
    test_size: int | None
    split_seed: int
    vocab_size: int | None
    min_count: int
    max_length: int | None
    batch_size: int
    batching: str

    def load(self) -> DialogueData:
        """InputError for files or sets that are missing, damaged or left empty."""
        self.check()
        return self.arrange(
            # a folder has precedence over the hub
            read_folder(expand_home(self.dir), self.name)
            if self.dir is not None
            else read_hub(self)
        )

    @property
    def sizes(self) -> dict[str, int | None]:
        """At most how many responses each split has; None: all."""
        return {"train": self.train_size, "valid": self.valid_size, "test": self.test_size}

    def check(self) -> None:
        """InputError for a value out of range, before anything is read."""
        require_facts(self.name)
        check_batching(self.batch_size, self.batching)
        for name in ("turns", "context_words", "min_count"):
            check_integer(f"data.{name}", getattr(self, name), 1)
        for name in ("vocab_size", "max_length", *(f"{split}_size" for split in SPLITS)):
            if getattr(self, name) is not None:
                check_integer(f"data.{name}", getattr(self, name), 1)
        check_integer("data.split_seed", self.split_seed, 0)

    def arrange(self, parts: Mapping[str, Turns]) -> DialogueData:
        """Encode words as ids, and arrange turns as pairs of context and response."""
        words = {split: split_words(separate_tokens(part.texts)) for split, part in parts.items()}
        # the vocabulary is that of the training split alone, or test words would leak into it
        vocabulary = build_vocabulary(
            count_words(words["train"][0]), self.vocab_size, self.min_count
        )
        classes = {name: collect_classes(parts, name) for name in parts["train"].labels}
        corpora, contexts, labels, skipped = {}, {}, {}, {}
        for split, part in parts.items():
            flat, offsets = words[split]
            ids = encode_words(flat, vocabulary).astype(np.int32)
            turns = Corpus(ids, offsets, *measure_sentences(flat, offsets))
            responses, skipped[split] = self.choose_responses(turns, part.sizes, split)
            corpora[split] = take_sentences(turns, responses)
            contexts[split] = self.collect_context(turns, part.sizes, responses)
            labels[split] = {
                name: np.searchsorted(names, part.labels[name][responses])
                for name, names in classes.items()
            }
        data = DialogueData(
            corpora,
            vocabulary,
            self.batch_size,
            self.batching,
            skipped,
            labels=labels if classes else {},
            classes={name: tuple(map(str, names)) for name, names in classes.items()},
            contexts=contexts,
            content=fingerprint({split: part.digest for split, part in parts.items()}),
        )
        check_unknown_share(data.facts())
        return data

    def choose_responses(
        self, turns: Corpus, sizes: np.ndarray, split: str
    ) -> tuple[np.ndarray, dict[str, int]]:
        """Numbers of the responses that are used, in increasing order, and counts of the skipped.

        At most data.<split>_size are drawn, by split_seed. InputError where none is left.
        """
        responses, skipped = self.find_responses(sizes, turns.lengths)
        if not len(responses):
            raise InputError(
                f"data={self.name}: no response is left in the {split} split ({len(turns)} "
                f"turns, skipped: {skipped})"
            )
        drawn = draw_at_most(self.sizes[split], len(responses), self.split_seed, split)
        return responses[drawn], skipped

    def find_responses(
        self, sizes: np.ndarray, lengths: np.ndarray
    ) -> tuple[np.ndarray, dict[str, int]]:
        """Numbers of the responses neither empty nor too long, and counts of the others."""
        answers = np.ones(len(lengths), dtype=bool)
        answers[(np.cumsum(sizes) - sizes)[sizes > 0]] = False  # the first turn of each dialogue
        empty = answers & (lengths == 0)
        long = (
            answers & (lengths > self.max_length)
            if self.max_length is not None
            else np.zeros_like(answers)
        )
        return np.flatnonzero(answers & ~empty & ~long), {
            "empty": int(empty.sum()),
            "too_long": int(long.sum()),
        }

    def collect_context(self, turns: Corpus, sizes: np.ndarray, responses: np.ndarray) -> Corpus:
        """The context of each response as one sentence.

        It holds the last `context_words` words of the last `turns` turns, with end-of-sentence
        between turns.
        """
        # insert an EOS after each turn, so that several turns can be cut out as one slice
        ended = np.insert(turns.tokens, turns.offsets[1:], EOS)
        offsets = turns.offsets + np.arange(len(turns.offsets))
        begins = np.repeat(np.cumsum(sizes) - sizes, sizes)  # first turn of each turn's dialogue
        # the context never reaches into the dialogue before
        first = np.maximum(begins[responses], responses - self.turns)
        stops = offsets[responses] - 1  # batches add the last end-of-sentence
        return gather_slices(ended, np.maximum(offsets[first], stops - self.context_words), stops)


def collect_classes(parts: Mapping[str, Turns], name: str) -> np.ndarray:
    """The names of a label's classes, in alphabetical order."""
    return np.unique(
        np.concatenate([part.labels[name] for part in parts.values() if name in part.labels])
    )
