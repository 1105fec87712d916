"""The facts of a text data set, stored beside its configuration."""

import shutil

import pytest

from uncollapse import config
from uncollapse.data.dialogue import DialogueConfig
from uncollapse.data.facts import list_sets, read_facts
from uncollapse.data.files import TextConfig
from uncollapse.data.image_files import MnistConfig, OmniglotConfig
from uncollapse.data.sets import main
from uncollapse.errors import InputError

MINE = """
made: hand
licence: mine
by_hand: put train.txt, valid.txt and test.txt into {out}
lines: {train: 2, valid: 2, test: 2}
"""


@pytest.fixture
def conf(tmp_path, monkeypatch):
    """A copy of conf/ that a test may change."""
    shutil.copytree(config.CONF, tmp_path / "conf")
    monkeypatch.setattr(config, "CONF", tmp_path / "conf")
    return tmp_path / "conf"


def test_every_shipped_set_of_files_has_facts():
    files = [name for name in config.options("data") if "dir" in config.read_option("data", name)]
    assert list_sets() == [name for name in files if name not in ("text", "arrays", "image_folder")]
    assert all(read_facts(name).licence for name in list_sets())


def test_images_need_no_preparation(tmp_path, capsys):
    assert main(["mnist", "--out", str(tmp_path)]) == 2
    assert "mnist: `train` reads images as they are; nothing to prepare" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "make"), [("captions", TextConfig), ("dailydialog", DialogueConfig)]
)
def test_training_on_a_set_without_facts_is_refused(conf, tmp_path, name, make):
    values = {**config.read_option("data", name), "name": "mine", "dir": str(tmp_path)}
    del values["_target_"]
    with pytest.raises(InputError, match="train"):  # as from another checkout: files are missing
        make(**values).load()
    shutil.copy(conf / "data" / f"{name}.yaml", conf / "data" / "mine.yaml")
    with pytest.raises(
        InputError, match=r"^mine: its facts are missing, a file .*mine\.facts\.yml;"
    ):
        make(**values).load()
    (conf / "data" / "mine.facts.yml").write_text(MINE)
    with pytest.raises(InputError, match="train"):
        make(**values).load()


def test_data_set_can_be_added_by_yaml_files_alone(conf, tmp_path, capsys):
    content = (conf / "data" / "captions.yaml").read_text()
    (conf / "data" / "mine.yaml").write_text(content.replace("name: captions", "name: mine"))
    assert main(["mine", "--out", str(tmp_path / "out")]) == 2
    assert "mine: its facts are missing" in capsys.readouterr().err
    (conf / "data" / "mine.facts.yml").write_text(MINE)
    assert main(["mine", "--out", str(tmp_path / "out")]) == 2
    assert f"valid.txt and test.txt into {tmp_path}/out" in capsys.readouterr().err
    (tmp_path / "out").mkdir()
    for split in ("train", "valid", "test"):
        (tmp_path / "out" / f"{split}.txt").write_text("a b\nc\n")
    assert main(["mine", "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.endswith(f"data=mine data.dir={tmp_path}/out\n")


@pytest.mark.parametrize(("name", "make"), [("mnist", MnistConfig), ("omniglot", OmniglotConfig)])
def test_images_without_facts_are_refused_before_they_are_read(conf, name, make):
    values = {**config.read_option("data", name), "dir": "/nowhere"}
    del values["_target_"]
    (conf / "data" / f"{name}.facts.yml").unlink()
    with pytest.raises(InputError, match=f"^{name}: its facts are missing"):
        make(**values).load()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("made: hand", "maed: hand", "maed: no such fact; allowed are made, licence, "),
        ("made: hand", "made: hnd", "made=hnd: "),
        ("made: hand", "made: hub\nform: images", "form=images needs valid"),
        ("made: hand", "made: hand\nvalid: 1.5", "valid=1.5: allowed is an integer"),
        ("licence: mine", "", "licence is missing"),
        ("lines: {train: 2, valid: 2, test: 2}", "lines: 2", "lines=2: wrong kind of value"),
        ("by_hand: put train.txt, valid.txt and test.txt into {out}", "", "needs by_hand"),
        ("lines: {train: 2,", "rows: {dev: 2}\nlines: {train: 2,", "rows=dev: "),
        ("lines: {train: 2,", "lines: {train: 2, dev: 2,", "lines=dev: "),
        ("lines: {train: 2,", "checksums: {dev: abc}\nlines: {train: 2,", "checksums=dev: "),
        ("lines: {train: 2,", "lines: {train: two,", "lines: train=two: allowed is an integer"),
        ("made: hand", "made: recipe\nrecipe: {seed: 0}", "recipe needs function"),
        ("made: hand", "made: recipe\nrecipe: {function: f}", "recipe needs seed"),
        ("made: hand", "made: recipe\nrecipe: {function: f, seed: x}", "seed=x: allowed is an"),
        (
            MINE,
            "{made: recipe, licence: a, recipe: {function: f, seed: 0}, lines: {train: 2}}",
            "made=recipe needs lines of valid",
        ),
        (MINE, "5", "damaged"),
    ],
)
def test_invalid_facts_give_one_sentence(conf, old, new, message):
    path = conf / "data" / "captions.facts.yml"
    path.write_text(MINE.replace(old, new))
    with pytest.raises(InputError, match=message) as error:
        read_facts("captions")
    assert str(path) in str(error.value) and "\n" not in str(error.value)
