"""The rules that make `head=` sound, and what a config may and may not say."""

import importlib
import inspect
import re
from pathlib import Path

import pytest
from conftest import ROOT, composed, run_here
from omegaconf import OmegaConf

from uncollapse import config
from uncollapse.config import COMMON, CONF, SECTIONS, SLOTS, build, differences, heads, knobs_of, typed
from uncollapse.errors import InputError
from uncollapse.run import folder_name, parse, understand

ALL = heads()


def head_file(name: str) -> dict:
    return OmegaConf.to_container(OmegaConf.load(CONF / "head" / f"{name}.yaml"))  # type: ignore[return-value]


# rule 1: a head file touches only slots, label and knobs; knobs are flat numbers whose default stands in the YAML alone


@pytest.mark.parametrize("name", ALL)
def test_a_head_file_holds_slots_label_and_flat_knobs(name: str) -> None:
    text = (CONF / "head" / f"{name}.yaml").read_text()
    assert text.startswith("# @package _global_\n")
    content = head_file(name)
    assert content["label"]
    for key, value in content.items():
        assert key in (*SLOTS, "label", "defaults") or not isinstance(value, dict | list), key


@pytest.mark.parametrize("name", ALL)
def test_a_head_file_says_where_it_comes_from_and_what_to_expect(name: str) -> None:
    text = (CONF / "head" / f"{name}.yaml").read_text()
    for word in ("Source:", f"python train.py head={name}", "Minutes:", "Expect"):
        assert word in text, word


@pytest.mark.parametrize("name", ALL)
def test_knobs_have_no_second_default_in_a_constructor(name: str) -> None:
    for slot, node in head_file(name).items():
        if slot in SLOTS and isinstance(node, dict):
            for target, keys in nested_targets(node):
                parameters = inspect.signature(locate(target)).parameters
                for key in keys:
                    assert parameters[key].default is inspect.Parameter.empty, f"{target}({key})"


def nested_targets(node: dict) -> list[tuple[str, list[str]]]:
    own = (
        [(node["_target_"], [k for k, v in node.items() if isinstance(v, str) and v.startswith("${")])]
        if "_target_" in node
        else []
    )
    return own + [found for value in node.values() if isinstance(value, dict) for found in nested_targets(value)]


def locate(target: str) -> type:
    module, _, name = target.rpartition(".")
    return getattr(importlib.import_module(module), name)


# rule 2: a knob that no part reads is an error


def test_a_knob_that_nobody_reads_is_refused_and_its_owners_named() -> None:
    with pytest.raises(InputError, match=r"tau=0.5: head=plain has no knob tau; it is a knob of head=bn_tau, rms_tau"):
        understand(composed("head=plain", "+tau=0.5"), "plain", ["+tau=0.5"])


def test_plain_config_has_no_key_beyond_slots_sections_and_common_ones() -> None:
    assert set(composed()) == {*SLOTS, *SECTIONS, *COMMON}


# rule 3: a slot in train.yaml holds only keys that every class for that slot accepts


@pytest.mark.parametrize("name", ALL)
def test_the_plain_slots_fit_every_class(name: str) -> None:
    plain, cfg = composed(), composed(f"head={name}")
    for slot in SLOTS:
        accepted = inspect.signature(locate(cfg[slot]._target_)).parameters
        assert set(plain[slot]) - {"_target_"} <= set(accepted)


# rule 4: closed sections are typed, the root is open for knobs


@pytest.mark.parametrize("word", ["trainer.epochs=many", "data.train=[1]", "model.hidden=wide", "log.wandb=perhaps"])
def test_a_wrong_type_is_refused_in_the_users_word(word: str, tmp_path: Path) -> None:
    key, value = word.split("=")
    with pytest.raises(InputError, match=re.escape(key)) as error:
        run_here(tmp_path, "plain", word)
    assert value in str(error.value)
    assert not list(tmp_path.iterdir())


def test_an_unknown_key_of_a_section_is_refused() -> None:
    cfg = composed("+trainer.epocs=3")
    with pytest.raises(InputError, match=r"trainer\.epocs"):
        typed(cfg.trainer, "trainer", locate("uncollapse.trainer.TrainerConfig"))


# rule 5: one head at a time; a combination is a head whose defaults list holds two


def test_two_heads_at_once_are_refused() -> None:
    with pytest.raises(InputError, match="one head at a time"):
        config.check_head(["bn_mu", "kl_anneal"])


def test_a_head_made_of_two_composes_and_has_the_knobs_of_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    from hydra import compose, initialize_config_dir

    shutil.copytree(CONF, tmp_path / "conf")
    (tmp_path / "conf/head/both.yaml").write_text(
        "# @package _global_\ndefaults: [bn_tau, kl_anneal, _self_]\nlabel: both\n"
    )
    monkeypatch.setattr(config, "CONF", tmp_path / "conf")
    assert knobs_of("both") == {"tau", "anneal_epochs"}
    with initialize_config_dir(str(tmp_path / "conf"), version_base="1.3"):
        cfg = compose("train", ["head=both", "tau=0.3", "anneal_epochs=7"])
    assert cfg.posterior.tau == 0.3 and cfg.objective.weight.epochs == 7 and cfg.label == "both"
    config.check_knobs(cfg, "both")


# rule 6: one instantiate call, for targets of this package only


def test_there_is_one_instantiate_call() -> None:
    calls = [
        p.name for p in (ROOT / "src").rglob("*.py") for _ in re.findall(r"(?<![\w.`])instantiate\(", p.read_text())
    ]
    assert calls == ["config.py"]


@pytest.mark.parametrize(
    "weight", ["{_target_: os.getcwd}", "{_target_: uncollapse.schedules.Linear, epochs: {_target_: os.getcwd}}"]
)
def test_a_target_outside_the_package_is_refused_at_any_depth(weight: str) -> None:
    node = OmegaConf.create(f"{{_target_: uncollapse.objectives.elbo.ELBO, weight: {weight}}}")
    with pytest.raises(InputError, match=r"os\.getcwd: only targets under uncollapse"):
        build(node, "objective")


# rule 7 (labels come from the config) is tested with the report


# names and differences


def test_the_folder_name_is_the_overrides_in_order_or_default() -> None:
    assert folder_name(parse(["head=bn_tau", "seed=3", "study=x"])) == "default"
    assert folder_name(parse(["trainer.lr=1e-3", "tau=0.50"])) == "tau=0.5,trainer.lr=0.001"
    assert folder_name(parse(["tau=0.5"])) == folder_name(parse(["+tau=0.50"]))


def test_folder_names_that_had_to_change_stay_apart() -> None:
    one, two = (folder_name(parse([f"data.dir=/a/b{sep}c"])) for sep in ("/", "-"))
    assert one != two and "/" not in one + two
    assert len(folder_name({f"k{i}": "v" * 50 for i in range(20)})) <= 200


def test_differences_are_listed_by_key() -> None:
    old, new = {"a": {"b": 1, "c": 2}, "log": 1}, {"a": {"b": 1, "c": 3}, "d": 4, "log": 2}
    assert differences(old, new) == ["a.c: 2 -> 3", "d: None -> 4"]


@pytest.mark.parametrize("word", ["study=a/b", "study=..", "seed=-1", "seed=x", "threads=0"])
def test_bad_roots_are_refused(word: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(word)):
        run_here(tmp_path, "plain", word)
