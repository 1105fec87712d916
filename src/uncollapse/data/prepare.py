"""Makes the files of a text set from the hub or by a recipe, or checks files put there by hand.

    uncollapse prepare snli --out FOLDER

How the files of a set are made is among its facts (data/facts.py).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from uncollapse.config import read_option
from uncollapse.config.sections import load_section
from uncollapse.data.block_passes import Passes, show_block_progress
from uncollapse.data.blocks import BLOCK_BYTES, Block, Source
from uncollapse.data.dialogue import DialogueConfig
from uncollapse.data.dialogue_files import read_hub
from uncollapse.data.facts import SetFacts, read_facts
from uncollapse.data.files import TextConfig
from uncollapse.data.hub import open_hub_splits
from uncollapse.data.set_folder import Files, SetFolder
from uncollapse.data.sets import main as main
from uncollapse.data.text import SPLITS
from uncollapse.data.words import split_words
from uncollapse.device import count_available_cores
from uncollapse.errors import InputError, expand_home
from uncollapse.json_types import JsonObject

PACKAGE = "uncollapse.data."  # recipes are functions of its modules


def prepare_set(
    name: str, out: Path, overrides: Sequence[str] = (), licensed: bool = False
) -> None:
    """Make or check the files of a set in `out`.

    InputError for files that cannot be obtained, that differ from the facts, or that would replace
    other files.
    """
    facts = read_facts(name)
    if facts.form not in FORMS_OF_SETS:
        raise InputError(f"{name}: `train` reads {facts.form} as they are; nothing to prepare")
    form, cfg = FORMS_OF_SETS[facts.form], read_set_config(name, overrides)
    if not issubclass(type(cfg), form.schema):
        raise InputError(
            f"{name}: form={facts.form} among its facts needs a {form.schema.__name__}"
        )
    cfg.check()
    print(f"{name}: licence: {facts.licence}", flush=True)
    if facts.made == "recipe":
        source = {"recipe": facts.recipe.get("source"), "seed": facts.recipe.get("seed")}
        folder = SetFolder(out, source, labels=False)
        folder.make(form.names, lambda: draw_files(facts), facts)
    elif facts.made == "hand" or (
        facts.licence_first and not licensed and not expand_home(str(cfg.hub)).is_dir()
    ):
        SetFolder(out, {"by": "hand"}, form.labelled(cfg)).check(name, facts)
    elif cfg.hub is None:
        raise InputError(f"{name}: its files come from the hub, and data.hub is null")
    else:
        own = read_set_config(name, ())
        # the expected numbers of rows are those of the set that the YAML file names
        rows = facts.rows if form.identity(cfg) == form.identity(own) else {}
        source, labels = form.describe(cfg)
        folder = SetFolder(out, source, labels)
        folder.make(form.names, lambda: form.fetch(cfg, rows), facts)
    model = f" model={facts.model}" if facts.model else ""
    print(f"next: uncollapse train data={name} data.dir={out}{model}", flush=True)


def read_set_config(name: str, overrides: Sequence[str]) -> TextConfig | DialogueConfig:
    """conf/data/<name>.yaml with the overrides. InputError for a key that it does not have."""
    from omegaconf import OmegaConf

    node: Any = OmegaConf.create(read_option("data", name))
    for word in overrides:
        key, sign, value = word.removeprefix("data.").partition("=")
        if not sign or not word.startswith("data.") or key not in node:
            keys = ", ".join(f"data.{key}" for key in node if key != "_target_")
            raise InputError(f"{word}: allowed are {keys}, each with =VALUE")
        node = OmegaConf.merge(node, OmegaConf.from_dotlist([f"{key}={value}"]))
    return load_section(node, "data")


def check_rows(hub: str | None, found: Mapping[str, int], expected: Mapping[str, int]) -> None:
    """InputError for a split that does not have the expected number of rows."""
    for split, rows in expected.items():
        if found[split] != rows:
            raise InputError(
                f"{hub}: its {split} split has {found[split]:,} rows where {rows:,} are expected; "
                "it has changed or is damaged"
            )


# ---------------------------------------------------------------- recipes


def draw_files(facts: SetFacts) -> Files:
    """The files of a recipe: `function(seed, sizes)` gives (split, word numbers [N, T])."""
    target = str(facts.recipe.get("function"))
    module, _, name = target.rpartition(".")
    if not module.startswith(PACKAGE):
        raise InputError(f"recipe={target}: allowed is a function of {PACKAGE}*")
    try:
        draw = vars(import_module(module))[name]
    except (ImportError, KeyError) as error:
        raise InputError(f"recipe={target}: no such function ({error})") from error
    for split, words in draw(facts.recipe["seed"], facts.lines):
        text = "".join(" ".join(map(str, row)) + "\n" for row in words.tolist())
        yield f"{split}.txt", iter([text.encode()])


# ---------------------------------------------------------------- lines


def describe_lines(cfg: TextConfig) -> tuple[JsonObject, bool]:
    """The manifest's entry on the source, and whether lines have labels."""
    source = {"hub": cfg.hub, "revision": cfg.revision, **cfg.choice()}
    return source, cfg.hub_label is not None


def fetch_lines(cfg: TextConfig, rows: Mapping[str, int]) -> Files:
    """The splits of a hub set as blocks of lines, once the set has the expected rows."""
    with open_hub_splits(cfg) as parts, ThreadPoolExecutor(count_available_cores()) as pool:
        check_rows(cfg.hub, {split: parts[split].table.num_rows for split in SPLITS}, rows)
        for split in SPLITS:
            yield f"{split}.txt", format_lines(parts[split], pool)


def format_lines(source: Source, pool: ThreadPoolExecutor) -> Iterator[bytes]:
    """Blocks of lines: words separated by one space, label and TAB before them.

    Sentences without words are left out.
    """
    with show_block_progress(source.size) as advance:
        passes = Passes(pool, 2 * count_available_cores(), BLOCK_BYTES, advance)
        yield from passes.over(source, format_block)


def format_block(block: Block) -> bytes:
    """The lines of one block, as `format_lines` yields them."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts, labels = block.columns()
    words, offsets = split_words(texts)
    space, tab = (pa.scalar(mark, pa.large_string()) for mark in " \t")
    lines = pc.binary_join(pa.LargeListArray.from_arrays(pa.array(offsets), words), space)
    kept = pc.not_equal(lines, "")
    if labels is not None:
        lines = pc.binary_join_element_wise(labels, lines, tab)
    found = lines.filter(kept).to_pylist()
    return "".join(line + "\n" for line in found).encode()


# ---------------------------------------------------------------- dialogues


def describe_dialogues(cfg: DialogueConfig) -> tuple[JsonObject, bool]:
    """As `describe_lines`. InputError for a size: sizes count responses, files hold dialogues."""
    for split, size in cfg.sizes.items():
        if size is not None:
            raise InputError(
                f"data.{split}_size={size}: dialogues are written complete; give it to `train`"
            )
    return {"hub": cfg.hub, "revision": cfg.revision}, True


def fetch_dialogues(cfg: DialogueConfig, rows: Mapping[str, int]) -> Files:
    """The splits of a hub set as lines of JSON, once the set has the expected rows."""
    parts = read_hub(cfg)
    check_rows(cfg.hub, {split: len(part.sizes) for split, part in parts.items()}, rows)
    for split, part in parts.items():
        yield f"{split}.jsonl", part.lines()


# ---------------------------------------------------------------- forms


@dataclass(frozen=True)
class Form:
    """A form of files: their names, and how they are made from the rows of a hub set."""

    schema: type
    names: tuple[str, ...]
    labelled: Callable[[Any], bool]  # whether files put there by hand have labels
    identity: Callable[[Any], tuple[str | None, ...]]  # names the hub set
    describe: Callable[[Any], tuple[JsonObject, bool]]
    fetch: Callable[[Any, Mapping[str, int]], Files]


FORMS_OF_SETS = {
    "lines": Form(
        TextConfig,
        tuple(f"{split}.txt" for split in SPLITS),
        lambda cfg: bool(cfg.labels),
        lambda cfg: (cfg.hub, cfg.subset),
        describe_lines,
        fetch_lines,
    ),
    "dialogues": Form(
        DialogueConfig,
        tuple(f"{split}.jsonl" for split in SPLITS),
        lambda cfg: False,
        lambda cfg: (cfg.hub,),
        describe_dialogues,
        fetch_dialogues,
    ),
}
