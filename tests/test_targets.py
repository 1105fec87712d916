"""Targets in a config: only classes of their slot are built, whoever wrote the config."""

import shutil
from pathlib import Path

import pytest
import yaml
from conftest import composed, folder_of, run_here

from uncollapse.config import SLOTS, heads
from uncollapse.config.sections import load_section
from uncollapse.config.targets import CLASS_PLACES, build, find_targets, locate_class
from uncollapse.errors import InputError
from uncollapse.evaluation.command import main as evaluate
from uncollapse.evaluation.opened import open_run, read_stored_config
from uncollapse.posteriors import gaussian
from uncollapse.runs.layout import Run

GAUSSIAN, ELBO = "uncollapse.posteriors.gaussian.Gaussian", "uncollapse.objectives.elbo.ELBO"
LINEAR, PLAIN = "uncollapse.training.schedules.Linear", "uncollapse.decoders.plain.Plain"
OPTIONS, JOINT = "uncollapse.decoders.Options", "uncollapse.procedures.joint.Joint"
PWNED = "PWNED"  # the file that each of these attacks would write in the working directory
WRITE = {
    "_target_": "uncollapse.disk.write_atomic",
    "path": {"_target_": "uncollapse.disk.Path", "_args_": [PWNED]},
    "data": "hello",
}
TOUCH = {
    "_target_": "uncollapse.disk.Path.touch",
    "_args_": [{"_target_": "pathlib.Path", "_args_": [PWNED]}],
}
RUN = {"_target_": "os.system", "command": f"touch {PWNED}"}


def options(**output: object) -> dict:
    return {"decoder": {"_target_": OPTIONS, "word_dropout": 0.0, "output": output}}


def weight(node: object) -> dict:
    return {"objective": {"_target_": ELBO, "weight": node}}


EXPLOITS: dict[str, dict] = {
    "the issue's": {"decoder": WRITE},
    **{f"a function in {slot}": {slot: WRITE} for slot in ("posterior", "objective", "procedure")},
    "a nested function": weight(WRITE),
    "a function in a list": {"objective": {"_target_": ELBO, "weight": [1.0, [WRITE]]}},
    "a function in a mapping": weight({"a": {"b": WRITE}}),
    "a method": {"procedure": TOUCH},
    "another program": {"posterior": RUN},
    "another program, nested": weight({"_target_": LINEAR, "epochs": RUN}),
    "an imported class": {
        "posterior": {"_target_": "uncollapse.posteriors.bn_mu.Moments", "dim": 4}
    },
    "an imported name": {"procedure": {"_target_": "uncollapse.procedures.joint.Training"}},
    "a function of the slot's package": {
        "procedure": {"_target_": "uncollapse.procedures.joint.step_together", "batch": 1}
    },
    "a class of another slot": {"procedure": {"_target_": ELBO}},
    "a schedule as an objective": {"objective": {"_target_": LINEAR, "epochs": 1}},
    "an objective as a schedule": weight({"_target_": ELBO}),
    "a result as an objective": {
        "objective": {"_target_": "uncollapse.interfaces.objective.Loss", "total": 1, "terms": {}}
    },
    "what procedures get as one": {
        "procedure": {"_target_": "uncollapse.interfaces.procedure.Training"}
    },
    "a law as a posterior": {
        "posterior": {"_target_": "uncollapse.distributions.normal.DiagonalGaussian"}
    },
    "a method of a class of the slot": {"objective": {"_target_": f"{ELBO}.__call__"}},
    "a dotted way out": {"posterior": {"_target_": "uncollapse.posteriors.gaussian.nn.Linear"}},
    "a way up": {"posterior": {"_target_": "uncollapse.posteriors..checkpoint.write_atomic"}},
    "the loader of a module": {
        "posterior": {"_target_": "uncollapse.posteriors.gaussian.__loader__"}
    },
    "a package of a like name": {"posterior": {"_target_": "uncollapse.posteriors_of_mine.Head"}},
    "a target that is no text": {"posterior": {"_target_": {"_target_": GAUSSIAN}}},
    "a target in a list": {"posterior": {"_target_": [GAUSSIAN]}},
    "arguments by position": {"objective": {"_target_": ELBO, "_args_": [1.0]}},
    "a partial slot": {"procedure": {"_target_": JOINT, "_partial_": True}},
    "a partial schedule": weight({"_target_": LINEAR, "_partial_": True}),
    "what is inside left alone": {
        "objective": {"_target_": ELBO, "_recursive_": False, "weight": RUN}
    },
    "a conversion": {"objective": {"_target_": ELBO, "_convert_": "all"}},
    "a function as the output layer": options(
        _target_="uncollapse.decoders.plain.beside", _partial_=True
    ),
    "another class as the output layer": options(_target_="torch.nn.Linear", _partial_=True),
    "options as the output layer": options(_target_=OPTIONS, _partial_=True),
    "a function in the output layer": options(_target_=PLAIN, _partial_=True, latent=WRITE),
    "a schedule where none stands": {
        "procedure": {"_target_": JOINT, "weight": {"_target_": LINEAR, "epochs": 1}}
    },
    "a slot of no class": {"procedure": {"step": 1}},
    "a target in trainer": {"trainer": {"_target_": "uncollapse.disk.write_atomic"}},
    "a target in log": {"log": {"_target_": "os.system", "wandb": False}},
    "a target in a trainer's value": {"trainer": {"epochs": RUN}},
    "data that is a function": {"data": {**WRITE}},
    "data that is another class": {
        "data": {"_target_": "uncollapse.data.corpus.Corpus", "tokens": 1, "offsets": 1}
    },
    "data that is a program": {"data": RUN},
    "a target in a list of data": {
        "data": {"_target_": "uncollapse.data.vectors.GaussianConfig", "eigenvalues": [RUN]},
    },
    "a model that is a network": {"model": {"_target_": "uncollapse.models.lstm.LSTMEncoder"}},
    "a model that is a function": {"model": WRITE},
    "the environment": weight("${oc.env:HOME}"),
    "a config made in place": weight("${oc.create:{_target_: os.getcwd}}"),
    "a reference": weight("${objective}"),
    "an unknown resolver": {"label": "${mine:x}"},
    "a node of Hydra's": {"hydra": {"callbacks": {"x": RUN}}},
    "a list of no key": {"plugins": [RUN]},
}
TAGS = {
    "bytes": "!!binary aGVsbG8=",
    "an object": "!!python/object/apply:os.system ['touch PWNED']",
    "a name": "!!python/name:os.system",
    "a path": "!!python/object/apply:pathlib.PosixPath [PWNED]",
    "a date": "!!timestamp 2026-01-01",
    "a tag of its own": "!mine x",
    "a set": "!!set {a, b}",
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    results = tmp_path_factory.mktemp("results")
    run_here(results, "plain", "trainer.epochs=1")
    return folder_of(results, "plain")


@pytest.fixture
def run_folder(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to tamper with; the working directory is empty."""
    monkeypatch.chdir(tmp_path)
    copy = tmp_path / "study/runs/plain/default/seed=0"
    shutil.copytree(finished, copy)
    return copy


def get_refusal(folder: Path, capsys: pytest.CaptureFixture) -> str:
    """The one sentence with which evaluating a run is refused, having built and written nothing."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(InputError):
        open_run(Run(folder), {}, print)
    assert evaluate([str(folder)]) == 2
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert not Path(PWNED).exists()
    (sentence,) = capsys.readouterr().err.strip().splitlines()
    return sentence


@pytest.mark.parametrize("exploit", EXPLOITS)
def test_foreign_run_folder_builds_no_disallowed_class(
    exploit: str, run_folder: Path, capsys: pytest.CaptureFixture
) -> None:
    path = run_folder / "config.yaml"
    content = yaml.safe_load(path.read_text())
    for key, node in EXPLOITS[exploit].items():
        content[key] = {**content[key], **node} if key in ("trainer", "log") else node
    path.write_text(yaml.safe_dump(content))
    sentence = get_refusal(run_folder, capsys)
    assert any(key in sentence for key in EXPLOITS[exploit])
    print(sentence)


@pytest.mark.parametrize("tag", TAGS)
def test_values_of_other_types_are_refused(
    tag: str, run_folder: Path, capsys: pytest.CaptureFixture
) -> None:
    path = run_folder / "config.yaml"
    path.write_text(path.read_text().replace("label: plain VAE", f"label: {TAGS[tag]}"))
    assert "config.yaml: damaged (" in get_refusal(run_folder, capsys)


def test_alias_of_function_is_refused(run_folder: Path, capsys: pytest.CaptureFixture) -> None:
    path = run_folder / "config.yaml"
    text = path.read_text().replace("weight: 1.0", "weight: *f")
    path.write_text(
        f"label: &f {{_target_: os.system, command: touch {PWNED}}}\n"
        + text.replace("label: plain VAE\n", "")
    )
    assert "os.system" in get_refusal(run_folder, capsys) or "label is no key" in get_refusal(
        run_folder, capsys
    )


@pytest.mark.parametrize(
    "exploit",
    [
        name
        for name in EXPLOITS
        if set(EXPLOITS[name]) <= {*SLOTS} and "${" not in str(EXPLOITS[name])
    ],
)
def test_slots_are_checked_for_every_config_source(
    exploit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from omegaconf import OmegaConf

    monkeypatch.chdir(tmp_path)
    ((slot, node),) = EXPLOITS[exploit].items()
    with pytest.raises(InputError, match=rf"^{slot}"):
        build(OmegaConf.create(node), slot, *((4, 2) if slot == "posterior" else ()))
    assert not Path(PWNED).exists()


def test_untouched_run_is_opened(run_folder: Path) -> None:
    assert read_stored_config(Run(run_folder)).head == "plain"
    assert open_run(Run(run_folder), {}, print).model


@pytest.mark.parametrize("head", heads())
def test_every_head_names_classes_of_its_slots(head: str) -> None:
    from omegaconf import OmegaConf

    cfg = OmegaConf.to_container(composed(f"head={head}"), resolve=True)
    for slot in SLOTS:
        for place, node in find_targets(cfg[slot], slot):  # type: ignore[index, call-overload]
            assert place in CLASS_PLACES and locate_class(node["_target_"], place)


def test_section_with_class_of_another_section_is_refused() -> None:
    cfg = composed("data._target_=uncollapse.models.lstm.LSTMConfig")
    with pytest.raises(InputError, match=r"only classes of uncollapse\.data are built there"):
        load_section(cfg.data, "data")


def test_class_without_its_method_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Renamed(gaussian.PosteriorHead):
        def forwad(self, h: object) -> None:
            """`forward`, misspelt."""

    Renamed.__module__ = gaussian.__name__
    monkeypatch.setattr(gaussian, "Renamed", Renamed, raising=False)
    with pytest.raises(InputError, match=r"it has no forward; did you mean forward by forwad\?$"):
        locate_class(f"{gaussian.__name__}.Renamed", "posterior")


def test_class_of_another_base_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    loose = type("Loose", (), {"__module__": gaussian.__name__})
    monkeypatch.setattr(gaussian, "Loose", loose, raising=False)
    with pytest.raises(InputError, match=r"not derive from uncollapse.*\.PosteriorHead$"):
        locate_class(f"{gaussian.__name__}.Loose", "posterior")
