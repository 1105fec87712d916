"""Finds the overrides that change something; only those are in a run's name."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from uncollapse import config as configs
from uncollapse.config import SECTIONS
from uncollapse.config.shorthands import replace_shorthands
from uncollapse.json_types import Json, JsonMapping, JsonObject
from uncollapse.runs.identity import IGNORED_KEYS, normalize


def select_effective_overrides(
    cfg: DictConfig, head: str, overrides: JsonMapping, words: Sequence[str]
) -> tuple[JsonObject, JsonObject]:
    """The overrides (by key) that change something, and the plain config without them.

    `words` are the overrides as typed. An override does not count if `experiment=`, or an option
    of a group (`model=transformer`), sets the same value.
    """
    # labels, seeds and other common keys are ignored below, so only the head and the experiment
    # make the base
    base = [f"head={head}", *(word for word in words if word.startswith("experiment="))]
    options = find_other_options(overrides, base)
    chosen = [f"{group}={option}" for group, option in options.items()]
    default = compose_config(configs.CONF, (*base, *chosen))

    def has_effect(key: str) -> bool:
        if key in SECTIONS:
            return key in options
        # normalised, so that 1 and 1.0, or a renamed class, count as equal
        return bool(normalize(select_value(cfg, key)) != normalize(select_value(default, key)))

    kept = {k: v for k, v in overrides.items() if k not in IGNORED_KEYS and has_effect(k)}
    keys = [str(key) for key in default if key != "hydra"]
    return kept, {key: select_value(default, key) for key in keys}


def find_other_options(overrides: Mapping[str, Json], base: Sequence[str]) -> dict[str, str]:
    """The options that overrides choose instead of those of `base`, by section."""
    default = compose_config(configs.CONF, tuple(base)).hydra.runtime.choices
    return {
        key: value
        for key, value in overrides.items()
        if key in SECTIONS and isinstance(value, str) and value != default.get(key)
    }


# a sweep composes the same few configs for every job
@lru_cache(maxsize=64)
def compose_config(conf: Path, words: tuple[str, ...]) -> DictConfig:
    """The config composed from the files in `conf` and these words, Hydra's section included."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from uncollapse.search_path import add_user_folders

    add_user_folders()
    if GlobalHydra.instance().is_initialized():  # in a Hydra job: keep its search path
        composed = compose("train", [*words], return_hydra_config=True)
    else:
        with initialize_config_dir(str(conf), version_base="1.3"):
            composed = compose("train", [*words], return_hydra_config=True)
    return replace_shorthands(composed, words, composed.hydra.runtime.choices.head)[0]


def select_value(cfg: DictConfig, key: str) -> Json:
    """The value at a dotted key as plain data; None where there is none."""
    value = OmegaConf.select(cfg, key)
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
