"""The levels of tokens: words, characters, bytes, or the subwords of a `tokenizers` file.

`function_level` has those that a function of the user makes.

Every level starts from the same words of a sentence, with one space between them, so all levels
agree on its characters and bytes. A level also turns tokens back into text.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np

from uncollapse.data.corpus import SPECIALS, UNK, Corpus
from uncollapse.data.digests import file_digest
from uncollapse.data.sentence_sizes import encode_utf8, join_arrow_words
from uncollapse.data.words import build_vocabulary, count_words, encode_words, token_type
from uncollapse.errors import InputError
from uncollapse.json_types import Json

if TYPE_CHECKING:
    import pyarrow as pa
    import tokenizers

    Units: TypeAlias = pa.Array | np.ndarray  # the tokens of sentences, flat


Encoder: TypeAlias = Callable[[Any], np.ndarray]  # tokens of a level -> ids [total]

FIRST_ID = len(SPECIALS)  # the id of a vocabulary's first entry that is not reserved
CODE_POINTS = 0x110000  # of Unicode; a table of them maps each character to its id
# these end a line or a cell, or move the cursor
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True)
class Words:
    """Words separated by white space. The base of the other levels."""

    name: ClassVar[str] = "word"
    unit: ClassVar[str] = "words"
    between: ClassVar[str] = " "  # what stands between two tokens of a text
    splits_words: ClassVar[bool] = False  # whether a word can be several tokens
    has_own_code: ClassVar[bool] = False  # whether code of the user makes the tokens

    def check(self, limit: int | None, min_count: int) -> None:
        """InputError for vocabulary bounds that do not fit this level."""

    def describe(self) -> Json:
        """What the tokens depend on besides the name of the level: it is in the cache key."""
        return None

    def split(self, words: "pa.Array", offsets: np.ndarray) -> tuple["Units", np.ndarray]:
        """The tokens of all sentences, flat, and their offsets [N+1], from their words."""
        return words, offsets

    def count(self, units: "Units") -> "pa.Table | None":
        """The distinct tokens, `word`, and the `count` of each; None for a fixed vocabulary."""
        return count_words(units)

    def vocabulary(
        self, counts: "pa.Table | None", limit: int | None, min_count: int
    ) -> tuple[str, ...]:
        return build_vocabulary(counts, limit, min_count)

    def encoder(self, vocabulary: Sequence[str]) -> Encoder:
        """A function from flat tokens to their ids [total]."""
        import pyarrow as pa

        entries = pa.array(vocabulary, pa.large_string())
        return lambda units: encode_words(units, entries)

    def texts(self, corpus: Corpus, vocabulary: Sequence[str]) -> list[str]:
        """Each sentence as readable text on one line."""
        tokens = [vocabulary[i] for i in np.asarray(corpus.tokens)]
        return [
            escape_controls(self.between.join(tokens[a:b])) for a, b in pairwise(corpus.offsets)
        ]


@dataclass(frozen=True)
class Characters(Words):
    """Unicode code points; the space between words is one."""

    name: ClassVar[str] = "char"
    splits_words: ClassVar[bool] = True
    unit: ClassVar[str] = "characters"
    between: ClassVar[str] = ""

    def split(self, words: "pa.Array", offsets: np.ndarray) -> tuple["Units", np.ndarray]:
        data, ends = encode_utf8(words, offsets)
        # in UTF-32 every character has four bytes, so the array holds code points
        units = np.frombuffer(data.decode().encode("utf-32-le"), np.uint32)
        # all bytes of a character but the first begin with the bits 10, so that counting the others
        # counts characters
        first = (np.frombuffer(data, np.uint8) & 0xC0) != 0x80
        return units, np.concatenate([[0], np.cumsum(first, dtype=np.int64)])[ends]

    def count(self, units: np.ndarray) -> "pa.Table":
        import pyarrow as pa

        # one pass over all characters; the array is as long as the largest code point
        counts = np.bincount(units)
        found = np.flatnonzero(counts)
        return pa.table(
            {"word": pa.array(map(chr, found), pa.large_string()), "count": counts[found]}
        )

    def encoder(self, vocabulary: Sequence[str]) -> Encoder:
        # a look-up table of all of Unicode takes about 4 MB, and is faster than a dictionary
        ids: np.ndarray = np.full(CODE_POINTS, UNK, token_type(len(vocabulary)))
        ids[[ord(char) for char in vocabulary[FIRST_ID:]]] = np.arange(FIRST_ID, len(vocabulary))
        return lambda units: ids[units]


@dataclass(frozen=True)
class Bytes(Words):
    """The bytes of UTF-8. All 256 are in the vocabulary, so none is ever unknown."""

    name: ClassVar[str] = "byte"
    splits_words: ClassVar[bool] = True
    unit: ClassVar[str] = "bytes"

    def check(self, limit: int | None, min_count: int) -> None:
        check_fixed_vocabulary(self.name, FIRST_ID + 256, limit, min_count)

    def split(self, words: "pa.Array", offsets: np.ndarray) -> tuple["Units", np.ndarray]:
        data, ends = encode_utf8(words, offsets)
        return np.frombuffer(data, np.uint8), ends

    def count(self, units: np.ndarray) -> None:
        return None

    def vocabulary(
        self, counts: "pa.Table | None", limit: int | None, min_count: int
    ) -> tuple[str, ...]:
        return (*SPECIALS, *(chr(b) if 0x20 <= b < 0x7F else f"<0x{b:02X}>" for b in range(256)))

    def encoder(self, vocabulary: Sequence[str]) -> Encoder:
        return lambda units: units.astype(token_type(len(vocabulary))) + FIRST_ID

    def texts(self, corpus: Corpus, vocabulary: Sequence[str]) -> list[str]:
        """Each sentence decoded; invalid UTF-8, and reserved tokens, become U+FFFD."""
        tokens = np.asarray(corpus.tokens, dtype=np.int64)
        # 0xFF never occurs in UTF-8
        data = np.where(tokens < FIRST_ID, 0xFF, tokens - FIRST_ID).astype(np.uint8).tobytes()
        return [
            escape_controls(data[a:b].decode(errors="replace")) for a, b in pairwise(corpus.offsets)
        ]


@dataclass(frozen=True)
class Subwords(Words):
    """The tokens of a `tokenizers` file.

    Its ids follow the reserved ones, and its own unknown token becomes <unk>.
    """

    name: ClassVar[str] = "tokens"
    splits_words: ClassVar[bool] = True
    unit: ClassVar[str] = "tokens"
    path: str
    tokenizer: "tokenizers.Tokenizer" = field(compare=False)
    unknown: int | None = None  # the id of its own unknown token

    @classmethod
    def read(cls, path: Path) -> "Subwords":
        """InputError for a file that is missing or no tokenizer."""
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
                f"data.tokenizer={path}: not a JSON file of the package `tokenizers` ({first})"
            ) from error
        # a file made for another model may ask for truncation and padding
        tokenizer.no_truncation()
        tokenizer.no_padding()
        # some models of the package name the unknown token by id, others by its text
        unknown = model.get("unk_id")
        if unknown is None and model.get("unk_token") is not None:
            unknown = tokenizer.token_to_id(model["unk_token"])
        return cls(str(path), tokenizer, unknown)

    def describe(self) -> Json:
        """The digest of the file."""
        return file_digest(Path(self.path))

    @property
    def size(self) -> int:
        """The number of entries of the file."""
        # ids need not be dense, so the size follows from the largest one
        return 1 + max(self.tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)

    def check(self, limit: int | None, min_count: int) -> None:
        check_fixed_vocabulary(self.name, FIRST_ID + self.size, limit, min_count)

    def split(self, words: "pa.Array", offsets: np.ndarray) -> tuple["Units", np.ndarray]:
        # special tokens such as [CLS] belong to the file's original model
        found = self.tokenizer.encode_batch_fast(
            join_arrow_words(words, offsets).to_pylist(), add_special_tokens=False
        )
        lengths = np.fromiter(map(len, found), np.int64, len(found))
        units = np.fromiter(
            chain.from_iterable(one.ids for one in found), np.int64, int(lengths.sum())
        )
        return units, np.concatenate([[0], np.cumsum(lengths)])

    def count(self, units: np.ndarray) -> None:
        return None

    def vocabulary(
        self, counts: "pa.Table | None", limit: int | None, min_count: int
    ) -> tuple[str, ...]:
        return (*SPECIALS, *(self.tokenizer.id_to_token(i) or f"<{i}>" for i in range(self.size)))

    def encoder(self, vocabulary: Sequence[str]) -> Encoder:
        ids: np.ndarray = np.arange(FIRST_ID, len(vocabulary), dtype=token_type(len(vocabulary)))
        if self.unknown is not None:
            ids[self.unknown] = UNK
        return lambda units: ids[units]

    def texts(self, corpus: Corpus, vocabulary: Sequence[str]) -> list[str]:
        """Each sentence as the file's decoder writes it, with reserved tokens by name."""
        return [self.text(corpus.tokens[a:b]) for a, b in pairwise(corpus.offsets)]

    def text(self, tokens: np.ndarray) -> str:
        reserved = np.flatnonzero(tokens < FIRST_ID)
        # cut before and after each reserved token, which the file's decoder does not know
        pieces = np.split(
            tokens.astype(np.int64), np.sort(np.concatenate([reserved, reserved + 1]))
        )
        spelled = (
            SPECIALS[piece[0]]
            if len(piece) == 1 and piece[0] < FIRST_ID
            else self.tokenizer.decode((piece - FIRST_ID).tolist())
            for piece in pieces
            if len(piece)
        )
        return escape_controls(" ".join(spelled))


def check_fixed_vocabulary(level: str, size: int, limit: int | None, min_count: int) -> None:
    """InputError for bounds that would change a fixed vocabulary."""
    if limit is not None and limit < size:
        raise InputError(
            f"data.vocab_size={limit}: data.level={level} has {size:,} entries; allowed is null or "
            "more"
        )
    if min_count > 1:
        raise InputError(
            f"data.min_count={min_count}: data.level={level} has a fixed vocabulary; allowed is 1"
        )


def escape_controls(text: str) -> str:
    r"""Control characters and line separators as \n, \t, \u2028, so that text stays on a line."""
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
