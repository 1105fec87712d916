"""The rules of `head=`, and what configs may contain."""

import importlib
import inspect
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, SMALL, composed, run_here
from omegaconf import OmegaConf

from uncollapse import config
from uncollapse.command_words import check_command_words
from uncollapse.config import COMMON, CONF, SECTIONS, SLOTS, heads, knobs_of
from uncollapse.config.knobs import check_head, check_knobs
from uncollapse.config.sections import load_section
from uncollapse.errors import InputError
from uncollapse.request import parse_overrides, understand_request
from uncollapse.run import run
from uncollapse.runs.identity import list_differences
from uncollapse.runs.layout import format_folder_name

ALL = heads()


def head_file(name: str) -> dict:
    return OmegaConf.to_container(OmegaConf.load(CONF / "head" / f"{name}.yaml"))  # type: ignore[return-value]


# rule 1: a head file sets only slots, label and knobs; knobs are flat numbers whose default is only
# in the YAML file


@pytest.mark.parametrize("name", ALL)
def test_head_file_holds_slots_label_and_flat_knobs(name: str) -> None:
    text = (CONF / "head" / f"{name}.yaml").read_text()
    assert text.startswith("# @package _global_\n")
    content = head_file(name)
    assert content["label"]
    for key, value in content.items():
        assert key in (*SLOTS, "label", "defaults", "frontier") or not isinstance(
            value, dict | list
        ), key


@pytest.mark.parametrize("name", ALL)
def test_head_file_names_source_and_expected_numbers(name: str) -> None:
    text = (CONF / "head" / f"{name}.yaml").read_text()
    for word in ("Source:", f"python train.py head={name}", "Minutes:", "Expect"):
        assert word in text, word


@pytest.mark.parametrize("name", ALL)
def test_knob_defaults_are_not_repeated_in_constructors(name: str) -> None:
    for slot, node in head_file(name).items():
        if slot in SLOTS and isinstance(node, dict):
            for target, keys in nested_targets(node):
                parameters = inspect.signature(locate(target)).parameters
                for key in keys:
                    assert parameters[key].default is inspect.Parameter.empty, f"{target}({key})"


def nested_targets(node: dict) -> list[tuple[str, list[str]]]:
    own = (
        [
            (
                node["_target_"],
                [k for k, v in node.items() if isinstance(v, str) and v.startswith("${")],
            )
        ]
        if "_target_" in node
        else []
    )
    return own + [
        found
        for value in node.values()
        if isinstance(value, dict)
        for found in nested_targets(value)
    ]


def locate(target: str) -> type:
    module, _, name = target.rpartition(".")
    return getattr(importlib.import_module(module), name)


# rule 2: a knob that no component reads is an error


def test_unused_knob_is_refused_and_its_heads_are_named() -> None:
    having = ", ".join(name for name in ALL if "tau" in knobs_of(name))
    assert "bn_tau" in having
    with pytest.raises(
        InputError, match=f"tau=0.5: head=plain has no knob tau; it is a knob of head={having} "
    ):
        understand_request(composed("head=plain", "+tau=0.5"), "plain", ["+tau=0.5"])


SIGMA = "_target_: uncollapse.posteriors.bn_mu.BatchNormMu"
FAULTY_HEADS = {
    "no first line": ("label: mine", "its first line must be `# @package _global_`"),
    "no label": ("# @package _global_\ngamma: 1", "it has no label, the name of the head in"),
    "a slot misspelt": (
        f"# @package _global_\nlabel: mine\ngamma: 1\nposteriors: {{{SIGMA}, gamma: 1}}",
        "posteriors is not a slot; did you mean posterior? allowed are posterior, objective",
    ),
    "a knob misspelt": (
        f"# @package _global_\nlabel: mine\ngamma: 1\nposterior: {{{SIGMA}, gamma: '${{gama}}'}}",
        "knob gamma is not used: no slot reads ${gamma}; ${gama} is not defined",
    ),
}


@pytest.mark.parametrize("fault", FAULTY_HEADS)
def test_fault_of_a_head_file_is_named(fault: str, head_files: Callable[..., Path]) -> None:
    content, sentence = FAULTY_HEADS[fault]
    folder = head_files()
    (folder / "head/mine.yaml").write_text(content)
    with pytest.raises(InputError, match=f"^conf/head/mine.yaml: {re.escape(sentence)}"):
        understand_request(composed("head=mine", conf=folder), "mine", [])


def test_plain_config_has_only_documented_keys() -> None:
    assert set(composed()) == {*SLOTS, *SECTIONS, *COMMON}


# rule 3: a slot in train.yaml holds only keys that every class for that slot accepts


@pytest.mark.parametrize("name", ALL)
def test_plain_slots_fit_every_class(name: str) -> None:
    plain, cfg = composed(), composed(f"head={name}")
    for slot in SLOTS:
        accepted = inspect.signature(locate(cfg[slot]._target_)).parameters
        assert set(plain[slot]) - {"_target_"} <= set(accepted)


# rule 4: closed sections are typed, the root is open for knobs


@pytest.mark.parametrize(
    "word", ["trainer.epochs=many", "data.train=[1]", "model.hidden=wide", "log.wandb=perhaps"]
)
def test_wrong_type_error_uses_the_users_name(word: str, tmp_path: Path) -> None:
    key, value = word.split("=")
    with pytest.raises(InputError, match=re.escape(key)) as error:
        run_here(tmp_path, "plain", word)
    assert value in str(error.value)
    assert not list(tmp_path.iterdir())


def test_unknown_section_key_is_refused() -> None:
    cfg = composed("+trainer.epocs=3")
    with pytest.raises(InputError, match=r"trainer\.epocs"):
        load_section(cfg.trainer, "trainer", locate("uncollapse.training.config.TrainerConfig"))


# rule 5: one head at a time; a combination is a head whose defaults list has two


def test_two_heads_at_once_are_refused() -> None:
    with pytest.raises(InputError, match="one head at a time"):
        check_head(["bn_mu", "kl_anneal"])


@pytest.fixture
def head_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Add head files (name=content) to a copy of conf that the package uses; returns the copy."""
    folder = tmp_path / "conf"
    shutil.copytree(CONF, folder)
    monkeypatch.setattr(config, "CONF", folder)

    def add(**contents: str) -> Path:
        for name, content in contents.items():
            (folder / f"head/{name}.yaml").write_text(
                f"# @package _global_\n{content}\nlabel: {name}\n"
            )
        return folder

    return add


def test_combined_head_has_knobs_of_both(
    head_files: Callable[..., Path],
) -> None:
    folder = head_files(both="defaults: [bn_tau, kl_anneal, _self_]")
    assert knobs_of("both") == {"tau", "anneal_epochs", "anneal"}
    cfg = composed("head=both", "tau=0.3", "anneal_epochs=7", conf=folder)
    assert cfg.posterior.tau == 0.3 and cfg.objective.weight.epochs == 7 and cfg.label == "both"
    assert check_head("both") == "both"
    check_knobs(cfg, "both")


POSTERIORS = "uncollapse.posteriors"
CLASHES = {
    "two posteriors": (
        "defaults: [bn_mu, rms_tau, _self_]",
        f"head=mine: bn_mu and rms_tau both set posterior ({POSTERIORS}.bn_mu.BatchNormMu and "
        f"{POSTERIORS}.rms_tau.RMSNormTau); a combination takes each setting from one head only",
    ),
    "two with the same knob": (
        "defaults: [ln_mu, bn_mu, _self_]",
        "ln_mu and bn_mu both set posterior ",
    ),
    "the first and the third": (
        "defaults: [bn_mu, kl_anneal, bn_tau, _self_]",
        "bn_mu and bn_tau both set posterior ",
    ),
    "its own and another's": (
        f"defaults: [bn_mu, _self_]\nposterior: {{_target_: {POSTERIORS}.gaussian.Gaussian}}",
        "bn_mu and the file itself both set posterior ",
    ),
    "a combination and a head": (
        "defaults: [first, bn_mu, _self_]",
        "first and bn_mu both set posterior ",
    ),
    "a combination that is none": (
        "defaults: [second, kl_anneal, _self_]",
        "bn_mu and ln_mu both set posterior ",
    ),
    "a weight and a schedule": (
        "defaults: [half, kl_anneal, _self_]",
        "half and kl_anneal both set objective.weight (0.5 and ",
    ),
}


@pytest.mark.parametrize("clash", CLASHES)
def test_conflicting_heads_are_refused(clash: str, head_files: Callable[..., Path]) -> None:
    content, sentence = CLASHES[clash]
    head_files(
        mine=content,
        first="defaults: [bn_tau, kl_anneal, _self_]",
        second="defaults: [bn_mu, ln_mu, _self_]",
        half="objective: {weight: 0.5}",
    )
    with pytest.raises(InputError) as error:
        check_head("mine")
    assert sentence in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(InputError, match=re.escape(sentence)):
        check_command_words(["head=mine"])


def test_agreeing_or_overridden_combinations_are_accepted(
    head_files: Callable[..., Path],
) -> None:
    head_files(
        twice="defaults: [one, other, _self_]",
        one="defaults: [bn_mu, _self_]",
        other="defaults: [bn_mu, kl_anneal, _self_]",
        own="defaults: [bn_mu, kl_anneal, _self_]\ngamma: 0.3\nobjective: {weight: 0.5}",
    )
    assert check_head("twice") and check_head("own")


@pytest.mark.parametrize("name", ALL)
def test_every_shipped_combination_combines_two_heads(name: str) -> None:
    assert check_head(name) == name


# rule 6: one instantiate call, for targets of this package only


def test_instantiate_is_called_in_one_place() -> None:
    calls = [
        p.name
        for p in (ROOT / "src").rglob("*.py")
        for _ in re.findall(r"(?<![\w.`])instantiate\(", p.read_text())
    ]
    assert calls == ["targets.py"]


TYPED = {
    "head=bn_mu posterior._target_=uncollapse.posteriors.rms_tau.RMSNormTau": (
        "posterior._target_=uncollapse.posteriors.rms_tau.RMSNormTau: it has no "
        "gamma, it needs tau; head=rms_tau sets it up"
    ),
    "head=plain posterior._target_=uncollapse.posteriors.ln_mu.LayerNormMu": (
        "posterior._target_=uncollapse.posteriors.ln_mu.LayerNormMu: it "
        "needs gamma; head=ln_mu sets it up"
    ),
    "head=kl_anneal objective.weight._target_=uncollapse.distributions.normal.DiagonalGaussian": (
        "only classes of uncollapse.training.schedules are built there"
    ),
    "head=plain procedure._target_=uncollapse.decoders.plain.Plain": (
        "only classes of uncollapse.procedures are built"
    ),
    "head=plain objective._target_=uncollapse.objectives.elbo.Loss": "no such class",
    "head=bn_mu +posterior.gama=3": "it has no gama; did you mean posterior.gamma?",
    "head=plain +posterior.gama=3": "it has no gama; a class and its knobs make a head",
    "head=plain posterior._target_=uncollapse.posteriors.gaussian.Gausian": "no such class",
    "head=plain posterior._target_=uncollapse.posteriors.nowhere.Gaussian": "no such class",
    (
        "head=plain posterior._target_=torch.nn.Linear"
    ): "only classes of uncollapse.posteriors are built there",
}


@pytest.mark.parametrize("words", TYPED)
def test_class_override_with_unmatched_knobs_is_refused(words: str, tmp_path: Path) -> None:
    head, *others = words.split()
    with pytest.raises(InputError) as error:
        run_here(tmp_path, head.removeprefix("head="), *others)
    assert TYPED[words] in str(error.value) and "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_compatible_class_override_is_built(tmp_path: Path) -> None:
    words = ("posterior._target_=uncollapse.posteriors.ln_mu.LayerNormMu", "gamma=0.7")
    assert run_here(tmp_path, "bn_mu", *words) == "done"


# contradictory components


@pytest.mark.parametrize("head", ["bn_mu", "ln_mu", "bn_tau", "rms_tau"])
def test_floor_with_zero_kl_weight_is_refused(head: str, tmp_path: Path) -> None:
    sentence = (
        rf"^objective\.weight=0: head={head} promises a KL of at least [\d.]+ nats, "
        rf".* give a weight above 0, or head=ae$"
    )
    with pytest.raises(InputError, match=sentence):
        run_here(tmp_path, head, "objective.weight=0")
    assert not list(tmp_path.iterdir())


def test_posterior_unsupported_by_procedure_is_refused(
    head_files: Callable[..., Path], tmp_path: Path
) -> None:
    folder = head_files(both="defaults: [bn_mu, semi_amortized, _self_]")
    assert check_head("both")
    for head, words in {
        "both": [],
        "semi_amortized": [
            "posterior._target_=uncollapse.posteriors.bn_mu.BatchNormMu",
            "+posterior.gamma=0.6",
        ],
    }.items():
        cfg = composed(f"head={head}", f"results={tmp_path / 'r'}", *SMALL, *words, conf=folder)
        with pytest.raises(InputError, match=f"head={head}") as error:
            run(cfg, head, [*SMALL, *words])
        assert "\n" not in str(error.value)
    assert not (tmp_path / "r").exists()


# rule 7 (labels come from the config) is tested in test_report.py


# names and differences


def test_folder_name_lists_overrides_in_order() -> None:
    assert format_folder_name(parse_overrides(["head=bn_tau", "seed=3", "study=x"])) == "default"
    assert (
        format_folder_name(parse_overrides(["trainer.lr=1e-3", "tau=0.50"]))
        == "tau=0.5,trainer.lr=0.001"
    )
    assert format_folder_name(parse_overrides(["tau=0.5"])) == format_folder_name(
        parse_overrides(["+tau=0.50"])
    )


def test_sanitised_folder_names_stay_unique() -> None:
    one, two = (format_folder_name(parse_overrides([f"data.dir=/a/b{sep}c"])) for sep in ("/", "-"))
    assert one != two and "/" not in one + two
    assert len(format_folder_name({f"k{i}": "v" * 50 for i in range(20)})) <= 200


def test_config_differences_are_listed_by_key() -> None:
    old, new = {"a": {"b": 1, "c": 2}, "log": 1}, {"a": {"b": 1, "c": 3}, "d": 4, "log": 2}
    assert list_differences(old, new) == ["a.c: 2 -> 3", "d: None -> 4"]


def test_folder_names_fit_file_system_limits() -> None:
    name = format_folder_name({"data.dir": "日本" * 60})
    assert len(name.encode()) <= 200 and name != format_folder_name({"data.dir": "日本" * 61})
    assert (
        format_folder_name({"k": "v" * 300})
        == f"k={'v' * 178}-{format_folder_name({'k': 'v' * 300})[-8:]}"
    )


@pytest.mark.parametrize("key", ["label", "results", "study", "data.batching", "log.project"])
@pytest.mark.parametrize("char", ["\n", "\r", "\x85", "\u2028", "\u202e", "\x1b"])
def test_line_breaks_in_values_are_refused(key: str, char: str, tmp_path: Path) -> None:
    cfg = composed(f"results={tmp_path}", *SMALL)
    OmegaConf.update(cfg, key, f"a{char}seed: 1")
    with pytest.raises(InputError) as error:
        run(cfg, "plain", SMALL)
    assert str(error.value).startswith(f"{key}=a") and str(error.value).isprintable()
    with pytest.raises(InputError, match="control characters"):
        run(composed(f"results={tmp_path}", *SMALL), "plain", [*SMALL, f"x=a{char}b"])
    assert not list(tmp_path.iterdir())


def test_yaml_bomb_is_refused_before_hydra_reads_it(
    head_files: Callable[..., Path],
) -> None:
    bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n"
        for before, name in zip("abcdefgh", "bcdefghi", strict=True)
    )
    folder = head_files()
    for group in ("data", "model", "trainer", "experiment", "head"):
        (folder / group / "mine.yaml").write_text(bomb)
        with pytest.raises(InputError, match=f"{group}/mine.yaml: damaged"):
            check_command_words([f"{group}=mine"])
        (folder / group / "mine.yaml").unlink()
    (folder / "data/grammar.yaml").write_text(bomb)
    with pytest.raises(InputError, match=r"data/grammar\.yaml: damaged"):
        check_command_words(["seed=1"])


@pytest.mark.parametrize("word", ["study=a/b", "study=..", "seed=-1", "seed=x", "threads=0"])
def test_bad_root_folders_are_refused(word: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(word)):
        run_here(tmp_path, "plain", word)
