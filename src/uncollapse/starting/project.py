"""The command `init`: a project of the user's own, with a head, data, a model, an experiment.

    uncollapse init DIR

Everything in it runs as it is. Nothing that exists is overwritten.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from uncollapse.arguments import Parser, describe_unwritable, run_or_refuse
from uncollapse.errors import InputError
from uncollapse.starting.remedy import Place, check_name, copy_templates

FILES = Path(__file__).parent / "project_files"
PLACEHOLDER = "PACKAGE"  # in those files: the name of the user's package
FIRST_HEAD = "first"
OWN_CODE = "package_"  # begins the names of the files of the user's package
RENAMED = {
    "gitignore": ".gitignore",  # a name that packaging tools would leave out
    "package_init.py": "__init__.py",
    "package_metrics.py": "metrics.py",
}
OWN_FOLDERS = ("conf", "data", "results", "tests")
SENTENCES = 300  # of each split of the example data


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0, or 2 and one sentence."""
    parser = Parser(
        prog="uncollapse init",
        description="Start a project of your own: a head, data, a model, an experiment, tests.",
    )
    parser.add_argument("folder", type=Path, help="a new or empty folder; its name is the package")
    args = parser.parse_args(argv)
    return run_or_refuse(lambda: announce_project(args.folder), describe_unwritable)


def announce_project(folder: Path) -> None:
    """Start a project, and print what to try."""
    package = start_project(folder)
    print(
        f"""wrote a project into {folder}, with the package {package}

Try it:
    cd {folder}
    uncollapse train head={FIRST_HEAD}
    uncollapse train experiment={FIRST_HEAD} && uncollapse report results/{FIRST_HEAD}
    make test"""
    )


def start_project(folder: Path) -> str:
    """Write the files of a project; the name of its package.

    InputError for a name that no package can have, and for a folder that is not empty.
    """
    package = folder.resolve().name.lower().replace("-", "_")
    check_name(package, "a package")
    if package in OWN_FOLDERS:
        raise InputError(f"{package}: a project has a folder of this name; choose another")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: not an empty folder; nothing was written")
    # Python would import the installed package in its place
    if (spec := find_spec(package)) and spec.origin:
        raise InputError(f"{package}: a Python package has this name already; choose another")
    place = Place(folder, Path(package), package, checkout=False)
    files = {**read_project_files(package), **copy_templates(FIRST_HEAD, "posterior", place)}
    place.write({**files, **write_sentences()})
    return package


def read_project_files(package: str) -> dict[Path, str]:
    """The fixed files of a project, by path."""
    found = {}
    for path in sorted(FILES.rglob("*")):
        name = path.relative_to(FILES)
        if path.is_file() and "__pycache__" not in name.parts:
            target = Path(package) / name if name.name.startswith(OWN_CODE) else name
            text = path.read_text(encoding="utf-8").replace(PLACEHOLDER, package)
            found[target.with_name(RENAMED.get(target.name, target.name))] = text
    return found


def write_sentences() -> dict[Path, str]:
    """Example data: sentences of the built-in grammar, in three files."""
    from uncollapse.data import SPLITS
    from uncollapse.data.english import english

    drawn = [english().sample(SENTENCES, seed) for seed in range(len(SPLITS))]
    lines = [english().text(sample.tokens, sample.offsets) for sample in drawn]
    return {
        Path("data") / f"{split}.txt": "".join(f"{line}\n" for line in sentences)
        for split, sentences in zip(SPLITS, lines, strict=True)
    }
