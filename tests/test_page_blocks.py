"""Every code block of the pages, as a reader would use it: in a new folder, at tiny sizes.

A page is followed from top to bottom. Blocks without a language are commands; a Python or YAML
block that begins with the name of a file is that file; other Python blocks are executed. Every
command is checked without running it: options, overrides, targets and extras exist. Not run are
set-up commands and what a comment above a block names:

    <!-- only checked: the reason -->                  the block
    <!-- only checked `experiment=compare`: hours -->  its lines with this text
"""

import argparse
import importlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import ROOT, SMALL, folder_of, run_here
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from uncollapse import config
from uncollapse.__main__ import COMMANDS
from uncollapse.command_words import check_command_words
from uncollapse.command_words.grammar import list_values, parse_word
from uncollapse.config.knobs import check_head
from uncollapse.config.shorthands import replace_shorthands
from uncollapse.evaluation.command import parse_settings
from uncollapse.plugins import read_project
from uncollapse.rate_search import replace_rate
from uncollapse.request import understand_request
from uncollapse.run import carry_out
from uncollapse.search_path import add_user_folders
from uncollapse.starting.project import start_project

PAGES = [
    str(path.relative_to(ROOT))
    for path in [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted(ROOT.glob("docs/*.md")),
        *sorted(ROOT.glob("results/**/README.md")),
    ]
]
# pages whose Python and YAML blocks another test executes, and how many it executes
ELSEWHERE = {
    "README.md": ("test_diagnosis.py", 2),
    "docs/add_a_metric.md": ("test_catalogue.py", 3),
    "docs/add_a_remedy.md": ("test_readme.py", 2),
    "docs/finished_runs.md": ("test_finished_run.py", 5),
}
# whose commands are only checked by default
SLOW = {"docs/add_a_remedy.md", "docs/evaluation.md", "docs/own_parts.md", "docs/train.md"}
IN_PROJECT = {"docs/add_a_remedy.md"}  # pages that write files into the reader's project

BLOCK = re.compile(
    r"(?:^<!-- only checked(?P<only>.*?) -->\n\n?)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
NAMED_FILE = re.compile(r"^# ([\w/]+\.(?:py|yaml))$", re.MULTILINE)
PLACEHOLDERS = {"<study>": "demo", "FROM...": "results/frontier"}
JOBS = 2  # of a sweep that are run
# added to commands that are run; of an option given twice, the last one counts
TINY = {"evaluate": ["--samples", "20", "--examples", "16", "--labels", "20,40"]}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; `only` is the comment above it, if there is one."""

    page: str
    language: str
    text: str
    only: str | None = None

    @property
    def commands(self) -> list[list[str]]:
        """The words of each command, without comments."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := self.split(line))]

    @property
    def file(self) -> str:
        """The file that the block is, named in its first or second line; '' if none."""
        found = NAMED_FILE.search("\n".join(self.text.splitlines()[:2]))
        return found[1] if found else ""

    def split(self, line: str) -> list[str]:
        for placeholder, value in PLACEHOLDERS.items():
            line = line.replace(placeholder, value)
        return shlex.split(line, comments=True)

    def is_run(self, words: list[str]) -> bool:
        """Whether a command is run, and not only checked."""
        if self.only is None:
            return not self.page.startswith("results/")  # studies take hours
        texts = re.findall("`(.*?)`", self.only)
        return bool(texts) and not any(text in " ".join(words) for text in texts)


def list_blocks(page: str) -> list[Block]:
    text = (ROOT / page).read_text()
    return [Block(page, m["language"], m["text"], m["only"]) for m in BLOCK.finditer(text)]


# ---- commands ------------------------------------------------------------------------------------


class Checked(Exception):
    """The words of a command have been parsed, and it is not to be run."""


def use_command(words: list[str], run: bool) -> None:
    """Run a command, or only check it."""
    program, *rest = words
    if program == "python" and re.fullmatch(r"\w+\.py", rest[0]) and rest[0] != "train.py":
        program, *rest = ["python", *rest[1:]]  # a script of the reader's that calls another
    if program == "python" and rest[0] == "-m":
        check_module(*rest[1:])
    elif program == "python":
        word = {"new_remedy": "new", "prepare_data": "prepare"}.get(Path(rest[0]).stem)
        assert (ROOT / rest[0]).is_file(), rest[0]
        use_word(word or Path(rest[0]).stem, rest[1:], run)
    elif program == "uncollapse":
        use_word(rest[0], rest[1:], run)
    elif program == "cd":
        os.chdir(rest[0])
        read_project()
    else:
        SET_UP[program](rest)


def check_make(words: list[str]) -> None:
    # the reader's own project has a Makefile, too
    texts = [file.read_text() for file in (ROOT / "Makefile", Path("Makefile")) if file.exists()]
    targets = re.findall(r"^([\w-]+):", "\n".join(texts), re.MULTILINE)
    assert {word for word in words if "=" not in word} <= set(targets)


def check_pip(words: list[str]) -> None:
    assert words[0] == "install"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for extras in re.findall(r"uncollapse\S*\[(.*)\]", " ".join(words)):
        assert set(extras.split(",")) <= project["optional-dependencies"].keys()


SET_UP: dict[str, Callable[[list[str]], None]] = {
    "make": check_make,
    "pip": check_pip,
    "source": lambda words: None,
    ".ci/run": lambda words: None,
}


def check_module(name: str, *words: str) -> None:
    """A module exists and, for pytest, so do the files of tests."""
    assert importlib.util.find_spec(name), name
    for word in words:
        if word.endswith(".py"):
            assert (ROOT / word).exists() or Path(word).exists(), word


def use_word(word: str, words: list[str], run: bool) -> None:
    """`uncollapse WORD WORDS`."""
    if word == "train":
        return train(words, run)
    module = importlib.import_module(COMMANDS[word][0])
    # later commands need what these write
    if run or word in ("init", "new"):
        assert module.main([*words, *TINY.get(word, [])]) == 0
        return None
    parser = argparse.ArgumentParser
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Checked):
        for method in ("parse_args", "parse_intermixed_args"):
            patch.setattr(parser, method, parse_only(word, getattr(parser, method)))
        module.main(words)
    return None


def parse_only(word: str, parse: Callable) -> Callable:
    """A method of a parser that parses words and ends the command there."""

    def parse_and_end(self: argparse.ArgumentParser, typed: list[str]) -> None:
        parsed = parse(self, typed)
        if word == "evaluate":
            parse_settings(parsed)
        raise Checked

    return parse_and_end


def train(words: list[str], run: bool) -> None:
    """Each job of `uncollapse train WORDS`, at tiny sizes, or a check of its config."""
    words = [re.sub(r"=interval\((.*?),.*\)$", r"=\1", word) for word in words]
    overrides = [word for word in check_command_words(words) if not word.startswith("-")]
    for job in list_jobs(overrides):
        head = check_head(next((word[5:] for word in job if word.startswith("head=")), "plain"))
        # `rate=` trains as long as it searches
        cfg, job = compose_job(job), [word for word in job if not word.startswith("hydra")]
        if run:
            cfg, job = shrink(cfg, job)
            cfg, job = replace_rate(cfg, head, job)
            assert carry_out(cfg, head, job).status in ("done", "skipped")
        else:
            cfg.rate = None
            job = [word for word in job if not word.startswith("rate=")]
            cfg, job = replace_shorthands(cfg, job, head)
            understand_request(cfg, head, job)


def list_jobs(overrides: list[str]) -> Iterator[list[str]]:
    """The first jobs of a sweep: first values of all lists, then second values."""
    typed = {word.partition("=")[0].lstrip("+") for word in overrides}
    params = {}
    if "experiment" in typed:
        first = [values_of(word)[0] for word in overrides]
        hydra = compose_job(first, with_hydra=True).hydra
        params = OmegaConf.select(hydra, "sweeper.params") or {}
    swept = [f"{key}={value}" for key, value in params.items() if key not in typed]
    lists = [values_of(word) for word in [*overrides, *swept]]
    for number in range(min(JOBS, max(map(len, lists), default=1))):
        yield [values[min(number, len(values) - 1)] for values in lists]


def values_of(word: str) -> list[str]:
    """A word for each value of a list."""
    key, _, value = word.partition("=")
    if value.startswith("glob("):
        return [f"{key}={name}" for name in config.options(key)]
    override = parse_word(word)
    if not override.is_sweep_override():
        return [word]
    return [f"{key}={value}" for value in list_values(override)]


def compose_job(overrides: list[str], with_hydra: bool = False) -> DictConfig:
    add_user_folders()
    kept = [word for word in overrides if not word.startswith("hydra")]
    with initialize_config_dir(str(config.CONF), version_base="1.3"):
        return compose("train", kept, return_hydra_config=with_hydra)


def shrink(cfg: DictConfig, job: list[str]) -> tuple[DictConfig, list[str]]:
    """A config and its words at the sizes of SMALL, where it has these sizes."""
    sizes = [word for word in SMALL if isinstance(OmegaConf.select(cfg, word.split("=")[0]), int)]
    keys = {word.split("=")[0] for word in sizes}
    job = [*(word for word in job if word.split("=")[0] not in keys), *sizes]
    return compose_job(job), job


# ---- pages ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results with two finished runs."""
    results = tmp_path_factory.mktemp("made")
    for head in ("plain", "bn_mu"):
        run_here(results, head, "trainer.keep=[last]")
    return results


@pytest.fixture
def prepared(outside: Path, made: Path) -> Path:
    """The files that pages name, in the current folder."""
    for study in ("scratch", "demo", "frontier"):
        for head in ("plain", "bn_mu"):
            place = Path("results", study, "runs", head, "default/seed=0")
            shutil.copytree(folder_of(made, head), place)
    words = ["we liked the soup .", "you met a friend", "the coach won", "she sang", "a", "b"]
    sentences = "".join(f"{' '.join(words[: 1 + i % 6])} {i}\n" for i in range(60))
    rng = np.random.default_rng(0)
    Path("FOLDER").mkdir()
    for split, file in (("train", "a"), ("valid", "b"), ("test", "c")):
        Path(f"{file}.txt").write_text(sentences)
        Path(f"FOLDER/{split}.txt").write_text(sentences)
        np.save(f"FOLDER/{split}.npy", rng.random((40, 6)))
        Path(f"FOLDER/{split}").mkdir()
        for number in range(20):
            pixels = rng.integers(0, 256, (6, 5), dtype=np.uint8)
            Image.fromarray(pixels).save(f"FOLDER/{split}/{number}.png")
    np.savez("mine.npz", x=rng.integers(0, 5, (80, 6)))
    rows = [json.dumps({"review": line}) for line in sentences.splitlines()]
    Path("mine.txt").write_text(sentences)
    Path("mine.jsonl").write_text("\n".join(rows))
    Path("reviews.txt").write_text("we liked the soup .\n")
    Path("reviews.csv").write_text("review,stars\nwe liked the soup .,5\n")
    return outside


def follow(page: str, run: bool) -> None:
    """Follow a page in the current folder."""
    names: dict = {}
    if page in IN_PROJECT:
        start_project(Path("mine"))
        use_command(["cd", "mine"], run)
    for block in list_blocks(page):
        if not block.language:
            for words in block.commands:
                use_command(words, run and block.is_run(words))
        elif block.file:
            Path(block.file).parent.mkdir(parents=True, exist_ok=True)
            Path(block.file).write_text(block.text)
        elif block.language == "python" and run and page not in ELSEWHERE and block.only is None:
            exec(compile(block.text, page, "exec"), names)
        elif block.language == "python" and page not in ELSEWHERE:
            compile(block.text, page, "exec")
        if block.language == "yaml":
            assert isinstance(yaml.safe_load(block.text), dict)


@pytest.mark.parametrize(
    "page",
    [pytest.param(p, marks=[pytest.mark.slow] if p in SLOW else []) for p in PAGES],
)
def test_blocks_of_page_run(page: str, prepared: Path, no_figures: None) -> None:
    follow(page, run=True)


@pytest.mark.parametrize("page", sorted(SLOW))
def test_commands_of_slow_page_are_understood(page: str, prepared: Path) -> None:
    follow(page, run=False)


def test_every_block_has_a_known_language_and_is_executed() -> None:
    for page in PAGES:
        blocks = list_blocks(page)
        assert {block.language for block in blocks} <= {"", "python", "yaml", "text"}, page
        # each fence opens or closes a block that was found
        fences = re.findall(r"^```", (ROOT / page).read_text(), re.MULTILINE)
        assert len(fences) == 2 * len(blocks), page
        if page in ELSEWHERE:
            test, count = ELSEWHERE[page]
            assert page.removeprefix("docs/") in (ROOT / "tests" / test).read_text()
            assert sum(block.language in ("python", "yaml") for block in blocks) == count, page


# ---- this checker finds faults -------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "python train.py head=bn_taus",
        "python train.py head=bn_tau gamma=3",
        "python train.py -m head=plain,bn_mu,bn_mus",
        "python scripts/evaluate.py results/demo --sample-count 3",
        "python scripts/evaluate.py results/demo --metrics nill",
        "python scripts/nothing.py",
        "uncollapse repot results/demo",
        "make everything",
        "pip install 'uncollapse[nothing]'",
        "python -m pytest tests/test_nothing.py",
        "wget http",
    ],
)
def test_faulty_command_is_found(line: str, prepared: Path) -> None:
    (words,) = Block("docs/x.md", "", line).commands
    with pytest.raises((Exception, SystemExit)) as error:
        use_command(words, run=False)
    assert not isinstance(error.value, Checked)
