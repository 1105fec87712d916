"""What a user types: good words reach Hydra completed, bad ones get one sentence; the literal commands work."""

import os
from pathlib import Path

import pytest
from conftest import ROOT, SMALL, folder_of, summary, type_command

from uncollapse.cli import understand_words
from uncollapse.config import heads, knobs_of
from uncollapse.errors import InputError

TAU = ", ".join(head for head in heads() if "tau" in knobs_of(head))
BAD = {
    "head=bn_tua": f"head=bn_tua: no such head; did you mean bn_tau? allowed are {', '.join(heads())}",
    "head=plain tau=0.3": f"tau=0.3: head=plain has no knob tau; it is a knob of head={TAU} (",
    "head=plain +tau=0.3": "tau=0.3: head=plain has no knob tau",
    "tau=0.3": "tau=0.3: head=plain has no knob tau",
    "-m head=bn_tau,plain tau=0.5": f"head=plain has no knob tau; it is a knob of head={TAU} (knobs of plain: none); s",
    "head=[plain,bn_mu]": "one head at a time",
    "head=bn_mu tau=0.5": "knobs of bn_mu: gamma",
    "trainer.epocs=3": "trainer.epocs=3: no such key; did you mean trainer.epochs?",
    "+data.foo=3": "+data.foo=3: no such key",
}
GOOD = {
    "head=bn_tau tau=0.5": "head=bn_tau tau=0.5",
    "-m head=bn_tau,rms_tau tau=0.3": "-m head=bn_tau,rms_tau tau=choice(0.3)",
    "-m head=bn_tau tau=0.1,0.3 seed=0,1": "-m head=bn_tau tau=0.1,0.3 seed=0,1",
    "experiment=compare seed=0,1": "experiment=compare seed=0,1 --multirun",
    "experiment=compare --cfg job": "experiment=compare --cfg job",
    "experiment=tau_grid tau=0.3": "experiment=tau_grid tau=choice(0.3) --multirun",
    "--help": "--help",
    "head=bn_mu '": "head=bn_mu '",
    "-sc query=bash": "-sc query=bash",
}


@pytest.mark.parametrize("words", BAD)
def test_bad_words_get_one_sentence(words: str) -> None:
    with pytest.raises(InputError) as error:
        understand_words(words.split())
    assert BAD[words] in str(error.value)


@pytest.mark.parametrize("words", GOOD)
def test_good_words_pass_or_are_completed(words: str) -> None:
    assert understand_words(words.split(" ")) == GOOD[words].split(" ")


def test_the_literal_command_makes_a_run(tmp_path: Path) -> None:
    done = type_command("head=bn_tau", "tau=0.5", *SMALL, f"results={tmp_path}")
    assert done.returncode == 0, done.stderr
    folder = folder_of(tmp_path, "bn_tau")
    assert folder.parent.name.startswith("data.batch_size=16")
    assert {p.name for p in folder.iterdir()} >= {
        "config.yaml",
        "metrics.jsonl",
        "summary.json",
        "model.safetensors",
        "state.pt",
        "done",
    }
    assert summary(folder)["status"] == "done"
    assert sum("valid:" in line for line in done.stdout.splitlines()) == 3  # one line per evaluation


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["head=bn_tau", "tau=1.5"], "tau=1.5: out of range; allowed is 0 < tau < 1"),
        (["head=bn_tua"], "head=bn_tua: no such head; did you mean bn_tau?"),
    ],
)
def test_a_bad_command_ends_with_one_sentence_and_touches_nothing(
    words: list[str], sentence: str, tmp_path: Path
) -> None:
    done = type_command(*words, f"results={tmp_path / 'r'}")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == [line for line in done.stderr.strip().splitlines() if sentence in line]
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert not (tmp_path / "r").exists()


def test_help_shows_the_groups_and_the_commands() -> None:
    text = type_command("--help").stdout
    for expected in (
        "python train.py head=bn_tau tau=0.5",
        "python train.py -m head=bn_tau tau=0.1,0.3,0.5,0.7,0.9 seed=0,1,2",
        "python train.py -m head=plain,kl_anneal,bn_mu,bn_tau seed=0,1,2",
        "python train.py experiment=compare",
        "python scripts/report.py results/<study>",
        f"head: {', '.join(heads())}",
    ):
        assert expected in text


def test_shell_completion_completes_heads() -> None:
    line = "python train.py head=bn_"
    path = f"{Path(os.sys.executable).parent}:{os.environ['PATH']}"  # type: ignore[attr-defined]
    done = type_command("-sc", "query=bash", COMP_LINE=line, PATH=path)
    assert done.stdout.split() == [f"head={head}" for head in heads() if head.startswith("bn_")]


def test_the_start_imports_nothing_heavy() -> None:
    """--help and bad words must answer at once."""
    import subprocess
    import sys

    heavy = "('torch', 'wandb', 'datasets', 'pandas', 'numpy')"
    code = f"import sys, uncollapse.cli, uncollapse.sweep; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
