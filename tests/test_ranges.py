"""Every number of every config: an invalid value is refused quickly, in one sentence."""

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from conftest import composed
from omegaconf import DictConfig, OmegaConf

from uncollapse.building import prepare
from uncollapse.config import heads, knobs_of, parents_of
from uncollapse.config.sections import load_section
from uncollapse.errors import InputError, check_integer, check_number
from uncollapse.request import understand_request

ODD: tuple[Any, ...] = (
    -1,
    0,
    0.5,
    10**30,
    1e30,
    -1e30,
    float("nan"),
    float("inf"),
    float("-inf"),
    "much",
    True,
    None,
    [1],
    {"a": 1},
)
HUGE = (10**30, 1e30, float("inf"), float("nan"))
VECTORS = ("data=gaussian", "data.train=40", "data.valid=40", "data.test=40", "model=linear")
DIGITS = ("data=digits", "data.train=40", "data.valid=40", "data.test=40")
TINY = (
    "data.train=40",
    "data.valid=40",
    "data.test=40",
    "model.hidden=6",
    "model.latent=3",
    "model.embedding=5",
)
KINDS = {
    "lstm": TINY,
    "transformer": (
        "data.train=40",
        "data.valid=40",
        "data.test=40",
        "model=transformer",
        "model.width=8",
        "model.latent=3",
    ),
    "linear": VECTORS,
    "image_mlp": (*DIGITS, "model=image_mlp", "model.hidden=6", "model.latent=3"),
    "image_pixelcnn": (
        *DIGITS,
        "model=image_pixelcnn",
        "model.hidden=6",
        "model.channels=4",
        "model.latent=3",
    ),
}


def get_refusal(cfg: DictConfig, head: str) -> str | None:
    """The sentence with which a config is refused, None where it is built.

    Nothing else may happen, and it may not take long.
    """
    start = time.perf_counter()
    try:
        understand_request(cfg, head, [])
        prepare(cfg, head)
    except InputError as error:
        return str(error)
    finally:
        torch.set_num_threads(1)
        assert time.perf_counter() - start < 15
    return None


def with_value(cfg: DictConfig, key: str, value: object) -> DictConfig:
    changed = cfg.copy()
    OmegaConf.set_struct(changed, False)
    OmegaConf.update(changed, key, value, merge=False)
    return changed


def numbers(cfg: DictConfig) -> Iterator[str]:
    """Section and common keys whose value is a number, or null where a number is allowed."""
    yield from ("seed", "threads")
    for section in ("data", "model", "trainer"):
        for key, value in cfg[section].items():
            if isinstance(value, int | float | None) and not isinstance(value, bool):
                yield f"{section}.{key}"


PLACES = [(kind, key) for kind, words in KINDS.items() for key in numbers(composed(*words))]
SEEN = {key: kind for kind, key in reversed(PLACES)}  # each key on the first kind that has it
KNOBS = [
    (head, knob) for head in heads() if not parents_of(head) for knob in sorted(knobs_of(head))
]


def check_range(cfg: DictConfig, key: str, name: str, head: str) -> None:
    for value in ODD:
        sentence = get_refusal(with_value(cfg, key, value), head)
        if sentence is not None:
            assert re.search(rf"\b{name}\b", sentence), (value, sentence)
            assert sentence.isprintable() and len(sentence) < 400, (value, sentence)
        if (
            value in ("much", [1], {"a": 1})
            or value is True
            or (value in HUGE and value not in (10**30, 1e30))
        ):
            assert sentence is not None, value


@pytest.mark.parametrize("key", SEEN)
def test_every_section_number_has_a_range(key: str) -> None:
    check_range(composed(*KINDS[SEEN[key]]), key, key.split(".")[-1], "plain")


@pytest.mark.parametrize(("head", "knob"), KNOBS)
@pytest.mark.slow
def test_every_knob_has_a_range(head: str, knob: str) -> None:
    check_range(composed(f"head={head}", *TINY), knob, knob, head)


@pytest.mark.parametrize("option", ["text", "dailydialog"])
def test_every_file_data_number_has_a_range(option: str) -> None:
    cfg = composed(f"data={option}").data
    for key in [
        key
        for key, value in cfg.items()
        if type(value) is int or re.search("size|max_length", str(key))
    ]:
        for value in (-1, 0.5, 10**30, float("nan"), "much", [1]):
            changed = cfg.copy()
            changed[key] = value
            with pytest.raises(InputError, match=rf"^data\.{key}=") as error:
                load_section(changed, "data").check()
            assert str(error.value).isprintable()


TOO_LARGE = {
    "model.hidden=1000000": "model.hidden=1000000: a model of",
    "model.latent=1000000 head=iaf": "model.latent=1000000: a model of",
    "model=transformer model.width=100000 model.layers=1000": "model.width=100000: a model of",
    "head=mog components=1000000 model.latent=100000": "components=1000000: a model of",
    "model.hidden=1000000000": "model.hidden=1000000000: allowed is an integer from 1 to 1,000,000",
}


@pytest.mark.parametrize("words", TOO_LARGE)
def test_oversized_model_is_refused_before_building(words: str) -> None:
    cfg = composed(*words.split())
    sentence = get_refusal(cfg, "plain")
    assert sentence is not None and sentence.startswith(TOO_LARGE[words])


def test_published_sizes_are_accepted() -> None:
    cfg = composed("model=lstm_published", *TINY[:3])
    assert get_refusal(cfg, "plain") is None


def test_number_bounds_are_checked() -> None:
    assert check_number("x", 1e9, 0) == 1e9 and check_integer("x", 10**9, 0) == 10**9
    with pytest.raises(InputError, match=r"^x=1e\+10: out of range; allowed is 0 < x <= 1e\+09$"):
        check_number("x", 1e10, 0)
    with pytest.raises(
        InputError, match=r"^x=2000000000: allowed is an integer from 1 to 1,000,000,000$"
    ):
        check_integer("x", 2 * 10**9, 1)
