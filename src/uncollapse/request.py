"""The run that a composed config and its override words request, and whether it is done already."""

from dataclasses import dataclass

from omegaconf import DictConfig

from uncollapse.config import COMMON
from uncollapse.config.common_keys import check_results_folder, check_root, check_text
from uncollapse.config.knobs import check_knobs
from uncollapse.config.overrides import select_effective_overrides
from uncollapse.config.sections import LogConfig, load_section
from uncollapse.config.targets import resolve_node
from uncollapse.errors import InputError
from uncollapse.json_types import JsonObject
from uncollapse.own_code import list_changed_modules
from uncollapse.plugins import as_names, plugin_names
from uncollapse.runs.identity import list_changes
from uncollapse.runs.layout import DONE, Run, format_command, format_title, locate_run
from uncollapse.runs.packed import PackedRun, explain_skip, find_equal_packed_runs, name_in_pack
from uncollapse.runs.reading import read_config
from uncollapse.runs.results import read_summary
from uncollapse.runs.study import find_same_run

NOT_IN_NAME = ("head", "seed", "study", "results", "experiment", "log", "again", "plugins", "from")


@dataclass(frozen=True)
class Request:
    """One requested run."""

    head: str
    overrides: JsonObject  # by key, those that change something
    run: Run
    config: JsonObject  # resolved, without OmegaConf's types
    base: JsonObject  # the config without the overrides
    command: str
    again: bool = False  # train even if the run is in the study's pack

    @property
    def name(self) -> str:
        """The run's title in messages."""
        return format_title(self.head, self.overrides, self.config["seed"])


def understand_request(cfg: DictConfig, head: str, overrides: list[str]) -> Request:
    """The request behind a composed config and its override words.

    InputError for unknown knobs and for common keys out of range.
    """
    check_knobs(cfg, head)
    load_section(cfg.log, "log", LogConfig).check()
    config = resolve_node(cfg, "")
    check_text({"overrides": overrides, **config}, "")
    for key in COMMON:
        check_root(key, config[key])
    # these two are about this command, not about the run
    changed, base = select_effective_overrides(cfg, head, parse_overrides(overrides), overrides)
    # its label, not the path that was typed
    if "from" in config:
        changed = dict(sorted({**changed, "from": config["from"]}.items()))
    again = config.pop("again", False)
    check_plugins(config.pop("plugins", None))
    config = {"head": head, "overrides": changed, **config}
    run = locate_run(str(cfg.results), str(cfg.study), head, changed, cfg.seed)
    check_results_folder(run.folder, str(cfg.results))
    # an equal config may already have a run in a folder of another name
    if not run.exists:
        run = find_same_run(run, config, base) or run
    return Request(
        head, changed, run, config, base, format_command(head, cfg.seed, overrides), again
    )


def check_plugins(value: object) -> None:
    """InputError for packages that only a config file names: it might not be the user's own."""
    if unused := [name for name in as_names(value) if name not in plugin_names()]:
        raise InputError(
            f"plugins={unused[0]}: a config file cannot name packages; name it in uncollapse.yaml "
            "or on the command line"
        )


def parse_overrides(overrides: list[str]) -> JsonObject:
    """Override words that belong in a run's name, by key in alphabetical order.

    Values are as Hydra parses them.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_overrides(overrides)
    named = {
        # `~key` deletes a key
        o.key_or_group: None if o.is_delete() else o.value()
        for o in parsed
        # a section's key, such as log.mode, counts as its section
        if o.key_or_group.split(".")[0] not in NOT_IN_NAME
    }
    return {
        key: named[key] if isinstance(named[key], int | float | bool | None) else str(named[key])
        for key in sorted(named)
    }


def find_done_folder(request: Request) -> str:
    """A sentence if the folder holds this run, done; '' otherwise.

    InputError when it holds another run, or one that cannot be identified.
    """
    run = request.run
    run.require_config()
    if not run.exists:
        return ""
    # defaults may have changed since a run of this name was made
    if lines := list_changes(read_config(run), request.config, request.base):
        raise InputError(
            f"{run.folder} holds a run with another config (old -> new): {'; '.join(lines)}. "
            "Nothing was changed; choose another study=NAME, or move that folder away"
        )
    if run.status != DONE:
        return ""
    hint = "; move that folder away to train it again" if request.again else ""
    if changed := list_changed_modules(read_summary(run), request.config):
        hint = (
            f"; but {', '.join(changed)} has changed since: move that folder away, or choose "
            "another study=NAME, to train with the new code"
        )
    return f"{run.folder} is done with this config{hint}"


def find_packed_copies(request: Request) -> list[PackedRun]:
    """Copies of this run in the study's pack, unless it is to be trained again."""
    if request.again:
        return []
    name = name_in_pack(request.head, request.overrides, request.config)
    return find_equal_packed_runs(request.run.study, name, request.config, request.base)


def find_done_copy(
    request: Request, copies: list[PackedRun], facts: JsonObject | None = None
) -> str:
    """A sentence if a copy is this run; '' otherwise. `facts`: of the data, once loaded."""
    for copy in copies:
        if facts:
            is_same = copy.has_same_data(request.config, facts)
        else:  # a skip without loading the data
            is_same = copy.has_same_missing_locations(request.config)
        if is_same:
            return explain_skip(request.run.study)
    return ""
