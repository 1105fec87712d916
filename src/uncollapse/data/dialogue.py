"""Dialogues for the conditional VAE: each turn but the first is a response, the turns before it are its context.

From files of one dialogue a line as JSON, {"turns": [{"text": ..., "act": ..., "emotion": ...}, ...]} (act and emotion may be missing), or
from the hub's DailyDialog (columns dialog, act, emotion: lists).
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

from uncollapse.data.blocks import ALIASES, find_part
from uncollapse.data.corpus import EOS, Corpus, TextBatch, gathered, make_batch, sentences
from uncollapse.data.digests import array_digest, fingerprint, json_digest
from uncollapse.data.formats import binary_noun
from uncollapse.data.hub import at_most, fits, load, prepare_command
from uncollapse.data.levels import sizes
from uncollapse.data.packed import reading
from uncollapse.data.profile import check_known
from uncollapse.data.text import SPLITS, TextData, check_batching
from uncollapse.data.words import build_vocabulary, count_words, encode, separated, split_words
from uncollapse.errors import InputError, check_integer, expand_home
from uncollapse.interfaces.data import DataConfig

LABELS = ("act", "emotion")  # of a response, where they are known; they feed the probe


@dataclass(frozen=True)
class DialogueBatch(TextBatch):
    """B responses, longest first, and their contexts; response i's context is row place[i] of `context`, which is sorted by itself."""

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
    """`corpora` are the responses; `contexts` (split -> Corpus) what was said before each, turns ending with end-of-sentence."""

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
    """One part: the turns of all dialogues as Arrow strings [T], how many each dialogue has [N], and labels by name, strings [T]."""

    texts: Any
    sizes: np.ndarray
    labels: Mapping[str, np.ndarray]

    @property
    def digest(self) -> str:
        """Of what was read, packed or not, from files or the hub; a missing text is an empty one."""
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
        """Each dialogue as one line of JSON, as files hold it."""
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


@dataclass
class DialogueConfig(DataConfig):
    """Dialogues from a folder with train/valid/test.jsonl[.gz|.xz], or from the hub."""

    kind: ClassVar[str] = "dialogue"
    name: str = "dailydialog"
    dir: str | None = None
    hub: str | None = None
    revision: str | None = None
    turns: int = 3
    context_words: int = 60
    train_size: int | None = None
    valid_size: int | None = None
    test_size: int | None = None
    split_seed: int = 0
    vocab_size: int | None = 20000
    min_count: int = 1
    max_length: int | None = 40
    batch_size: int = 32
    batching: str = "mixed"

    def load(self) -> DialogueData:
        """InputError for anything that is missing, damaged or left empty."""
        self.check()
        return self.arranged(
            from_folder(expand_home(self.dir), self.name)
            if self.dir is not None
            else from_hub(self)
        )

    def check(self) -> None:
        """InputError for a value that makes no sense, before anything is read."""
        check_batching(self.batch_size, self.batching)
        for name in ("turns", "context_words", "min_count"):
            check_integer(f"data.{name}", getattr(self, name), 1)
        for name in ("vocab_size", "max_length", *(f"{split}_size" for split in SPLITS)):
            if getattr(self, name) is not None:
                check_integer(f"data.{name}", getattr(self, name), 1)
        check_integer("data.split_seed", self.split_seed, 0)

    def arranged(self, parts: Mapping[str, Turns]) -> DialogueData:
        """Words to ids, turns to pairs of context and response."""
        words = {split: split_words(separated(part.texts)) for split, part in parts.items()}
        vocabulary = build_vocabulary(
            count_words(words["train"][0]), self.vocab_size, self.min_count
        )
        classes = {name: classes_of(parts, name) for name in parts["train"].labels}
        corpora, contexts, labels, skipped = {}, {}, {}, {}
        for split, part in parts.items():
            flat, offsets = words[split]
            lines = Corpus(
                encode(flat, vocabulary).astype(np.int32), offsets, *sizes(flat, offsets)
            )
            responses, skipped[split] = self.responses(part.sizes, lines.lengths)
            if not len(responses):
                raise InputError(
                    f"data={self.name}: no response is left in the {split} part ({len(lines)} turns, skipped: {skipped[split]})"
                )
            responses = self.cut(responses, split)
            corpora[split] = sentences(lines, responses)
            contexts[split] = self.context_of(lines, part.sizes, responses)
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
        check_known(data.facts())
        return data

    def responses(
        self, sizes: np.ndarray, lengths: np.ndarray
    ) -> tuple[np.ndarray, dict[str, int]]:
        """Numbers of the turns that answer another one and are neither empty nor too long, rising; and how many are not."""
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

    def cut(self, responses: np.ndarray, split: str) -> np.ndarray:
        """At most the size asked for, drawn by split_seed."""
        return responses[
            at_most(getattr(self, f"{split}_size"), len(responses), self.split_seed, split)
        ]

    def context_of(self, lines: Corpus, sizes: np.ndarray, responses: np.ndarray) -> Corpus:
        """The last context_words of the `turns` turns before each response, as one sentence each, turns apart by end-of-sentence."""
        ended = np.insert(lines.tokens, lines.offsets[1:], EOS)
        offsets = lines.offsets + np.arange(len(lines.offsets))
        begins = np.repeat(np.cumsum(sizes) - sizes, sizes)  # of the dialogue, for each turn
        first = np.maximum(begins[responses], responses - self.turns)
        stops = offsets[responses] - 1  # batches add the last end-of-sentence
        return gathered(ended, np.maximum(offsets[first], stops - self.context_words), stops)


def classes_of(parts: Mapping[str, Turns], name: str) -> np.ndarray:
    """The names of a label's classes, by alphabet."""
    return np.unique(
        np.concatenate([part.labels[name] for part in parts.values() if name in part.labels])
    )


# ---------------------------------------------------------------- files


def from_folder(folder: Path, name: str) -> dict[str, Turns]:
    advice = f"; {prepare_command(name, folder)} makes it"
    parts = {split: from_file(find_part(folder, split, (".jsonl",), advice)) for split in SPLITS}
    shared = set.intersection(*(set(part.labels) for part in parts.values()))
    return {
        split: replace(part, labels={name: part.labels[name] for name in LABELS if name in shared})
        for split, part in parts.items()
    }


def from_file(path: Path) -> Turns:
    """InputError for a file that cannot be read, or whose lines are no dialogues."""
    import pyarrow as pa
    from pyarrow import json as arrow_json

    with reading(path) as (file, _):
        content = file.read()
    try:
        if noun := binary_noun(content):
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
            f"{path}, line {line}: not UTF-8 (byte 0x{content[error.start]:02x}); convert the file first"
        ) from error
    except pa.ArrowInvalid as error:
        raise InputError(
            f"{path}: not one JSON object a line ({str(error).splitlines()[0]})"
        ) from error
    if "turns" not in table.column_names:
        raise InputError(
            f"{path}: no `turns` in its lines, which have {', '.join(table.column_names)}; see conf/data/dailydialog.yaml"
        )
    column = table.column("turns").combine_chunks()
    kind = column.type
    if not (
        pa.types.is_list(kind)
        and pa.types.is_struct(kind.value_type)
        and "text" in names_of(kind.value_type)
    ):
        raise InputError(
            f"{path}: `turns` holds {kind}; needed is a list of objects with a `text` each"
        )
    for name in {"text", *LABELS} & set(names_of(kind.value_type)):
        own = kind.value_type.field(name).type
        if not fits(own, classes=name != "text"):
            raise InputError(f"{path}: the `{name}` of turns holds {own}; needed are strings")
    turns, sizes = (
        column.flatten(),
        column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False),
    )
    labels = {}
    for name in set(LABELS) & set(names_of(kind.value_type)):
        values = turns.field(name)
        if values.null_count:
            at = int(np.argmax(values.is_null().to_numpy(zero_copy_only=False)))
            line = int(np.searchsorted(np.cumsum(sizes), at, side="right")) + 1
            raise InputError(
                f"{path}, line {line}: a turn without `{name}`, which other turns have"
            )
        labels[name] = np.array(values.cast(pa.string()).to_pylist())
    return Turns(turns.field("text").cast(pa.large_string()), sizes.astype(np.int64), labels)


def names_of(kind: Any) -> list[str]:
    return [kind.field(i).name for i in range(kind.num_fields)]


# ---------------------------------------------------------------- the hub


def from_hub(cfg: DialogueConfig) -> dict[str, Turns]:
    """InputError when the set cannot be loaded or lacks a part or the column of dialogues."""
    if cfg.hub is None:
        raise InputError(
            f"data={cfg.name}: give data.dir=FOLDER with train.jsonl, valid.jsonl and test.jsonl"
        )
    with tempfile.TemporaryDirectory(prefix="uncollapse-") as scratch:
        loaded, parts = load(cfg.name, cfg.hub, cfg.revision, Path(scratch)), {}
        for split in SPLITS:
            name = next((alias for alias in ALIASES[split] if alias in loaded), None)
            if name is None:
                raise InputError(
                    f"{cfg.hub}: no {split} part; it has {', '.join(map(str, loaded))}"
                )
            parts[split] = from_rows(loaded[name], f"{cfg.hub}, {name} part")
        return parts


def from_rows(part: Any, where: str) -> Turns:
    import pyarrow as pa

    if "dialog" not in part.column_names:
        raise InputError(f"{where}: no column dialog; it has {', '.join(part.column_names)}")
    column = part.data.table.column("dialog").combine_chunks()
    sizes = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    labels = {}
    for name in LABELS:
        if name in part.column_names:
            values = part.data.table.column(name).combine_chunks().flatten().to_pylist()
            names = getattr(getattr(part.features[name], "feature", None), "names", None)
            labels[name] = np.array([names[v] if names else str(v) for v in values])
            if len(labels[name]) != sizes.sum():
                raise InputError(
                    f"{where}: {len(labels[name])} values of {name} for {sizes.sum()} turns"
                )
    return Turns(column.flatten().cast(pa.large_string()), sizes, labels)
