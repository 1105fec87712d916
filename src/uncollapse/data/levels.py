"""What a token is: a word, a character, a byte, or a subword of a `tokenizers` file; and how tokens become text again.

Every level starts from the same words of a sentence, one space between them, so that all levels agree on its characters and bytes.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from uncollapse.data.corpus import SPECIALS, UNK, Corpus
from uncollapse.data.words import build_vocabulary, count_words, encode, token_type
from uncollapse.errors import InputError, check_choice, expand_home

FIRST = len(SPECIALS)  # the id of a vocabulary's first entry that is not reserved
CODE_POINTS = 0x110000
CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029]"
)  # what ends a line or a cell, or moves a cursor


@dataclass(frozen=True)
class Words:
    """Words as white space parts them. The base of the other levels, which replace what differs."""

    name: ClassVar[str] = "word"
    unit: ClassVar[str] = "words"
    between: ClassVar[str] = " "  # what stands between two tokens of a text

    def check(self, limit: int | None, min_count: int) -> None:
        """InputError for bounds of the vocabulary that this level cannot keep."""

    def split(self, words: Any, offsets: np.ndarray) -> tuple[Any, np.ndarray]:
        """Units, flat, and where each sentence's lie [N+1], from its words."""
        return words, offsets

    def count(self, units: Any) -> Any:
        """A table of the different ones: `word`, and `count` of each."""
        return count_words(units)

    def vocabulary(self, counts: Any, limit: int | None, min_count: int) -> tuple[str, ...]:
        return build_vocabulary(counts, limit, min_count)

    def encoder(self, vocabulary: Sequence[str]) -> Any:
        """units -> ids [total]."""
        import pyarrow as pa

        known = pa.array(vocabulary, pa.large_string())
        return lambda units: encode(units, known)

    def texts(self, corpus: Corpus, vocabulary: Sequence[str]) -> list[str]:
        """Each sentence as people read it, on one line."""
        tokens = [vocabulary[i] for i in np.asarray(corpus.tokens)]
        return [visible(self.between.join(tokens[a:b])) for a, b in pairwise(corpus.offsets)]


@dataclass(frozen=True)
class Characters(Words):
    """Unicode's code points; the space between words is one."""

    name: ClassVar[str] = "char"
    unit: ClassVar[str] = "characters"
    between: ClassVar[str] = ""

    def split(self, words: Any, offsets: np.ndarray) -> tuple[Any, np.ndarray]:
        data, ends = utf8(words, offsets)
        units = np.frombuffer(data.decode().encode("utf-32-le"), np.uint32)
        # a character ends where its first byte has been counted; the others begin with the bits 10
        first = (np.frombuffer(data, np.uint8) & 0xC0) != 0x80
        return units, np.concatenate([[0], np.cumsum(first, dtype=np.int64)])[ends]

    def count(self, units: np.ndarray) -> Any:
        import pyarrow as pa

        counts = np.bincount(units)
        found = np.flatnonzero(counts)
        return pa.table(
            {"word": pa.array(map(chr, found), pa.large_string()), "count": counts[found]}
        )

    def encoder(self, vocabulary: Sequence[str]) -> Any:
        ids: np.ndarray = np.full(CODE_POINTS, UNK, token_type(len(vocabulary)))
        ids[[ord(char) for char in vocabulary[FIRST:]]] = np.arange(FIRST, len(vocabulary))
        return lambda units: ids[units]


@dataclass(frozen=True)
class Bytes(Words):
    """The bytes of UTF-8: all 256 are the vocabulary, so that none is ever unknown."""

    name: ClassVar[str] = "byte"
    unit: ClassVar[str] = "bytes"

    def check(self, limit: int | None, min_count: int) -> None:
        check_fixed(self.name, FIRST + 256, limit, min_count)

    def split(self, words: Any, offsets: np.ndarray) -> tuple[Any, np.ndarray]:
        data, ends = utf8(words, offsets)
        return np.frombuffer(data, np.uint8), ends

    def count(self, units: np.ndarray) -> None:
        return None

    def vocabulary(self, counts: Any, limit: int | None, min_count: int) -> tuple[str, ...]:
        return (*SPECIALS, *(chr(b) if 0x20 <= b < 0x7F else f"<0x{b:02X}>" for b in range(256)))

    def encoder(self, vocabulary: Sequence[str]) -> Any:
        return lambda units: units.astype(token_type(len(vocabulary))) + FIRST

    def texts(self, corpus: Corpus, vocabulary: Sequence[str]) -> list[str]:
        """What is no UTF-8 shows as U+FFFD, and so does a reserved token that a model has written."""
        tokens = np.asarray(corpus.tokens, dtype=np.int64)
        data = (
            np.where(tokens < FIRST, 0xFF, tokens - FIRST).astype(np.uint8).tobytes()
        )  # 0xFF is no UTF-8
        return [visible(data[a:b].decode(errors="replace")) for a, b in pairwise(corpus.offsets)]


@dataclass(frozen=True)
class Subwords(Words):
    """The tokens of a `tokenizers` file; its ids follow the reserved ones, its own unknown token becomes <unk>."""

    name: ClassVar[str] = "tokens"
    unit: ClassVar[str] = "tokens"
    path: str = ""
    tokenizer: Any = field(default=None, compare=False)
    unknown: int | None = None  # the file's own id of it

    @classmethod
    def read(cls, path: Path) -> "Subwords":
        """InputError for a file that is not there, or no tokenizer."""
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise InputError(
                f"data.level=tokens: the package `tokenizers` is missing ({error})"
            ) from error
        try:
            content = path.read_text(encoding="utf-8")
            tokenizer, model = Tokenizer.from_str(content), json.loads(content)["model"]
        except OSError as error:
            raise InputError(f"data.tokenizer={path}: cannot be read ({error.strerror})") from error
        except Exception as error:  # the package raises bare exceptions
            first = str(error).splitlines()[0]
            raise InputError(
                f"data.tokenizer={path}: no JSON file of the package `tokenizers` ({first})"
            ) from error
        # a file made for another model may cut and pad
        tokenizer.no_truncation()
        tokenizer.no_padding()
        unknown = model.get("unk_id")
        if unknown is None and model.get("unk_token") is not None:
            unknown = tokenizer.token_to_id(model["unk_token"])
        return cls(str(path), tokenizer, unknown)

    @property
    def size(self) -> int:
        """How many entries the file has."""
        return 1 + max(self.tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)

    def check(self, limit: int | None, min_count: int) -> None:
        check_fixed(self.name, FIRST + self.size, limit, min_count)

    def split(self, words: Any, offsets: np.ndarray) -> tuple[Any, np.ndarray]:
        found = self.tokenizer.encode_batch_fast(
            spaced(words, offsets).to_pylist(), add_special_tokens=False
        )
        lengths = np.fromiter(map(len, found), np.int64, len(found))
        units = np.fromiter(
            chain.from_iterable(one.ids for one in found), np.int64, int(lengths.sum())
        )
        return units, np.concatenate([[0], np.cumsum(lengths)])

    def count(self, units: np.ndarray) -> None:
        return None

    def vocabulary(self, counts: Any, limit: int | None, min_count: int) -> tuple[str, ...]:
        return (*SPECIALS, *(self.tokenizer.id_to_token(i) or f"<{i}>" for i in range(self.size)))

    def encoder(self, vocabulary: Sequence[str]) -> Any:
        ids: np.ndarray = np.arange(FIRST, len(vocabulary), dtype=token_type(len(vocabulary)))
        if self.unknown is not None:
            ids[self.unknown] = UNK
        return lambda units: ids[units]

    def texts(self, corpus: Corpus, vocabulary: Sequence[str]) -> list[str]:
        """As the file's decoder writes them, reserved tokens between."""
        return [self.text(corpus.tokens[a:b]) for a, b in pairwise(corpus.offsets)]

    def text(self, tokens: np.ndarray) -> str:
        reserved = np.flatnonzero(tokens < FIRST)
        pieces = np.split(
            tokens.astype(np.int64), np.sort(np.concatenate([reserved, reserved + 1]))
        )
        said = (
            SPECIALS[piece[0]]
            if len(piece) == 1 and piece[0] < FIRST
            else self.tokenizer.decode(piece - FIRST)
            for piece in pieces
            if len(piece)
        )
        return visible(" ".join(said))


LEVELS: dict[str, type[Words]] = {
    level.name: level for level in (Words, Characters, Bytes, Subwords)
}


def level_of(name: object, tokenizer: str | None) -> Words:
    """The level by its name. InputError for an unknown one, a missing tokenizer file, or one that nothing reads."""
    level = LEVELS[check_choice("data.level", name, LEVELS)]
    if level is Subwords:
        if tokenizer is None:
            raise InputError(
                "data.level=tokens: needs data.tokenizer=FILE, a JSON file of the package `tokenizers`"
            )
        return Subwords.read(expand_home(tokenizer))
    if tokenizer is not None:
        raise InputError(
            f"data.tokenizer={tokenizer}: read with data.level=tokens only, not with data.level={name}"
        )
    return level()


def check_fixed(level: str, size: int, limit: int | None, min_count: int) -> None:
    """InputError for bounds on a vocabulary whose entries are given."""
    if limit is not None and limit < size:
        raise InputError(
            f"data.vocab_size={limit}: data.level={level} has {size:,} entries; allowed is null or more"
        )
    if min_count > 1:
        raise InputError(
            f"data.min_count={min_count}: data.level={level} has a fixed vocabulary; allowed is 1"
        )


def spaced(words: Any, offsets: np.ndarray) -> Any:
    """Sentences [N] as Arrow strings, one space between words."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lists = pa.LargeListArray.from_arrays(pa.array(offsets), words)
    return pc.binary_join(lists, pa.scalar(" ", pa.large_string()))


def utf8(words: Any, offsets: np.ndarray) -> tuple[bytes, np.ndarray]:
    """All sentences, one space between words, as one piece of UTF-8, and where each lies in it [N+1]."""
    texts = spaced(words, offsets)
    _, ends, data = texts.buffers()
    bounds = (
        np.frombuffer(ends, np.int64)[texts.offset : texts.offset + len(texts) + 1]
        if ends
        else np.zeros(1, int)
    )
    return (bytes(data)[bounds[0] : bounds[-1]] if data else b""), bounds - bounds[0]


def sizes(words: Any, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Characters and bytes of each sentence [N], one space between words."""
    import pyarrow.compute as pc

    lengths = (
        measure(words).to_numpy(zero_copy_only=False)
        for measure in (pc.utf8_length, pc.binary_length)
    )
    chars, size = (summed(found, offsets) for found in lengths)
    return chars, size


def sizes_of(corpus: Corpus, vocabulary: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The same of sentences whose words are all in the vocabulary."""
    chars, size = (
        np.array([len(word) for word in words])
        for words in (vocabulary, map(str.encode, vocabulary))
    )
    return summed(chars[corpus.tokens], corpus.offsets), summed(size[corpus.tokens], corpus.offsets)


def summed(lengths: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Of each sentence [N] the lengths of its words, and one for each space between them."""
    ends = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])[offsets]
    return np.diff(ends) + np.maximum(np.diff(offsets) - 1, 0)


def visible(text: str) -> str:
    r"""Control characters and line separators as \n, \t, \x1b, \u2028: a text that stays on its line and in its cell."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
