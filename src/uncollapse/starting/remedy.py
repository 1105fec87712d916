"""The command `new`: the skeleton of a new remedy, which passes every check without changes.

    uncollapse new NAME --slot posterior|objective|objective_module|procedure|decoder

It copies a class with one knob, its head file and its tests from the templates, and renames them.
In a checkout they become part of this package, in a project of `uncollapse init` part of the
user's. An existing file is never overwritten.
"""

import keyword
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from uncollapse.arguments import Parser, describe_unwritable, run_or_refuse
from uncollapse.config import package_options
from uncollapse.disk import write_together
from uncollapse.errors import InputError
from uncollapse.plugins import PROJECT, read_project_plugins

TEMPLATES = Path(__file__).parent / "templates"
TEMPLATE_PACKAGE = "uncollapse.starting.templates"
SLOT_FOLDERS = {  # slot -> where its classes are, below src/uncollapse
    "posterior": "posteriors",
    "objective": "objectives",
    "objective_module": "objectives",  # an objective with state or weights of its own
    "procedure": "procedures",
    "decoder": "decoders",
}


@dataclass(frozen=True)
class Place:
    """Where the files of a remedy go, relative to `root`."""

    root: Path
    folder: Path  # of the class
    package: str  # which imports it
    checkout: bool  # of this package

    def write(self, files: Mapping[Path, str]) -> None:
        """Write files at paths below the root. InputError, with nothing written, if one exists."""
        for path in files:
            if (self.root / path).exists():
                raise InputError(f"{path} exists; nothing was written")
        for path in files:
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        write_together({self.root / path: text.encode() for path, text in files.items()})


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0, or 2 and one sentence."""
    parser = Parser(
        prog="uncollapse new",
        description="Write the skeleton of a new remedy: class, head file and tests.",
    )
    parser.add_argument("name", help="of the head and of its files, such as my_remedy")
    parser.add_argument(
        "--slot", required=True, choices=SLOT_FOLDERS, help="what the remedy changes"
    )
    args = parser.parse_args(argv)
    return run_or_refuse(lambda: write_remedy(args.name, args.slot), describe_unwritable)


def write_remedy(name: str, slot: str) -> None:
    """Write the files of a remedy, and print what to do next."""
    place = find_place(Path.cwd(), slot)
    if not place.checkout and name in package_options("head"):
        raise InputError(f"{name}: uncollapse has a head of this name; choose another")
    files = copy_templates(name, slot, place)
    place.write(files)
    print(describe_next_steps(name, place, files), end="")


def find_place(root: Path, slot: str) -> Place:
    """Where a folder keeps remedies of a slot: a checkout, or a project of the user's own.

    InputError if it is neither.
    """
    own = Path("src/uncollapse") / SLOT_FOLDERS[slot]
    if (root / own).is_dir():
        return Place(root, own, f"uncollapse.{SLOT_FOLDERS[slot]}", checkout=True)
    for name in read_project_plugins(root):
        for folder in (Path(name), Path("src") / name):
            if (root / folder).is_dir():
                return Place(root, folder, name, checkout=False)
    raise InputError(
        f"{root}: no {PROJECT} that names a package in it; `uncollapse init DIR` starts a project"
    )


def copy_templates(name: str, slot: str, place: Place) -> dict[Path, str]:
    """The three new files: path below the root -> text. InputError for an unusable name."""
    check_name(name)
    template = f"my_{slot}"
    sources = {
        place.folder / f"{name}.py": TEMPLATES / f"{template}.py",
        Path(f"conf/head/{name}.yaml"): TEMPLATES / f"{template}.yaml",
        Path(f"tests/test_{name}.py"): TEMPLATES / f"test_{template}.py",
    }
    texts = {path: source.read_text() for path, source in sources.items()}
    names = {
        f"{TEMPLATE_PACKAGE}.{template}": f"{place.package}.{name}",
        template: name,
        class_name(template): class_name(name),
        template.replace("_", " "): name.replace("_", " "),
    }
    # a class of the template's imports, such as Tensor, would be shadowed by the new one
    taken = {word for text in texts.values() for word in re.findall(r"\w+", text)}
    if class_name(name) in taken - {class_name(template)}:
        raise InputError(
            f"{name}: its class would be {class_name(name)}, a name that its file already uses; "
            "choose another name"
        )
    return {path: sort_imports(replace_words(text, names)) for path, text in texts.items()}


def check_name(name: str, what: str = "a remedy") -> None:
    """InputError unless files, a class and a head, or a package, can have this name."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        raise InputError(
            f"{name}: not a name for {what}; allowed are lower-case letters, digits and single "
            "underscores, starting with a letter, and no Python keyword"
        )


def class_name(name: str) -> str:
    """my_remedy -> MyRemedy"""
    return "".join(word.capitalize() for word in name.split("_"))


def replace_words(text: str, words: Mapping[str, str]) -> str:
    """All replacements in one pass, so that none applies to the result of another."""
    pattern = "|".join(map(re.escape, words))
    return re.sub(pattern, lambda match: words[match[0]], text)


def sort_imports(text: str) -> str:
    """Sort the imports from this package as ruff does: the order depends on the new name."""
    block = re.compile(r"(?:^from uncollapse\S* import .*\n)+", re.MULTILINE)
    return block.sub(lambda match: "".join(sorted(match[0].splitlines(keepends=True))), text)


def describe_next_steps(name: str, place: Place, files: Mapping[Path, str]) -> str:
    """The text that is printed once the three files are written."""
    code, head, test = files
    command = "python train.py" if place.checkout else "uncollapse train"
    contract = "tests/test_contract.py tests/test_config.py -k " if place.checkout else ""
    others = f"{contract}{name}" if place.checkout else "tests/test_heads.py"
    written = f"""wrote {code}
      {head}
      {test}

The new head can be trained:
    {command} head={name} data.train=3000 trainer.epochs=2
and passes its own tests and those of every head:
    python -m pytest {test} {others}

Next (details in docs/add_a_remedy.md)
1. put your remedy in place of the formula, in {code} and {test}
2. replace FILL IN (paper, section, equation) and, after a run, MEASURE in {head}
"""
    if not place.checkout:
        return written
    return f"""{written}3. make lint types test

To make it a head of this package, run make docs, which adds it to docs/remedies.md.
"""
