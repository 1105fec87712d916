"""Examples that a user gives in Python, as data that a finished run can encode."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from uncollapse.data import SPLITS
from uncollapse.data.corpus import UNK, Corpus
from uncollapse.data.dialogue import DialogueData
from uncollapse.data.image_size import ImageSize
from uncollapse.data.images import ImageData
from uncollapse.data.text import TextData
from uncollapse.data.vectors import VectorData
from uncollapse.data.words import encode_words, separate_tokens, split_words
from uncollapse.errors import InputError, shorten
from uncollapse.interfaces.data import Data
from uncollapse.json_types import JsonMapping

GIVEN_SPLIT = "test"  # the split that holds the given examples
DIALOGUE_HINT = (
    "a response is nothing without its context: of a dialogue run, only its own splits can be "
    "encoded (split='test'); uncollapse evaluate --metrics samples writes responses"
)


@dataclass(frozen=True)
class GivenExamples:
    """Data of a run in which the split GIVEN_SPLIT holds other examples.

    unknown [N]: tokens of each sentence that are not in the vocabulary; None for other data.
    """

    data: Data
    unknown: np.ndarray | None = None


def take_given(data: Data, cfg: JsonMapping, examples: object, seed: int) -> GivenExamples:
    """Examples in the form of the data of a run; `cfg` is its section `data`.

    InputError for examples of another kind or size, and for dialogues.
    """
    if isinstance(data, DialogueData):
        raise InputError(DIALOGUE_HINT)
    if isinstance(data, TextData):
        corpus = read_sentences(data, examples, raw=separates_tokens(cfg))
        unknown = np.add.reduceat(np.equal(corpus.tokens, UNK).astype(int), corpus.offsets[:-1])
        return GivenExamples(replace(data, corpora={GIVEN_SPLIT: corpus}), unknown)
    if isinstance(data, ImageData):
        images = read_images(examples, data.inputs)
        if not data.is_binary:
            grey = np.rint(images * data.levels).astype(np.uint8)
            return GivenExamples(replace(data, grey={GIVEN_SPLIT: grey}))
        pixels = draw_pixels_of(images, seed)
        return GivenExamples(replace(data, grey={GIVEN_SPLIT: pixels}, levels=1))
    if isinstance(data, VectorData):
        return GivenExamples(
            replace(data, vectors={GIVEN_SPLIT: read_vectors(examples, data.inputs)})
        )
    raise InputError(
        f"data of the class {type(data).__name__}: only its own splits can be encoded "
        "(split='test')"
    )


# ---------------------------------------------------------------- sentences


def read_sentences(data: TextData, examples: object, raw: bool) -> Corpus:
    """A list of sentences, or of lists of tokens, as ids of the run's vocabulary.

    Sentences are split into tokens as in training; lists of tokens are looked up as they are.
    """
    import pyarrow as pa

    items = list_given_sentences(examples)
    if all(isinstance(item, str) for item in items):
        try:
            texts = pa.array(items, pa.large_string())
        except UnicodeEncodeError as error:
            raise InputError(f"a sentence is no valid Unicode ({error.reason})") from error
        words = split_words(separate_tokens(texts) if raw else texts)
        units, offsets = data.level.split(*words)
        tokens = data.level.encoder(data.vocabulary)(units)
    else:
        flat = pa.array(chain.from_iterable(items), pa.large_string())
        tokens = encode_words(flat, data.vocabulary)
        offsets = np.cumsum([0, *map(len, items)])
    empty = np.diff(offsets) == 0
    if empty.any():
        raise InputError(
            f"example {int(np.argmax(empty))} (counted from 0): a sentence without a token"
        )
    return Corpus(tokens.astype(np.int32), offsets)


def list_given_sentences(examples: object) -> list[str] | list[Sequence[str]]:
    """The examples as a list of strings, or of lists of strings. InputError for anything else."""
    if isinstance(examples, str | bytes):
        raise InputError(
            f"{shorten(examples)!r}: one text; give a list of sentences, or split='test' for a "
            "split of the run's own data"
        )
    try:
        items = list(examples)  # type: ignore[call-overload]
    except TypeError:
        raise InputError(
            f"a {type(examples).__name__}: this run takes a list of sentences"
        ) from None
    if not items:
        raise InputError("an empty list: there is nothing to encode")
    first_is_text = isinstance(items[0], str)
    for number, item in enumerate(items):
        if first_is_text and isinstance(item, str):
            continue
        is_tokens = isinstance(item, list | tuple) and all(isinstance(word, str) for word in item)
        if first_is_text or not is_tokens:
            raise InputError(
                f"example {number} (counted from 0) is of type {type(item).__name__}: this run "
                "takes text, either a list of strings or a list of lists of tokens"
            )
    return items


def separates_tokens(cfg: JsonMapping) -> bool:
    """Whether training separated punctuation first, as it does for some sets of the hub."""
    # files are read as they are, and have precedence over the hub
    places = ("file", "dir", *SPLITS)
    from_files = any(cfg.get(place) is not None for place in places)
    return bool(cfg.get("tokenise")) and not from_files


# ---------------------------------------------------------------- images and vectors


def read_images(examples: object, size: ImageSize) -> np.ndarray:
    """Images [N, H, W], [N, H, W, C] or [N, P], values from 0 to 1, as float64 [N, P]."""
    wanted = f"images [N, {', '.join(map(str, size.shape))}] or [N, {size}]"
    x = read_array(examples, wanted)
    if x.shape[1:] not in (size.shape, (size,)):
        raise InputError(f"an array of shape {list(x.shape)}: this run takes {wanted}")
    if not ((x >= 0) & (x <= 1)).all():  # false for NaN, too
        raise InputError("pixels outside 0 to 1: divide images of 8 bits, grey or RGB, by 255")
    return x.reshape(len(x), size)


def draw_pixels_of(images: np.ndarray, seed: int) -> np.ndarray:
    """Binary pixels uint8: each is 1 with its value as the probability, so 0 and 1 stay."""
    return (images > np.random.default_rng(seed).random(images.shape)).astype(np.uint8)


def read_vectors(examples: object, size: int) -> np.ndarray:
    """Vectors [N, P] as float32."""
    x = read_array(examples, f"vectors [N, {size}]")
    if x.shape[1:] != (size,):
        raise InputError(f"an array of shape {list(x.shape)}: this run takes vectors [N, {size}]")
    if not np.isfinite(x).all():
        raise InputError("a number that is infinite or NaN: allowed are finite numbers")
    return x.astype(np.float32)


def read_array(examples: object, wanted: str) -> np.ndarray:
    """Numbers as a float64 array with at least one row. InputError for text and ragged lists."""
    try:
        x = np.asarray(examples)
    except ValueError:  # rows of different lengths
        raise InputError(f"rows of different sizes: this run takes {wanted}") from None
    if x.dtype.kind not in "buif":
        raise InputError(f"{shorten(examples)!r}: no numbers; this run takes {wanted}")
    if x.ndim < 2 or not len(x):
        raise InputError(f"an array of shape {list(x.shape)}: this run takes {wanted}")
    return x.astype(np.float64)
