"""The command line: valid arguments reach Hydra completed, bad ones get one sentence."""

import os
import re
import shlex
from pathlib import Path

import pytest
from conftest import ROOT, SMALL, composed, folder_of, summary, type_command

from uncollapse.command_words import check_command_words
from uncollapse.command_words.keys import GROUPS
from uncollapse.config import SLOTS, TYPED, heads, knobs_of
from uncollapse.errors import InputError
from uncollapse.evaluation.opened import read_stored_config
from uncollapse.runs.layout import Run

ROOTS = sorted({*GROUPS, *SLOTS, *TYPED})
TAU = ", ".join(head for head in heads() if "tau" in knobs_of(head))
BAD = {
    # heads and their knobs
    "head=bn_tua": (
        f"head=bn_tua: no such head; did you mean bn_tau? allowed are {', '.join(heads())}"
    ),
    "head=": "head=: no such head; allowed are ",
    "head={": "head={: no such head; allowed are ",
    "head=null": "head=None: no such head",
    "head=plain tau=0.3": f"tau=0.3: head=plain has no knob tau; it is a knob of head={TAU} (",
    "head=plain +tau=0.3": "tau=0.3: head=plain has no knob tau",
    "tau=0.3": "tau=0.3: head=plain has no knob tau",
    "tau=": "tau=: head=plain has no knob tau",
    "-m head=bn_tau,plain tau=0.5": (
        f"head=plain has no knob tau; it is a knob of head={TAU} (knobs of plain: none); r"
    ),
    "-m head=bn_tau,bn_tua": "head=bn_tua: no such head; did you mean bn_tau?",
    "-m head=glob(x*)": "head=glob(x*): no head matches; allowed are ",
    "head=[plain,bn_mu]": "one head at a time",
    "head=bn_mu tau=0.5": "knobs of bn_mu: gamma",
    # keys
    "tua=0.5": f"tua=0.5: no such key; did you mean tau=0.5, a knob of head={TAU}?",
    "head=bn_tau +tua=0.5": "+tua=0.5: no such key; did you mean tau=0.5",
    "foo=1": f"foo=1: no such key; allowed are {', '.join(ROOTS)} and the knobs of the head",
    "+foo=1": "+foo=1: no such key; allowed are again, data, ",
    "sed=1": "sed=1: no such key; did you mean seed=1?",
    "modle=lstm": "modle=lstm: no such key; did you mean model=lstm?",
    "trainr.epochs=3": "trainr.epochs=3: no such key; did you mean trainer.epochs=3?",
    "trainer.epocs=3": "trainer.epocs=3: no such key; did you mean trainer.epochs?",
    "trainer.epochs.x=3": "trainer.epochs.x=3: trainer.epochs has no keys",
    "+data.foo=3": "data.foo=3: no such key; allowed are data.batch_size, ",
    "seed.x=3": "seed.x=3: seed has no keys; did you mean seed=3?",
    "model/lstm=1": "model/lstm=1: @ and / are not allowed in a key; did you mean model=1?",
    "head@foo=plain": "head@foo=plain: @ and / are not allowed in a key; did you mean head=plain?",
    "+head=plain": "+head=plain: head is already in the config; did you mean head=plain?",
    "+experiment=demo": "did you mean experiment=demo?",
    "~head": "~head: keys cannot be removed from a config; head=VALUE sets another value",
    "~trainer.epochs": "trainer.epochs=VALUE sets another value",
    "posterior=bn_mu": "posterior=bn_mu: a slot is set by its head; did you mean head=bn_mu?",
    "hydra/lancher=joblib": "hydra/lancher=joblib: no such key; did you mean hydra/launcher?",
    # options
    "model=nope": "model=nope: no such model; allowed are image_mlp, ",
    "model=lsmt": "model=lsmt: no such model; did you mean lstm? allowed are image_mlp, ",
    "data=gramar": "data=gramar: no such data; did you mean grammar? allowed are ",
    "trainer=": "trainer=: no such trainer; allowed are default, published",
    "log=wandbb": "log=wandbb: no such log; did you mean wandb? allowed are local, wandb",
    "experiment=demmo": "experiment=demmo: no such experiment; did you mean demo? allowed are ",
    "experiment=": "experiment=: no such experiment; allowed are ",
    "model=[lstm,linear]": "no such model",
    "-m model=lstm,lstn": "model=lstn: no such model; did you mean lstm?",
    # twice
    "head=plain head=bn_mu": "head=plain head=bn_mu: head is given twice; give it once",
    "-m model=lstm model=linear": "model=lstm model=linear: model is given twice",
    # flags and words without an equals sign
    "--multrun": "--multrun: no such flag; did you mean --multirun?",
    "--config-di x": "--config-di: no such flag; did you mean --config-dir?",
    "--head=bn_tau": "--head=bn_tau: keys are typed without dashes; did you mean head=bn_tau?",
    "--tau=0.3": "did you mean tau=0.3?",
    "--cfg jb": "invalid choice: 'jb' (choose from 'job', 'hydra', 'all')",
    "--config-name": "expected one argument",
    "head bn_tau": "head: not of the form KEY=VALUE; did you mean head=bn_tau?",
    "head = bn_tau": "head: not of the form KEY=VALUE; did you mean head=bn_tau?",
    "head= bn_tau": "bn_tau: not of the form KEY=VALUE; did you mean head=bn_tau?",
    "head =bn_tau": "head: not of the form KEY=VALUE; did you mean head=bn_tau?",
    "head:bn_tau": "head:bn_tau: not of the form KEY=VALUE; did you mean head=bn_tau?",
    "bn_tau": "bn_tau: not of the form KEY=VALUE; did you mean head=bn_tau?",
    "=bn_tau": "=bn_tau: not of the form KEY=VALUE",
    "seed=0 what": (
        "what: not of the form KEY=VALUE; if it belongs to the word "
        "before, quote them: 'seed=0 what'"
    ),
    # several values
    "seed=0,1": (
        "seed=0,1: several values make a sweep, which needs -m; "
        "a single text is typed 'seed=\"0,1\"'"
    ),
    "data.split=0.8,0.1,0.1": (
        "data.split=0.8,0.1,0.1: several values make a sweep, which needs -m; write a list as "
        "data.split=[0.8,0.1,0.1]; a single text is typed 'data.split=\"0.8,0.1,0.1\"'"
    ),
    "head=plain,bn_mu": "head=plain,bn_mu: several values make a sweep, which needs -m",
    # common keys
    "seed=-1": "seed=-1: allowed is an integer of at least 0",
    "seed=1.5": "seed=1.5: allowed is an integer",
    "seed=9999999999": "seed=9999999999: allowed is an integer from 0 to 4,294,967,295",
    f"seed={'9' * 5000}": "the value cannot be read as it stands; it is too long",
    "-m seed=0,-1": "seed=-1: allowed is an integer of at least 0",
    "threads=1000": "threads=1000: allowed is an integer from 1 to 256",
    "threads=all": "threads=all: allowed is an integer",
    "study=..a": (
        "study=..a: allowed are letters, digits and . _ + -, a letter or digit first, 100 in all"
    ),
    "study=-rf": "study=-rf: allowed are letters",
    "study=--help": "study=--help: allowed are letters",
    "study=.": "study=.: allowed are letters",
    "study=": "study=: allowed are letters",
    "study=a/b": "study=a/b: allowed are letters",
    f"study={'a' * 101}": "allowed are letters",
    f"study={'a' * 3000}": "(3,000 characters): allowed are letters",
    "study=null": "study=None: allowed is a text",
    "-m study=a,-b": "study=-b: allowed are letters",
    "results=": "results=: allowed is the path of a folder",
    "results=/dev/null": "results=/dev/null: cannot write there (/dev/null is a file)",
    "results=/dev/null/x": "cannot write there (/dev/null is a file)",
    f"results=/tmp/{'x' * 300}": "no folder can be made there (File name too long)",
    "results=[1]": "results=[1]: allowed is a text",
    f"label={'x' * 201}": "allowed is a text of at most 200 characters",
}
# text that Hydra's grammar reads differently, or not at all
ODD = (
    "my file (1).txt", "a,b", "x, y", "[1", "a#b", "a;b", "a&b", "~/x", "日本", "é", "<x>", "!x",
    "`x`", "(1)", 'a"b,',
    "it's, so", "both ' and \\", 'both " and \',', "a\\\\,", "f(x)", "{a", "a=b=c", "C:\\x (1)\\",
    ",", "x,", '"', "'",
    '\\"(', "$HOME (2)", "a\\'b(", '\\\\"x(', "(\\'\\\"\\",
)  # fmt: skip
GOOD = {
    "head=bn_tau tau=0.5": "head=bn_tau tau=0.5",
    "-m head=bn_tau,rms_tau tau=0.3": "-m head=bn_tau,rms_tau tau=choice(0.3)",
    "-m head=bn_tau tau=0.1,0.3 seed=0,1": "-m head=bn_tau tau=0.1,0.3 seed=0,1",
    "head=bn_tau -m seed=0,1": "-m head=bn_tau seed=0,1",
    "-m head=glob(bn_*) seed=range(0,3)": "-m head=glob(bn_*) seed=range(0,3)",
    "-m model=lstm,lstm_ptb model.pool=last,max": "-m model=lstm,lstm_ptb model.pool=last,max",
    "experiment=compare seed=0,1": "--multirun experiment=compare seed=0,1",
    "experiment=compare --cfg job": "--cfg job experiment=compare",
    "experiment=tau_grid tau=0.3": "--multirun experiment=tau_grid tau=choice(0.3)",
    "experiment=null seed=1": "experiment=null seed=1",
    "seed=1 seed=1": "seed=1 seed=1",
    "++trainer.epochs=3 +log.entity=me": "++trainer.epochs=3 +log.entity=me",
    "head=bn_tau posterior.tau=0.2 objective.weight=${posterior.tau}": (
        "head=bn_tau posterior.tau=0.2 objective.weight=${posterior.tau}"
    ),
    (
        "hydra/launcher=joblib hydra.launcher.n_jobs=2 -m seed=0"
    ): "-m hydra/launcher=joblib hydra.launcher.n_jobs=2 seed=0",
    "study=2026-01.a_b+c results=/tmp/none/x": "study=2026-01.a_b+c results=/tmp/none/x",
    "--help": "--help",
    "--info searchpath": "--info searchpath",
    "-sc query=bash": "-sc query=bash",
}


@pytest.mark.parametrize("words", BAD)
def test_bad_arguments_give_one_sentence(words: str) -> None:
    with pytest.raises(InputError) as error:
        check_command_words(words.split(" "))
    assert BAD[words] in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 900


@pytest.mark.parametrize("value", ODD)
def test_unparsable_value_error_suggests_working_quotes(value: str) -> None:
    with pytest.raises(InputError) as error:
        check_command_words([f"data.train={value}"])
    (word,) = shlex.split(re.split(r"quote it: |is typed ", str(error.value))[-1])
    assert check_command_words([word]) == [word]
    assert composed("data=text", word).data.train == value


@pytest.mark.parametrize(
    "char",
    [
        "\n",
        "\r",
        "\t",
        "\0",
        "\x1b",
        "\x7f",
        "\x85",
        "\u2028",
        "\u200f",
        "\u202e",
        "\udcff",
        "\ufeff",
    ],
)
@pytest.mark.parametrize(
    "key", ["study", "results", "label", "data.train", "head", "foo", "trainer.optimizer"]
)
def test_control_characters_are_refused_and_escaped(char: str, key: str) -> None:
    with pytest.raises(InputError, match="control characters") as error:
        check_command_words([f"{key}=a{char}b"])
    assert str(error.value).isprintable()
    with pytest.raises(InputError, match="control characters"):
        check_command_words([f"a{char}b=1"])


@pytest.mark.parametrize("words", GOOD)
def test_valid_arguments_pass_or_are_completed(words: str) -> None:
    assert check_command_words(words.split()) == GOOD[words].split()


def test_train_command_creates_run(tmp_path: Path) -> None:
    done = type_command("head=bn_tau", "tau=0.5", *SMALL, f"results={tmp_path}", fresh=True)
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
    # one line per evaluation
    assert sum("valid:" in line for line in done.stdout.splitlines()) == 3


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["head=bn_tau", "tau=1.5"], "tau=1.5: out of range; allowed is 0 < tau < 1"),
        (["head=bn_tua"], "head=bn_tua: no such head; did you mean bn_tau?"),
    ],
)
def test_bad_command_writes_nothing_and_prints_one_sentence(
    words: list[str], sentence: str, tmp_path: Path
) -> None:
    done = type_command(*words, f"results={tmp_path / 'r'}")
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == [
        line for line in done.stderr.strip().splitlines() if sentence in line
    ]
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert not (tmp_path / "r").exists()


HYDRA_REFUSES = {
    "data.train_size=3": (
        "data.train_size=3: no such key; did you mean data.train? allowed are data.batch_size, "
    ),
    "objective.wieght=1": "objective.wieght=1: no such key; did you mean objective.weight?",
    "-m decoder.wrod_dropout=1,2": "no such key; did you mean decoder.word_dropout?",
    "posterior.x.y=1": "posterior.x=1: no such key; nothing can be set there",
    "hydra/launcher=jobib -m": (
        "hydra/launcher=jobib: no such option; did you mean joblib? allowed are basic, "
    ),
    "hydra/launcher=ray -m": (
        "hydra/launcher=ray needs ray, which is not installed; pip install 'uncollapse[ray]'"
    ),
    "hydra/launcher=slurm_cpu -m": (
        "hydra/launcher=slurm_cpu needs submitit, which is not installed; "
        "pip install 'uncollapse[slurm]'"
    ),
    "hydra/launcher=slurm_cup -m": "did you mean slurm_cpu? allowed are basic, ",
    "hydra.run.dri=x": "hydra.run.dri=x: no such key; did you mean hydra.run.dir?",
    "label=${foo}": "label: Interpolation key 'foo' not found",
    "-m results=${foo}": "results: Interpolation key 'foo' not found",
    "--cfg job -m": "Only one of --run, --multirun",
    "decoder.output=null": (
        "decoder.output=None: it names no class; allowed is a _target_ of uncollapse.decoders"
    ),
    "device=gpu": "device=gpu: did you mean cuda? allowed are auto, cpu, cuda",
    "trainer.optimizer=adm": "trainer.optimizer=adm: did you mean adam? allowed are adam, sgd",
    "data.batching=mixd": "data.batching=mixd: did you mean mixed?",
    "log.mode=onlin": "log.mode=onlin: did you mean online?",
}


@pytest.mark.parametrize("words", HYDRA_REFUSES)
@pytest.mark.slow
def test_hydra_and_component_errors_are_one_sentence(words: str, tmp_path: Path) -> None:
    results = [] if "results" in words or "--cfg" in words else [f"results={tmp_path / 'r'}"]
    done = type_command(*words.split(), *results)
    (line,) = done.stderr.strip().splitlines()
    assert done.returncode == 2 and line.startswith("error: ") and HYDRA_REFUSES[words] in line
    assert not list(tmp_path.rglob("runs"))


def test_full_hydra_error_is_shown_on_request() -> None:
    done = type_command("objective.wieght=1", HYDRA_FULL_ERROR="1")
    assert (
        done.returncode == 1
        and "Traceback" in done.stderr
        and "ConfigCompositionException" in done.stderr
    )


def test_override_can_interpolate_another_key(tmp_path: Path) -> None:
    words = ["head=bn_tau", "objective.weight=${posterior.tau}", *SMALL, f"results={tmp_path}"]
    assert type_command(*words).returncode == 0
    assert "skipped" in type_command(*words).stdout
    assert read_stored_config(Run(folder_of(tmp_path, "bn_tau"))).objective.weight == 0.5


def test_help_shows_groups_and_commands() -> None:
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


def test_startup_imports_nothing_heavy() -> None:
    """--help and bad words must answer at once."""
    import subprocess
    import sys

    heavy = "('torch', 'wandb', 'datasets', 'pandas', 'numpy')"
    code = (
        "import sys, uncollapse.cli, uncollapse.sweep; print([m for m in "
        f"{heavy} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
