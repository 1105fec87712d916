"""`from=RUN`: training that starts from the weights of a finished run."""

from pathlib import Path

import pytest
import torch
from conftest import SMALL, folder_of, run_here, type_command, typed

import uncollapse
from uncollapse.errors import InputError
from uncollapse.runs.checkpoint import load_tensors
from uncollapse.runs.layout import Run
from uncollapse.runs.reading import read_config
from uncollapse.start import replace_start

STILL = "trainer.lr=1e-12"  # a run whose weights stay what they were


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of plain."""
    results = tmp_path_factory.mktemp("results")
    assert run_here(results, "plain", *SMALL) == "done"
    return folder_of(results, "plain")


def test_weights_of_both_heads_are_taken(plain: Path, tmp_path: Path) -> None:
    assert run_here(tmp_path, "bn_mu", *SMALL, STILL, f'from="{plain}"') == "done"
    ours = load_tensors(folder_of(tmp_path, "bn_mu") / "model.safetensors")
    theirs = load_tensors(plain / "model.safetensors")
    assert theirs.keys() <= ours.keys()
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight, rtol=0, atol=1e-6, msg=name)


def test_config_and_name_have_the_digest_and_no_path(plain: Path, tmp_path: Path) -> None:
    words = (*SMALL, f'from="{plain}"')
    assert run_here(tmp_path, "free_bits", *words) == "done"
    folder = folder_of(tmp_path, "free_bits")
    label = str(read_config(Run(folder))["from"])
    assert label.startswith("plain-") and f"from={label}," in folder.parent.name
    assert run_here(tmp_path, "free_bits", *words) == "skipped"
    # the same run without `from` is another one
    assert run_here(tmp_path, "free_bits", *SMALL) == "done"
    assert uncollapse.load(folder).encode(split="test").mean.shape == (32, 4)


def test_config_without_it_is_unchanged(plain: Path) -> None:
    assert "from" not in read_config(Run(plain))


def test_folder_needs_no_quotes_on_the_command_line(plain: Path, tmp_path: Path) -> None:
    assert "," in str(plain) and "=" in str(plain)
    words = [*SMALL, f"results={tmp_path}", "trainer.epochs=1", f"from={plain}"]
    done = type_command("head=rms_tau", *words)
    assert done.returncode == 0 and "starts from 15 weights of plain-" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("model.hidden=13",), r"weights of another model \(decoder"),
        (("data.train=50", "data=digits", "model=image_mlp"), "weights of another model"),
    ],
)
def test_other_model_is_refused(
    words: tuple[str, ...], reason: str, plain: Path, tmp_path: Path
) -> None:
    small = [word for word in SMALL if not word.startswith("model.")] if len(words) > 1 else SMALL
    done = type_command("head=plain", *small, *words, f"from={plain}", f"results={tmp_path}")
    assert done.returncode == 2 and "weights of another model" in done.stderr
    assert not list(tmp_path.glob("scratch/runs/*/*/*/config.yaml"))


def test_bad_folder_is_refused(plain: Path, tmp_path: Path) -> None:
    for given, reason in [
        (tmp_path / "nowhere", "there is no folder"),
        (plain.parents[3], "a study of 1 runs; load one of them"),
        (tmp_path, "is not a study"),
        (3, "allowed is the folder of a finished run"),
    ]:
        cfg = typed()
        cfg["from"] = str(given) if isinstance(given, Path) else given
        with pytest.raises(InputError, match=f"^from=.*{reason}"):
            replace_start(cfg)


def test_other_vocabulary_is_refused(plain: Path, tmp_path: Path) -> None:
    lines = "".join(f"word{i} word{i + 1} .\n" for i in range(40))
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text(lines)
    small = [word for word in SMALL if not word.startswith("data.")]
    words = ["data=text", f"data.dir={tmp_path}", "data.batch_size=16", *small]
    done = type_command("head=plain", *words, f"from={plain}", f"results={tmp_path / 'r'}")
    assert done.returncode == 2 and "its data have another vocabulary" in done.stderr
