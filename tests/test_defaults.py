"""Defaults are in the YAML files of conf/; a class for use from Python may repeat them."""

import inspect
from dataclasses import MISSING, fields
from typing import Any

import pytest
from omegaconf import OmegaConf
from schemas import stated

from uncollapse.config import CONF, HYDRA_KEYS, SLOTS, heads, options, read_head
from uncollapse.config.sections import LogConfig, load_section
from uncollapse.config.targets import find_targets, locate_class
from uncollapse.distributions.moments import EPS
from uncollapse.errors import InputError
from uncollapse.training.config import TrainerConfig
from uncollapse.yaml_files import read_yaml

SCHEMAS: dict[str, type] = {"trainer": TrainerConfig, "log": LogConfig}
# A key that a file omits is absent: no value is requested.
ABSENT = (None, False)


def files_by_schema() -> dict[type, list[dict[str, Any]]]:
    """Schema -> the values of each YAML file that it types."""
    found: dict[type, list[dict[str, Any]]] = {}
    for group in ("data", "model", "trainer", "log"):
        for option in options(group):
            values = stated(group, option)
            schema = SCHEMAS.get(group) or locate_class(values["_target_"], group)
            found.setdefault(schema, []).append(values)
    return found


@pytest.mark.parametrize(
    ("schema", "files"), files_by_schema().items(), ids=lambda s: getattr(s, "__name__", "")
)
def test_schema_defaults_do_not_repeat_yaml_values(schema: type, files: list[dict]) -> None:
    for field in fields(schema):
        has_default = (field.default, field.default_factory) != (MISSING, MISSING)
        assert has_default != all(field.name in values for values in files), field.name
        assert not has_default or field.default in ABSENT, field.name


@pytest.mark.parametrize("head", heads())
def test_default_of_a_slot_class_is_that_of_its_yaml(head: str) -> None:
    """The YAML of a slot is that of train.yaml, which the head's file changes."""
    plain, changed = read_yaml(CONF / "train.yaml"), read_head(head)
    for slot in SLOTS:
        for place, node in find_targets(plain[slot] | changed.get(slot, {}), slot):
            found = locate_class(node["_target_"], place)
            for parameter in inspect.signature(found).parameters.values():
                if parameter.default is not parameter.empty:
                    stated_by = plain[slot] if place == slot else {}
                    assert parameter.default == default_in(stated_by, parameter.name), place


def default_in(node: dict[str, Any], key: str) -> object:
    """The value of a key, or the class that it names; `eps`, which no file states, is EPS."""
    value = {"eps": EPS, **node}[key]
    if isinstance(value, dict) and not set(value) - {*HYDRA_KEYS}:
        return locate_class(value["_target_"], f"decoder.{key}")
    return value


def test_key_missing_from_old_config_gets_yaml_value() -> None:
    saved = {key: value for key, value in stated("log", "local").items() if key != "timeout"}
    assert load_section(OmegaConf.create(saved), "log", LogConfig).timeout == 20
    saved = {key: value for key, value in stated("model", "lstm").items() if key != "pool"}
    assert load_section(OmegaConf.create(saved), "model").pool == "last"


def test_key_without_any_value_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    saved = {key: value for key, value in stated("log", "local").items() if key != "timeout"}
    (tmp_path / "log").mkdir()
    monkeypatch.setattr("uncollapse.config.CONF", tmp_path)
    with pytest.raises(InputError, match=r"^log\.timeout: missing; no file of conf/log states it$"):
        load_section(OmegaConf.create(saved), "log", LogConfig)
