"""Which override words change something: a run's name has those that do not just write a default out."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from uncollapse import config as configs
from uncollapse.config import SECTIONS
from uncollapse.runs.identity import IGNORED_KEYS, normalize


def select_effective_overrides(
    cfg: DictConfig, head: str, asked: Mapping[str, Any], words: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The overrides `asked` (by key) that change something, and the plain config without them.

    `words` are the overrides as typed: what an `experiment=` among them sets is there anyway, and so is
    what an option of a group (`model=transformer`) sets.
    """
    base = [f"head={head}", *(word for word in words if word.startswith("experiment="))]
    choices = compose_config(configs.CONF, tuple(base)).hydra.runtime.choices
    groups = {key: asked[key] for key in asked if key in SECTIONS and isinstance(asked[key], str)}
    groups = {key: option for key, option in groups.items() if option != choices.get(key)}
    there = compose_config(configs.CONF, (*base, *(f"{key}={option}" for key, option in groups.items())))
    kept = {
        key: value
        for key, value in asked.items()
        if key not in IGNORED_KEYS
        and (key in groups if key in SECTIONS else normalize(select_value(cfg, key)) != normalize(select_value(there, key)))
    }
    return kept, {str(key): select_value(there, str(key)) for key in there if key != "hydra"}


@lru_cache(maxsize=64)
def compose_config(conf: Path, words: tuple[str, ...]) -> DictConfig:
    """The config that these words alone make of the files in `conf`, with Hydra's own part."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    if GlobalHydra.instance().is_initialized():  # as in every job of Hydra, with its search path
        return compose("train", [*words], return_hydra_config=True)
    with initialize_config_dir(str(conf), version_base="1.3"):
        return compose("train", [*words], return_hydra_config=True)


def select_value(cfg: DictConfig, key: str) -> Any:
    """The value at a dotted key as plain data; None where there is none."""
    value = OmegaConf.select(cfg, key)
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
