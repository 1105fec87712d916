"""scripts/prepare_data.py: what it writes, what it does not overwrite, and how it resumes."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, fill, mounted
from schemas import TextConfig
from test_corpora import put_hub
from test_files import block_hub, decode_split

from uncollapse.data import prepare, set_folder, synthetic
from uncollapse.data.facts import SetFacts, read_facts
from uncollapse.data.sets import main
from uncollapse.data.text import SPLITS

assert block_hub  # a fixture; no test here may use the network


def run_prepare(capsys, *words: object) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    code = main([str(word) for word in words])
    output = capsys.readouterr()
    return code, output.out, output.err


@pytest.fixture
def small_synthetic(monkeypatch):
    """The synthetic set with a few sequences in each split, and no checksums to compare."""
    facts = replace(
        read_facts("synthetic"), lines={"train": 30, "valid": 4, "test": 5}, checksums={}
    )
    monkeypatch.setattr(prepare, "read_facts", lambda name: facts)


# ---------------------------------------------------------------- from the hub


def test_prepared_files_equal_hub_data(tmp_path, capsys):
    folder, out = put_hub(tmp_path / "hub", "yahoo"), tmp_path / "out"
    sizes = {"train_size": 40, "valid_size": 10, "test_size": 30}
    words = [f"data.{key}={value}" for key, value in sizes.items()]
    code, output, _ = run_prepare(capsys, "yahoo", "--out", out, f"data.hub={folder}", *words)
    assert code == 0 and output.startswith("yahoo: licence: Yahoo Webscope")
    assert output.endswith(f"next: uncollapse train data=yahoo data.dir={out}\n")
    lines = (out / "train.txt").read_text().splitlines()
    assert len(lines) == 40
    assert all(line.split("\t")[1].startswith("what 's n") for line in lines)
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["labels"] is True and manifest["source"]["split_seed"] == 0
    facts = manifest["files"]["train.txt"]
    assert facts["lines"] == 40 and facts["words"] == sum(len(line.split()) for line in lines)
    assert facts["sha256"] == hashlib.sha256((out / "train.txt").read_bytes()).hexdigest()

    common = {"name": "yahoo", "label": "topic", "cache": str(tmp_path / "cache")}
    direct = {"column": "question_title+question_content+best_answer", "tokenise": True, **sizes}
    hub = TextConfig(hub=str(folder), **direct, **common).load()
    files = TextConfig(dir=str(out), labels=None, **common).load()
    assert files.vocabulary == hub.vocabulary
    for split in SPLITS:
        assert decode_split(files, split) == decode_split(hub, split)
        names = [
            [data.classes["topic"][i] for i in data.labels[split]["topic"]] for data in (files, hub)
        ]
        assert names[0] == names[1]


def test_empty_sentences_are_skipped(tmp_path, capsys):
    folder = put_hub(tmp_path / "hub", "wikitext")
    assert run_prepare(capsys, "wikitext", "--out", tmp_path / "out", f"data.hub={folder}")[0] == 0
    lines = (tmp_path / "out" / "valid.txt").read_text().splitlines()
    assert len(lines) == 40 and lines[0] == "Mr. n1 @-@ <unk> , 1 @.@ 5"


def test_hub_data_of_unexpected_size_is_refused(tmp_path, capsys, monkeypatch):
    folder = put_hub(tmp_path / "hub", "snli")
    usual = prepare.read_set_config("snli", [f"data.hub={folder}"])
    monkeypatch.setattr(prepare, "read_set_config", lambda *_: usual)
    code, _, complaint = run_prepare(capsys, "snli", "--out", tmp_path / "out")
    assert code == 2 and "its train split has 60 rows where 550,152 are expected" in complaint
    assert [path.name for path in (tmp_path / "out").iterdir()] == []


def test_unreachable_hub_gives_one_sentence(tmp_path, capsys):
    code, _, complaint = run_prepare(capsys, "snli", "--out", tmp_path / "out")
    assert code == 2 and complaint.startswith(
        "error: data.hub=stanfordnlp/snli: could not be loaded from the hub ("
    )
    assert complaint.count("\n") == 1 and "again when the hub can be reached" in complaint


# ---------------------------------------------------------------- resuming without overwriting


def test_complete_files_are_skipped_and_others_made(tmp_path, capsys, small_synthetic, monkeypatch):
    assert run_prepare(capsys, "synthetic", "--out", tmp_path)[0] == 0
    full = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    (tmp_path / "valid.txt").unlink()
    code, output, _ = run_prepare(capsys, "synthetic", "--out", tmp_path)
    assert (
        code == 0
        and output.count("already complete, skipped") == 2
        and "valid.txt: 4 lines, 40 words" in output
    )
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == full
    monkeypatch.setattr(synthetic, "draw_splits", None)  # nothing is drawn when nothing is missing
    assert run_prepare(capsys, "synthetic", "--out", tmp_path)[0] == 0


def test_interrupted_preparation_leaves_complete_files_and_resumes(
    tmp_path, capsys, small_synthetic, monkeypatch
):
    draw = synthetic.draw_splits

    def stopping(seed, sizes):
        for split, words in draw(seed, sizes):
            if split == "test":
                raise KeyboardInterrupt
            yield split, words

    with monkeypatch.context() as patched:
        patched.setattr(synthetic, "draw_splits", stopping)
        code, _, complaint = run_prepare(capsys, "synthetic", "--out", tmp_path / "a")
    assert (
        code == 130
        and complaint == "stopped; run the same command again to make the missing files\n"
    )
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "manifest.json",
        "train.txt",
        "valid.txt",
    ]
    assert run_prepare(capsys, "synthetic", "--out", tmp_path / "a")[0] == 0
    assert run_prepare(capsys, "synthetic", "--out", tmp_path / "b")[0] == 0
    for path in (tmp_path / "b").iterdir():
        assert (tmp_path / "a" / path.name).read_bytes() == path.read_bytes()


def test_file_gets_final_name_only_when_complete(tmp_path):
    def torn():
        yield b"one\n"
        assert not (tmp_path / "train.txt").exists()
        raise OSError(28, "No space left on device")

    with (
        pytest.raises(OSError, match="No space left"),
        set_folder.temporary_name(tmp_path / "train.txt") as path,
    ):
        set_folder.write_blocks(path, torn())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("there", ["changed", "foreign"])
def test_foreign_file_is_left_alone(tmp_path, capsys, small_synthetic, there):
    if there == "changed":
        assert run_prepare(capsys, "synthetic", "--out", tmp_path)[0] == 0
    (tmp_path / "train.txt").write_text("mine\n")
    code, _, complaint = run_prepare(capsys, "synthetic", "--out", tmp_path)
    assert code == 2 and complaint.startswith(
        f"error: {tmp_path}/train.txt: this file exists and was not made by"
    )
    assert (tmp_path / "train.txt").read_text() == "mine\n"


def test_folder_made_with_other_options_is_refused(tmp_path, capsys):
    folder, out = put_hub(tmp_path / "hub", "snli"), tmp_path / "out"
    assert run_prepare(capsys, "snli", "--out", out, f"data.hub={folder}")[0] == 0
    before = (out / "train.txt").read_bytes()
    code, _, complaint = run_prepare(
        capsys, "snli", "--out", out, f"data.hub={folder}", "data.train_size=5"
    )
    assert code == 2 and complaint.startswith(
        f"error: {out}: it holds a set made with other settings (manifest.json: "
    )
    assert (out / "train.txt").read_bytes() == before


FACTS = {"train.txt": {"sha256": "0" * 64}}
MANIFESTS = [
    *(
        "",
        "{",
        "[]",
        "5",
        "null",
        '"text"',
        "{}",
        '{"source": {}}',
        "[" * 100_000,
        "1" * 5000,
        "\xff",
    ),
    *(
        {"files": files}
        for files in (5, None, "ab", [1], ["ab"], {"train.txt": 5}, {"train.txt": None})
    ),
    *(
        {key: odd}
        for key in ("source", "labels")
        for odd in (5, None, [], "x" * 5000, [[["deep"]]])
    ),
    {"files": FACTS},
    None,  # a folder
]


@pytest.mark.parametrize("odd", MANIFESTS)
def test_damaged_manifest_gives_one_sentence_and_changes_nothing(
    tmp_path, capsys, small_synthetic, odd
):
    assert run_prepare(capsys, "synthetic", "--out", tmp_path)[0] == 0
    path = tmp_path / "manifest.json"
    full = json.loads(path.read_text())
    path.unlink()
    if odd is None:
        path.mkdir()
    else:
        text = odd if isinstance(odd, str) else json.dumps({**full, **odd})
        path.write_bytes(text.encode("latin-1"))
    before = {path.name: path.is_dir() or path.read_bytes() for path in tmp_path.iterdir()}
    code, _, complaint = run_prepare(capsys, "synthetic", "--out", tmp_path)
    assert (
        code == 2
        and complaint.startswith("error: ")
        and complaint.count("\n") == 1
        and len(complaint) < 600
    )
    assert str(tmp_path) in complaint
    assert {path.name: path.is_dir() or path.read_bytes() for path in tmp_path.iterdir()} == before


def test_folder_in_place_of_split_gives_one_sentence(tmp_path, capsys, small_synthetic):
    (tmp_path / "train.txt").mkdir()
    code, _, complaint = run_prepare(capsys, "synthetic", "--out", tmp_path)
    assert code == 2 and complaint.startswith(
        f"error: {tmp_path}/train.txt: this file exists and was not"
    )


def test_link_with_temporary_name_is_not_followed(tmp_path, capsys, small_synthetic):
    out, precious = tmp_path / "out", tmp_path / "precious"
    precious.write_text("precious")
    out.mkdir()
    for split in SPLITS:
        (out / f".{split}.txt.part").symlink_to(precious)
    assert run_prepare(capsys, "synthetic", "--out", out)[0] == 0
    assert precious.read_text() == "precious" and not any(
        path.is_symlink() for path in out.iterdir()
    )


# ---------------------------------------------------------------- by hand


def test_licensed_data_set_explains_how_to_obtain_it(tmp_path, capsys):
    code, _, complaint = run_prepare(capsys, "ptb", "--out", tmp_path / "ptb")
    assert (
        code == 2
        and "LDC99T42" in complaint
        and f"{tmp_path}/ptb/train.txt" in complaint
        and "--licensed" in complaint
    )
    code, _, complaint = run_prepare(capsys, "ptb", "--out", tmp_path / "ptb", "--licensed")
    assert "data.hub=ptb-text-only/ptb_text_only: could not be loaded" in complaint
    for name, source in [
        ("captions", "multi30k/dataset"),
        ("short_yelp", "bohanli/vae-pretraining-encoder"),
    ]:
        assert source in run_prepare(capsys, name, "--out", tmp_path / name)[2]


def test_manually_added_files_are_checked(tmp_path, capsys, monkeypatch):
    sums = {split: hashlib.sha256(b"a b\nc\n").hexdigest() for split in SPLITS}
    facts = SetFacts(
        made="hand",
        licence="free",
        lines=dict.fromkeys(SPLITS, 2),
        checksums=sums,
        by_hand="x",
    )
    monkeypatch.setattr(prepare, "read_facts", lambda name: facts)
    for split in SPLITS:
        (tmp_path / f"{split}.txt").write_text(
            "  a b \nc\n"
        )  # white space at the ends does not count
    code, output, _ = run_prepare(capsys, "captions", "--out", tmp_path)
    assert code == 0 and f"{tmp_path}/valid.txt: 2 lines, 3 words, as expected" in output
    assert json.loads((tmp_path / "manifest.json").read_text())["labels"] is False
    (tmp_path / "valid.txt").write_text("a b\nd\n")
    assert (
        f"error: {tmp_path}/valid.txt: the expected number of lines, but different words"
        in run_prepare(capsys, "captions", "--out", tmp_path)[2]
    )
    (tmp_path / "valid.txt").write_text("a b\n")
    complaint = run_prepare(capsys, "captions", "--out", tmp_path)[2]
    assert complaint.startswith(
        f"error: {tmp_path}/valid.txt: 1 lines where 2 are expected; it is truncated"
    )


# ---------------------------------------------------------------- bad arguments, and the command


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["wiki"], "wiki: no such set; allowed are captions, dailydialog, "),
        (["snli", "data.sise=3"], "data.sise=3: allowed are data.name, data.dir, "),
        (["snli", "train_size=3"], "train_size=3: allowed are data.name, "),
        (
            ["snli", "data.train_size=0"],
            "data.train_size=0: allowed is an integer of at least 1",
        ),
        (["snli", "data.train_size=x"], "data.train_size=x: "),
    ],
)
def test_bad_arguments_are_named(tmp_path, capsys, words, message):
    code, _, complaint = run_prepare(capsys, *words, "--out", tmp_path / "out")
    assert code == 2 and complaint.startswith(f"error: {message}") and complaint.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_command_runs_in_fresh_process(tmp_path):
    words = [sys.executable, "scripts/prepare_data.py", "captions", "--out", str(tmp_path / "no")]
    done = subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"}
    )
    assert (
        done.returncode == 2
        and done.stderr.startswith("error: captions: not on the hub")
        and not Path(words[-1]).exists()
    )


# ---------------------------------------------------------------- the synthetic set


def test_synthetic_sequences_follow_recipe(monkeypatch):
    sizes = {"train": 1000, "valid": 10, "test": 10}
    monkeypatch.setattr(synthetic, "SEQUENCES_AT_ONCE", 500)
    found = dict(synthetic.draw_splits(0, sizes))
    words = found["train"]
    assert words.shape == (1000, 10) and words.min() >= 0 and words.max() < 1000
    # uniform first words: chi-square of ten bins, 9 degrees of freedom, 27.9 at p = 0.001
    counts = np.bincount(words[:, 0] // 100, minlength=10)
    assert ((counts - 100) ** 2 / 100).sum() < 27.9
    # later words come from a small set: their entropy is well below ln 1000
    share = np.bincount(words[:, 5], minlength=1000) / 1000
    assert -(share[share > 0] * np.log(share[share > 0])).sum() < 6
    again = dict(synthetic.draw_splits(0, sizes))
    assert all(np.array_equal(again[split], found[split]) for split in SPLITS)
    assert not np.array_equal(dict(synthetic.draw_splits(1, sizes))["valid"], found["valid"])


def test_generator_step_matches_pytorch_lstm():
    """One sequence against the LSTM of PyTorch with the same weights."""
    import torch

    rng = np.random.default_rng(3)
    weights, z, chance = (
        synthetic.draw_parameters(rng),
        rng.standard_normal((1, 2)),
        rng.random((1, 10)),
    )
    lstm = torch.nn.LSTM(102, 100, dtype=torch.float64)
    own = {
        "weight_ih_l0": "inputs",
        "weight_hh_l0": "recurrent",
        "bias_ih_l0": "bias_in",
        "bias_hh_l0": "bias_recurrent",
    }
    lstm.load_state_dict(
        {theirs: torch.from_numpy(weights[ours].T.copy()) for theirs, ours in own.items()}
    )
    cell = torch.from_numpy(z @ weights["start"])[None]
    state, word, found = (torch.tanh(cell), cell), int(chance[0, 0] * 1000), []
    for step in range(10):
        found.append(word)
        if step == 9:
            break
        inputs = torch.from_numpy(np.concatenate([weights["embedding"][[word]], z], 1))[None]
        output, state = lstm(inputs, state)
        logits = output[0, 0].detach().numpy() @ weights["out"] + z[0] @ weights["out_z"]
        p = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        word = int(np.searchsorted(np.cumsum(p), chance[0, step + 1]))
    assert synthetic.draw_sequences(weights, z, chance)[0].tolist() == found


def test_dialogues_are_written_completely(tmp_path, capsys):
    code, _, complaint = run_prepare(capsys, "dailydialog", "--out", tmp_path, "data.train_size=5")
    assert code == 2 and "data.train_size=5: dialogues are written complete" in complaint


@pytest.mark.parametrize("state", ["full", "read-only"])
def test_unwritable_disk_gives_one_sentence(small_synthetic, small_disk, capsys, state):
    fill(small_disk) if state == "full" else mounted(small_disk, "-o", "remount,ro")
    code, _, error = run_prepare(capsys, "synthetic", "--out", small_disk / "set")
    assert code == 2 and error.startswith("error: ") and error.count("\n") == 1, error
    assert not list(small_disk.rglob("*.txt")) and not list(small_disk.rglob("*.part"))
