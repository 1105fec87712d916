"""Run folders with one damaged file: one sentence from every command, other runs unaffected.

Each case damages one file of a finished or an unfinished run, then trains, evaluates and reads the
study. Weights, checkpoints and evaluation results have a digest; in other files a flipped bit may
change one number into another.
"""

import builtins
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
from conftest import composed, one_in

from uncollapse.contract.runs import CIRCUMSTANCES
from uncollapse.errors import InputError
from uncollapse.evaluation.command import main as evaluate
from uncollapse.run import run as train
from uncollapse.runs.reading import Saved
from uncollapse.runs.rows import parse_rows
from uncollapse.runs.study import read_runs

SIZES = [
    "study=s",
    "threads=1",
    "data.train=48",
    "data.valid=16",
    "data.test=16",
    "data.batch_size=16",
]
SIZES += ["trainer.epochs=3"]
TEXT = [*SIZES, "model.embedding=1", "model.hidden=1", "model.latent=2"]
LINEAR = [*SIZES, "data=gaussian", "model=linear"]
WORDS = {
    "finished": [*TEXT, "seed=0"],
    "unfinished": [*LINEAR, "seed=1"],
    "neighbour": [*LINEAR, "seed=2"],
}
ASKED = ["--metrics", "nll,statistics", "--samples", "3", "--examples", "6", "--workers", "1"]
NLL, STATISTICS = "test-nll-K3-N6", "test-statistics-N6"


# ---------------- the study and the commands


class Stop(BaseException):
    """Stands for a kill of the process."""


def config(which: str, results: Path) -> Any:
    cfg = CONFIGS[which].copy()
    cfg.results = str(results)
    return cfg


CONFIGS: dict[str, Any] = {}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A study of three runs, and its copy `full`, in which the unfinished run was completed."""
    from uncollapse.procedures.joint import Joint

    results = tmp_path_factory.mktemp("damaged")
    CONFIGS.update({which: composed("head=plain", *words) for which, words in WORDS.items()})
    for which in ("finished", "neighbour"):
        train(config(which, results), "plain", WORDS[which])
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Stop):
        honest, steps = Joint.step, iter(range(1000))

        def cut(*args: Any) -> Any:
            if next(steps) == 7:  # in the third epoch
                raise Stop
            return honest(*args)

        patch.setattr(Joint, "step", cut)
        train(config("unfinished", results), "plain", WORDS["unfinished"])
    finished, unfinished = (run_folder(results, which) for which in ("finished", "unfinished"))
    shutil.copy(finished / "summary.json", results / "trained.json")
    assert evaluate([str(finished), *ASKED]) == 0
    (finished / "evaluations" / "unlabelled").touch()
    (finished / "samples").mkdir()
    (finished / "samples" / "prior.txt").write_text("\tdrawn\tmost likely\n1\ta b\tc\n")
    (unfinished / "failed").write_text("Traceback\nValueError: odd\n")
    for run in (finished, unfinished):
        (run / "wandb_id").write_text("0123456789abcdef")
    shutil.copytree(results, results / "full")
    train(config("unfinished", results / "full"), "plain", WORDS["unfinished"])
    assert evaluate([str(results / "full" / "s"), *ASKED]) == 0
    yield results
    CONFIGS.clear()


def run_folder(results: Path, which: str) -> Path:
    seed = WORDS[which][-1]
    (found,) = (results / "s" / "runs" / "plain").glob(f"*/{seed}")
    return found


@pytest.fixture
def results(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made / "s", tmp_path / "results" / "s", symlinks=True)
    return tmp_path / "results"


def snapshot_tree(path: Path) -> dict[str, bytes | str]:
    """The content of a folder, without following links.

    For a file its bytes, for anything else its kind.
    """
    found: dict[str, bytes | str] = {}
    for place, folders, files in os.walk(path):
        for name in (*folders, *files):
            one = Path(place) / name
            plain = one.is_file() and not one.is_symlink()
            found[str(one.relative_to(path))] = bytes_of(one) if plain else str(one.lstat().st_mode)
    return found


def bytes_of(path: Path) -> bytes:
    """Bytes of a file, also when the code under test may not open it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        return os.read(handle, 2**24)
    finally:
        os.close(handle)


def drop_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: drop_times(item) for key, item in value.items() if key not in CIRCUMSTANCES}
    return [drop_times(item) for item in value] if isinstance(value, list) else value


def rows(path: Path) -> list[dict]:
    return drop_times(parse_rows((path / "metrics.jsonl").read_bytes()).rows)


def is_one_sentence(text: str, about: Path | str) -> bool:
    return text.count("\n") == 0 and str(about) in text and len(text) < 1500


class Outcome:
    """Train, evaluate and read a study with a damaged run; check what holds for any damage."""

    def __init__(self, results: Path, which: str, capsys: pytest.CaptureFixture):
        self.folder, others = (
            run_folder(results, which),
            [run_folder(results, other) for other in WORDS if other != which],
        )
        before = snapshot_tree(self.folder)
        kept = [(other, snapshot_tree(other)) for other in others]
        outside = snapshot_tree(results.parent / "outside")
        capsys.readouterr()

        self.train(results, which)
        self.printed = capsys.readouterr().out
        assert all(snapshot_tree(other) == old for other, old in kept)
        self.evaluate(results, capsys)
        self.read(results)

        # nothing is lost, and nothing outside is touched
        assert snapshot_tree(results.parent / "outside") == outside
        after = snapshot_tree(self.folder)
        self.gone = {name for name, content in before.items() if content not in after.values()}
        assert not [name for name in after if name.endswith(".new")]

    def train(self, results: Path, which: str) -> None:
        """Run the same command again: it ends well, or is refused in one sentence."""
        try:
            self.trained = train(config(which, results), "plain", WORDS[which])
        except InputError as error:
            self.trained = str(error)
            assert is_one_sentence(self.trained, self.folder), error

    def evaluate(self, results: Path, capsys: pytest.CaptureFixture) -> None:
        """Evaluate the study, then the run."""
        code = evaluate([str(results / "s"), *ASKED])
        output = capsys.readouterr()
        lines = output.err.splitlines()
        assert code in (0, 2) and bool(lines) == (code == 2) and len(lines) <= 2, output.err
        assert (run_folder(results, "neighbour") / "evaluations" / f"{NLL}.json").is_file()
        self.code = evaluate([str(self.folder), *ASKED])
        self.error = capsys.readouterr().err
        assert self.code in (0, 2) and is_one_sentence(self.error.rstrip("\n"), self.folder) == (
            self.code == 2
        )

    def read(self, results: Path) -> None:
        """Read the study, as a report does."""
        self.notes: list[str] = []
        found = {
            saved.run.folder: saved for saved in read_runs(results / "s", self.notes) if saved.run
        }
        assert run_folder(results, "neighbour") in found
        self.saved: Saved | None = found.get(self.folder)
        if self.saved is None:
            name = self.folder.relative_to(results / "s").as_posix()
            assert len(self.notes) == 1 and is_one_sentence(self.notes[0], name)
        else:
            self.notes += self.saved.notes
            self.saved.views()
        assert all("\n" not in note for note in self.notes)

    @property
    def refused(self) -> bool:
        return self.trained not in ("done", "skipped") or self.code == 2

    @property
    def said(self) -> str:
        return "\n".join([self.trained, self.error, self.printed, *self.notes])


def assert_undisturbed(made: Path, results: Path, which: str) -> None:
    """The run has come to its undisturbed end."""
    here, there = run_folder(results, which), run_folder(made / "full", which)
    assert rows(here) == rows(there)
    old, new = (
        drop_times(json.loads((path / "summary.json").read_bytes())) for path in (there, here)
    )
    assert new == old
    one, other = (safetensors.torch.load_file(path / "model.safetensors") for path in (here, there))
    assert one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


# ---------------------------------------------------------------- kinds of damage


def cut(share: float) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))] if share >= 0 else content[:-1])

    return damage


def truncate_at_line(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: len(lines) // 2]))


def flip_bit(share: float, bit: int = 2) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        content = bytearray(path.read_bytes())
        if content:
            content[int(share * (len(content) - 1))] ^= 1 << bit
        path.write_bytes(content)

    return damage


def replace_with_binary(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 3] + b"\xff\xfe\x00" + content[len(content) // 3 :])


def replace_with_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "inside").write_text("kept")


def replace_with_link(target: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.unlink()
        path.symlink_to(target.format(name=path.name))

    return damage


def replace_with_outside_link(path: Path) -> None:
    outside = next(parent for parent in path.parents if parent.name == "results").parent / "outside"
    outside.mkdir()
    path.rename(outside / path.name)
    path.symlink_to(outside / path.name)


def replace_with_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


KINDS: dict[str, Callable[[Path], None]] = {
    "empty": cut(0),
    "cut early": cut(0.1),
    "cut in the middle": cut(0.55),
    "cut at the end": cut(-1),
    "cut at a line": truncate_at_line,
    "no text": replace_with_binary,
    "missing": Path.unlink,
    "a folder": replace_with_folder,
    "a link out": replace_with_outside_link,
    "a dangling link": replace_with_link("nothing"),
    "a circle of links": replace_with_link("{name}"),
    "a pipe": replace_with_pipe,
    "a newer file": lambda path: path.write_bytes(b'{"schema": 99, "step": 1}\n'),
    "unreadable": lambda path: None,
    **{f"flipped at {share:.0%}": flip_bit(share) for share in (0.03, 0.35, 0.8)},
}
FILES = {
    "finished": [
        "config.yaml", "data.json", "vocabulary.txt", "metrics.jsonl", "summary.json",
        "model.safetensors", "state.pt", "done",
        f"evaluations/{NLL}.json", f"evaluations/{NLL}.jsonl", f"evaluations/{STATISTICS}.json",
        "evaluations/unlabelled",
        "samples/prior.txt", "wandb_id",
    ],
    "unfinished": ["config.yaml", "data.json", "metrics.jsonl", "model.safetensors", "state.pt",
    "failed", "wandb_id"],
}  # fmt: skip
# files whose contents hardly matter
FEW = (
    "done",
    "evaluations/unlabelled",
    "wandb_id",
    "failed",
)
CASES = [
    (which, name, kind)
    for which, names in FILES.items()
    for name in names
    for kind in KINDS
    if name not in FEW or kind.startswith(("a ", "unr", "miss", "no"))
]
# no digest detects a changed digit in a text file, and the text may stay valid
HARMLESS = (
    "cut at the end",
    *(kind for kind in KINDS if kind.startswith("flipped")),
)
NO_DIGEST = ("config.yaml", "data.json", "metrics.jsonl", "summary.json")


def deny_reading(patch: pytest.MonkeyPatch, path: Path) -> None:
    """Make opening a file fail, since permissions would not stop root."""

    def refusing(honest: Any) -> Any:
        def opening(file: Any, *words: Any, **more: Any) -> Any:
            if isinstance(file, str | os.PathLike) and os.fspath(file) == str(path):
                raise PermissionError(13, "Permission denied", str(path))
            return honest(file, *words, **more)

        return opening

    patch.setattr(io, "open", refusing(io.open))
    patch.setattr(builtins, "open", refusing(builtins.open))
    patch.setattr(safetensors.torch, "load_file", refusing(safetensors.torch.load_file))


@pytest.mark.parametrize(("which", "name", "kind"), one_in(4, CASES))
def test_damaged_file_gives_one_sentence_or_is_harmless(
    which: str, name: str, kind: str, made: Path, results: Path, capsys: pytest.CaptureFixture
) -> None:
    path = run_folder(results, which) / name
    KINDS[kind](path)
    damaged = None if kind == "missing" else snapshot_tree(path.parent)[path.name]
    with pytest.MonkeyPatch.context() as patch:
        if kind == "unreadable":
            deny_reading(patch, path)
        outcome = Outcome(results, which, capsys)
    assert name != "config.yaml" or outcome.refused or kind in HARMLESS
    if outcome.refused:
        assert damaged is None or damaged in snapshot_tree(path.parent).values()
    elif (which, name) == ("finished", "metrics.jsonl"):  # training and evaluation only read it
        assert outcome.notes or kind in HARMLESS
    elif (which, name) == ("finished", "model.safetensors"):
        # not read, since every evaluation exists already
        assert damaged is None or damaged == snapshot_tree(path.parent)[path.name]
    elif "cannot be found" not in outcome.printed and not (
        kind.startswith("flipped") and name in NO_DIGEST
    ):
        assert_undisturbed(made, results, which)


# ---------------------------------------------------------------- bits of weights and checkpoints


FLIPS = [
    (which, name, share / 20, bit)
    for which, name in (
        ("finished", "model.safetensors"),
        ("unfinished", "model.safetensors"),
        ("unfinished", "state.pt"),
    )
    for share in range(0, 20, 2)
    for bit in (share // 2 % 8,)
]


@pytest.mark.parametrize(("which", "name", "share", "bit"), one_in(3, FLIPS))
def test_flipped_bit_is_refused_or_harmless(
    which: str,
    name: str,
    share: float,
    bit: int,
    made: Path,
    results: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    path = run_folder(results, which) / name
    flip_bit(share, bit)(path)
    if which == "finished":
        # without evaluations, the command has to read the model weights
        shutil.rmtree(path.parent / "evaluations")
        shutil.copy(made / "trained.json", path.parent / "summary.json")
    outcome = Outcome(results, which, capsys)
    if not outcome.refused:
        assert_undisturbed(made, results, which)
    else:
        assert name in outcome.said


# ---------------------------------------------------------------- odd values


DEEP = "[" * 100_000
HUGE = 10**400
ODD_CONFIG = {
    "model": [5, None, [], "x"],
    "seed": [float("inf"), [1], -1, HUGE, "one", True, 1.5],
    "head": [None, {}, [], ""],
    "data": [5, {"_target_": "os.system"}],
    "trainer": [5, {"epochs": "many"}],
    "objective": [5, {"_target_": 7}],
    "overrides": [5],
    "label": [[1], {"a": 1}],
    "threads": [{}],
}
ODD_SUMMARY = {
    "schema": [99, "x", [1], True],
    "kl": [[1], HUGE, "x", {}],
    "train_mode": [5, [1]],
    "best": [None, 7],
    "last": [[]],
    "evaluations": [5, [1], {NLL: 7}],
    "versions": [3],
    "identity": [[], "other"],
    "unfinished": [5],
}
ODD_ROW = {
    "step": [None, "3", -1, 1.5, HUGE, True, [1]],
    "split": [None, [], "dev"],
    "mode": [7, {}],
    "kl_per_dim": [5, "x", [[1]], [HUGE], {}],
}
ODD = [
    *(("config.yaml", key, value) for key, values in ODD_CONFIG.items() for value in values),
    *(("summary.json", key, value) for key, values in ODD_SUMMARY.items() for value in values),
    *(("metrics.jsonl", key, value) for key, values in ODD_ROW.items() for value in values),
    *(
        ("data.json", key, value)
        for key, value in (("test", [1]), ("test", HUGE), ("oracle_nll", 5), ("content", {}))
    ),
    *((f"evaluations/{NLL}.json", "nll", value) for value in ([1], "x", {})),
]


def shorten(value: Any) -> str:
    return str(value)[:20]


@pytest.mark.parametrize(
    ("which", "name", "key", "value"),
    one_in(4, [(w, *odd) for w, names in FILES.items() for odd in ODD if odd[0] in names]),
    ids=shorten,
)
def test_odd_value_gives_one_sentence_or_counts_as_missing(
    which: str, name: str, key: str, value: Any, results: Path, capsys: pytest.CaptureFixture
) -> None:
    import yaml

    path = run_folder(results, which) / name
    if name == "config.yaml":
        content = yaml.safe_load(path.read_text())
        path.write_text(yaml.safe_dump({**content, key: value}))
    elif name == "metrics.jsonl":
        lines = path.read_text().splitlines(keepends=True)
        odd = json.dumps({**json.loads(lines[2]), key: value})
        path.write_text("".join([*lines[:2], odd + "\n", *lines[3:]]))
    else:
        path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    damaged = path.read_bytes()
    outcome = Outcome(results, which, capsys)
    if name == "metrics.jsonl":
        assert (
            outcome.notes
            or "1 row of metrics.jsonl up to step" in outcome.printed
            or value == [HUGE]
        )
    assert damaged in snapshot_tree(path.parent).values() or not outcome.refused


TEXT_CASES = [
    (which, name)
    for which, names in FILES.items()
    for name in names
    if name.endswith((".yaml", ".json", ".jsonl"))
]
TEXTS = {
    "deep": DEEP,
    "huge": "1" + "0" * 5000,
    "a number": "5",
    "a list": "[1, 2]",
    "null": "null",
    "not a number": "NaN",
    "aliases": "a: &a [1, 2]\n"
    + "".join(
        f"b{i}: &b{i} [*{'a' if i == 0 else f'b{i - 1}'}, {'*a, ' * 9}1]\n" for i in range(9)
    ),
    "a key twice": "head: plain\nseed: 0\nseed: 1\n",
    "a tag": "head: !!python/object:os.system x\nseed: 0\n",
    "a reference": "head: ${oc.env:HOME}\nseed: 0\n",
}


@pytest.mark.parametrize(
    ("which", "name", "text"),
    one_in(3, [(w, n, text) for w, n in TEXT_CASES for text in TEXTS]),
)
def test_odd_text_gives_one_sentence_or_is_harmless(
    which: str, name: str, text: str, made: Path, results: Path, capsys: pytest.CaptureFixture
) -> None:
    path = run_folder(results, which) / name
    path.write_text(TEXTS[text])
    outcome = Outcome(results, which, capsys)
    if outcome.refused:
        assert TEXTS[text].encode() in snapshot_tree(path.parent).values()
    elif (which, name) == ("finished", "metrics.jsonl"):
        assert outcome.notes
    elif "cannot be found" not in outcome.printed:
        assert_undisturbed(made, results, which)


# ---------------------------------------------------------------- folders in a run


FOLDERS = [
    (name, kind)
    for name in ("evaluations", "samples")
    for kind in ("a file", "a link out", "a circle of links", "a pipe")
]


@pytest.mark.parametrize(("name", "kind"), FOLDERS)
def test_invalid_subfolder_gives_one_sentence(
    name: str, kind: str, results: Path, capsys: pytest.CaptureFixture
) -> None:
    path = run_folder(results, "finished") / name
    if kind == "a link out":
        replace_with_outside_link(path)
    else:
        shutil.rmtree(path)
        path.touch()
        (KINDS[kind] if kind != "a file" else Path.touch)(path)
    outcome = Outcome(results, "finished", capsys)
    assert name == "samples" or outcome.refused
    assert outcome.saved is not None and bool(outcome.saved.views()) == (name != "samples")
