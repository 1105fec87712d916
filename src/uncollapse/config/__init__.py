"""The config files: the options of each group, their content, and the knobs of each head.

They are those of this package and of the user's own folders (uncollapse.plugins). A head is a
recipe over the slots. Its knobs are top-level keys that the slots read by interpolation
(`tau: ${tau}`).
"""

from collections.abc import Iterable
from pathlib import Path

from uncollapse.errors import InputError
from uncollapse.json_types import Json, JsonObject
from uncollapse.plugins import user_folders
from uncollapse.renamed import present_name
from uncollapse.yaml_files import read_yaml

PACKAGE = Path(__file__).resolve().parents[1]
# a wheel holds the config files; in a checkout they are at the top
CONF = next(path for path in (PACKAGE / "conf", PACKAGE.parents[1] / "conf") if path.is_dir())
SLOTS = ("posterior", "objective", "procedure", "decoder")
SECTIONS = ("data", "model", "trainer", "log")
COMMON = ("label", "study", "results", "seed", "device", "threads", "again", "plugins")
TYPED = (*COMMON, "from", "level")  # root keys, other than groups, slots and knobs, that users type
SHORTHANDS = ("level", "frontier")  # replaced before a run is named: config/shorthands.py
HYDRA_KEYS = ("_target_", "_partial_", "_recursive_", "_convert_", "_args_")


def config_folders() -> tuple[Path, ...]:
    """Where config files are searched: in this package, then in the user's own folders."""
    return (CONF, *user_folders())


def options(group: str) -> list[str]:
    """The values that `group=` can have: the files of <group>/ in the config folders."""
    return list_options(group, config_folders())


def package_options(group: str) -> list[str]:
    """Those of this package alone."""
    return list_options(group, (CONF,))


def list_options(group: str, folders: Iterable[Path]) -> list[str]:
    """The options of a group in some folders, sorted."""
    return sorted({path.stem for folder in folders for path in (folder / group).glob("*.yaml")})


def find_option(group: str, option: str) -> Path:
    """The file of an option, which need not exist."""
    name = Path(group) / f"{option}.yaml"
    return next((f / name for f in config_folders() if (f / name).exists()), CONF / name)


def heads() -> list[str]:
    """The values that `head=` can have."""
    return options("head")


def knobs_of(head: str) -> set[str]:
    """The top-level keys, other than slots, of a head's file and of the heads it combines."""
    own = set(read_head(head)) - {*SLOTS, *SHORTHANDS, "label", "defaults"}
    return own.union(*map(knobs_of, parents_of(head)))


def read_head(head: str) -> JsonObject:
    """The content of a head's file, interpolations unresolved."""
    return read_option("head", head)


def read_option(group: str, option: str) -> JsonObject:
    """The content of an option's file. InputError when it is damaged or no mapping."""
    path = find_option(group, option)
    content = read_yaml(path) or {}
    if not isinstance(content, dict):
        raise InputError(f"{path}: damaged (not a mapping of keys)")
    return {str(key): value for key, value in content.items()}


def parents_of(name: str, group: str = "head") -> list[str]:
    """The options that an option combines: those in its defaults list."""
    others = set(options(group)) - {name}
    listed = read_option(group, name).get("defaults")
    if not isinstance(listed, list):
        return []
    return [item for item in listed if isinstance(item, str) and item in others]


def read_default(section: str, target: object, key: str) -> Json:
    """The value that a section's files state for a key; KeyError where none does.

    Only files whose `_target_` is `target` count. This completes configs that were saved before the
    key existed. All files of a class must give a new key the value that leaves old runs unchanged.
    """
    wanted = None if target is None else present_name(str(target))
    for option in options(section):
        # a file with a defaults list does not state all keys, and may inherit another value
        content = read_option(section, option)
        if content.get("_target_") == wanted and "defaults" not in content and key in content:
            return content[key]
    raise KeyError(key)
