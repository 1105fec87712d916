"""Dialogues for the conditional VAE: each turn but the first is a response to those before it.

Files hold one dialogue a line as JSON; act and emotion are optional:

    {"turns": [{"text": ..., "act": ..., "emotion": ...}, ...]}

The hub's DailyDialog has the columns dialog, act and emotion, which are lists.
"""

import io
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from uncollapse.data.blocks import SPLIT_NAMES, find_part
from uncollapse.data.corpus import EOS, Corpus, TextBatch, gather_slices, make_batch, take_sentences
from uncollapse.data.digests import array_digest, fingerprint, json_digest
from uncollapse.data.formats import name_binary
from uncollapse.data.hub import draw_at_most, is_text_type, load_hub_set, prepare_command
from uncollapse.data.levels import measure_sentences
from uncollapse.data.packed import open_packed
from uncollapse.data.profile import check_unknown_share
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

TURN_LABELS = ("act", "emotion")  # of a response, where they are known; they feed the probe


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
        context = make_batch(self.contexts[split], responses.examples)
        place = np.empty(len(examples), dtype=np.int64)
        place[np.argsort(responses.examples, kind="stable")] = np.argsort(
            context.examples, kind="stable"
        )
        return DialogueBatch(**vars(responses), context=context, place=torch.from_numpy(place))

    def facts(self) -> dict:
        words = {split: corpus.words_per_sentence for split, corpus in self.contexts.items()}
        return {**super().facts(), "words_per_context": words}


@dataclass(frozen=True)
class Turns:
    """One split: the turns of all dialogues as Arrow strings [T], and labels by name, strings [T].

    sizes [N]: the number of turns of each dialogue.
    """

    texts: Any
    sizes: np.ndarray
    labels: Mapping[str, np.ndarray]

    @property
    def digest(self) -> str:
        """A digest of the content, equal for files and hub; a missing text is an empty one."""
        import pyarrow as pa
        import pyarrow.compute as pc

        texts = pc.fill_null(self.texts, "")
        one_list = pa.LargeListArray.from_arrays([0, len(texts)], texts)
        together = pc.binary_join(one_list, pa.scalar("", pa.large_string()))[0]
        parts = {
            "texts": np.frombuffer(together.as_buffer(), np.uint8),
            "ends": pc.binary_length(texts).to_numpy(zero_copy_only=False),
            "sizes": self.sizes,
            **self.labels,
        }
        return json_digest({name: array_digest(values) for name, values in parts.items()})

    def lines(self) -> Iterator[bytes]:
        """Each dialogue as one line of JSON, in the form of the files."""
        columns = {
            "text": self.texts.to_pylist(),
            **{name: values.tolist() for name, values in self.labels.items()},
        }
        for start, size in zip(np.cumsum(self.sizes) - self.sizes, self.sizes, strict=True):
            turns = [
                dict(zip(columns, row, strict=True))
                for row in zip(*(c[start : start + size] for c in columns.values()), strict=True)
            ]
            yield (json.dumps({"turns": turns}, ensure_ascii=False) + "\n").encode()


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
        vocabulary = build_vocabulary(
            count_words(words["train"][0]), self.vocab_size, self.min_count
        )
        classes = {name: collect_classes(parts, name) for name in parts["train"].labels}
        corpora, contexts, labels, skipped = {}, {}, {}, {}
        for split, part in parts.items():
            flat, offsets = words[split]
            lines = Corpus(
                encode_words(flat, vocabulary).astype(np.int32),
                offsets,
                *measure_sentences(flat, offsets),
            )
            responses, skipped[split] = self.find_responses(part.sizes, lines.lengths)
            if not len(responses):
                raise InputError(
                    f"data={self.name}: no response is left in the {split} part ({len(lines)} "
                    f"turns, skipped: {skipped[split]})"
                )
            responses = self.limit_size(responses, split)
            corpora[split] = take_sentences(lines, responses)
            contexts[split] = self.collect_context(lines, part.sizes, responses)
            numbers = {
                name: np.searchsorted(known, part.labels[name][responses])
                for name, known in classes.items()
            }
            labels[split] = numbers
        known = {name: tuple(map(str, names)) for name, names in classes.items()}
        data = DialogueData(
            corpora,
            vocabulary,
            self.batch_size,
            self.batching,
            skipped,
            labels=labels if classes else {},
            classes=known,
            contexts=contexts,
            content=fingerprint({split: part.digest for split, part in parts.items()}),
        )
        check_unknown_share(data.facts())
        return data

    def find_responses(
        self, sizes: np.ndarray, lengths: np.ndarray
    ) -> tuple[np.ndarray, dict[str, int]]:
        """Numbers of the usable responses, in increasing order, and counts of the others.

        Usable are those that are neither empty nor too long.
        """
        answers = np.ones(len(lengths), dtype=bool)
        answers[(np.cumsum(sizes) - sizes)[sizes > 0]] = False
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

    def limit_size(self, responses: np.ndarray, split: str) -> np.ndarray:
        """At most the size asked for, drawn by split_seed."""
        return responses[draw_at_most(self.sizes[split], len(responses), self.split_seed, split)]

    def collect_context(self, lines: Corpus, sizes: np.ndarray, responses: np.ndarray) -> Corpus:
        """The context of each response as one sentence.

        It holds the last `context_words` words of the last `turns` turns, with end-of-sentence
        between turns.
        """
        ended = np.insert(lines.tokens, lines.offsets[1:], EOS)
        offsets = lines.offsets + np.arange(len(lines.offsets))
        begins = np.repeat(np.cumsum(sizes) - sizes, sizes)  # of the dialogue, for each turn
        first = np.maximum(begins[responses], responses - self.turns)
        stops = offsets[responses] - 1  # batches add the last end-of-sentence
        return gather_slices(ended, np.maximum(offsets[first], stops - self.context_words), stops)


def collect_classes(parts: Mapping[str, Turns], name: str) -> np.ndarray:
    """The names of a label's classes, in alphabetical order."""
    return np.unique(
        np.concatenate([part.labels[name] for part in parts.values() if name in part.labels])
    )


# ---------------------------------------------------------------- files


def read_folder(folder: Path, name: str) -> dict[str, Turns]:
    """The three splits of a folder, with the labels that all of them have."""
    advice = f"; {prepare_command(name, folder)} makes it"
    parts = {
        split: read_dialogues(find_part(folder, split, (".jsonl",), advice)) for split in SPLITS
    }
    shared = set.intersection(*(set(part.labels) for part in parts.values()))
    return {
        split: replace(
            part, labels={name: part.labels[name] for name in TURN_LABELS if name in shared}
        )
        for split, part in parts.items()
    }


def read_dialogues(path: Path) -> Turns:
    """InputError for a file that cannot be read, or whose lines are not dialogues."""
    import pyarrow as pa
    from pyarrow import json as arrow_json

    with open_packed(path) as (file, _):
        content = file.read()
    try:
        if noun := name_binary(content):
            raise InputError(f"{path}: this is {noun}; allowed are JSON Lines, plain or compressed")
        if not content.strip():
            raise InputError(f"{path}: the file is empty")
        content.decode()
        table = arrow_json.read_json(
            io.BytesIO(content), arrow_json.ReadOptions(block_size=max(1 << 20, len(content)))
        )
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}, line {line}: not UTF-8 (byte 0x{content[error.start]:02x}); convert the file "
            "first"
        ) from error
    except pa.ArrowInvalid as error:
        raise InputError(
            f"{path}: not one JSON object a line ({str(error).splitlines()[0]})"
        ) from error
    if "turns" not in table.column_names:
        raise InputError(
            f"{path}: no `turns` in its lines, which have {', '.join(table.column_names)}; see "
            "conf/data/dailydialog.yaml"
        )
    column = table.column("turns").combine_chunks()
    kind = column.type
    if not (
        pa.types.is_list(kind)
        and pa.types.is_struct(kind.value_type)
        and "text" in list_fields(kind.value_type)
    ):
        raise InputError(
            f"{path}: `turns` holds {kind}; needed is a list of objects with a `text` each"
        )
    for name in {"text", *TURN_LABELS} & set(list_fields(kind.value_type)):
        own = kind.value_type.field(name).type
        if not is_text_type(own, classes=name != "text"):
            raise InputError(f"{path}: the `{name}` of turns holds {own}; needed are strings")
    turns, sizes = (
        column.flatten(),
        column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False),
    )
    labels = {}
    for name in set(TURN_LABELS) & set(list_fields(kind.value_type)):
        values = turns.field(name)
        if values.null_count:
            at = int(np.argmax(values.is_null().to_numpy(zero_copy_only=False)))
            line = int(np.searchsorted(np.cumsum(sizes), at, side="right")) + 1
            raise InputError(
                f"{path}, line {line}: a turn without `{name}`, which other turns have"
            )
        labels[name] = np.array(values.cast(pa.string()).to_pylist())
    return Turns(turns.field("text").cast(pa.large_string()), sizes.astype(np.int64), labels)


def list_fields(kind: Any) -> list[str]:
    """The names of a struct's fields."""
    return [kind.field(i).name for i in range(kind.num_fields)]


# ---------------------------------------------------------------- the hub


def read_hub(cfg: DialogueConfig) -> dict[str, Turns]:
    """InputError when the set cannot be loaded or lacks a split or the column of dialogues."""
    if cfg.hub is None:
        raise InputError(
            f"data={cfg.name}: give data.dir=FOLDER with train.jsonl, valid.jsonl and test.jsonl"
        )
    with tempfile.TemporaryDirectory(prefix="uncollapse-") as scratch:
        loaded, parts = load_hub_set(cfg.name, cfg.hub, cfg.revision, Path(scratch)), {}
        for split in SPLITS:
            name = next((alias for alias in SPLIT_NAMES[split] if alias in loaded), None)
            if name is None:
                raise InputError(
                    f"{cfg.hub}: no {split} part; it has {', '.join(map(str, loaded))}"
                )
            parts[split] = read_hub_rows(loaded[name], f"{cfg.hub}, {name} part")
        return parts


def read_hub_rows(part: Any, where: str) -> Turns:
    """The dialogues of one split of a hub set."""
    import pyarrow as pa

    if "dialog" not in part.column_names:
        raise InputError(f"{where}: no column dialog; it has {', '.join(part.column_names)}")
    column = part.data.table.column("dialog").combine_chunks()
    sizes = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    labels = {}
    for name in TURN_LABELS:
        if name in part.column_names:
            values = part.data.table.column(name).combine_chunks().flatten().to_pylist()
            names = getattr(getattr(part.features[name], "feature", None), "names", None)
            labels[name] = np.array([names[v] if names else str(v) for v in values])
            if len(labels[name]) != sizes.sum():
                raise InputError(
                    f"{where}: {len(labels[name])} values of {name} for {sizes.sum()} turns"
                )
    return Turns(column.flatten().cast(pa.large_string()), sizes, labels)
