"""Defaults are in the YAML files of conf/ and nowhere else."""

from dataclasses import MISSING, fields
from typing import Any

import pytest
from omegaconf import OmegaConf
from schemas import stated

from uncollapse.config import options
from uncollapse.config.sections import LogConfig, load_section
from uncollapse.config.targets import locate_class
from uncollapse.errors import InputError
from uncollapse.training.config import TrainerConfig

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
