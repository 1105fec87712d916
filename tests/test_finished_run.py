"""Finished runs in Python: codes in the order given, decoding, refusals, studies and exports."""

import json
import random
import re
import shlex
import shutil
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT, folder_of, run_here, typed
from test_dialogue import words as dialogue_words
from test_dialogue import write_dialogues

import uncollapse
from uncollapse.data.corpus import SPECIALS, UNK
from uncollapse.data.levels import Characters
from uncollapse.data.text import TextData
from uncollapse.errors import InputError
from uncollapse.evaluation.opened import open_run
from uncollapse.finished import run as finished
from uncollapse.finished.examples import read_sentences, separates_tokens
from uncollapse.finished.export import main as export
from uncollapse.finished.run import FinishedRun
from uncollapse.report import main as report
from uncollapse.run import run as train
from uncollapse.runs.layout import Run
from uncollapse.runs.study_cli import main as study_command

SENTENCES = ["the movie was not good .", "zzz", "we liked the soup", "the zzz yyy ."]
WORDS = {
    "plain": (),
    "bn_mu": ("trainer.keep=[last]",),
    "vmf": (),
    "lm": (),
    "ae": (),
    "iaf": (),
    "semi_amortized": ("svi_steps=2",),
}
SIZES = ("data.train=96", "data.valid=32", "data.test=32")
IMAGES = ("data=digits", *SIZES, "model=image_mlp", "model.hidden=8", "model.latent=3")
VECTORS = ("data=gaussian", *SIZES, "data.eigenvalues=[4,2,1]", "model=linear", "model.latent=2")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with a run of each head, on text."""
    folder = tmp_path_factory.mktemp("results")
    for head, words in WORDS.items():
        run_here(folder, head, "trainer.epochs=1", *words)
    return folder


@cache
def load(results: Path, head: str, **options: str) -> FinishedRun:
    return uncollapse.load(folder_of(results, head), **options)


def train_other(folder: Path, *words: str) -> FinishedRun:
    """A run on other data than text."""
    overrides = ["trainer.epochs=1", *words]
    cfg = typed("head=plain", *overrides)
    cfg.results = str(folder)
    train(cfg, "plain", overrides)
    return uncollapse.load(folder_of(folder, "plain"))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    return train_other(tmp_path_factory.mktemp("images"), *IMAGES)


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    return train_other(tmp_path_factory.mktemp("vectors"), *VECTORS)


# ---------------------------------------------------------------- codes


@pytest.mark.parametrize("head", WORDS)
def test_codes_equal_those_of_evaluation_and_keep_the_order(results: Path, head: str) -> None:
    run = load(results, head)
    opened = open_run(Run(folder_of(results, head)), {}, print, device="auto")
    numbers = np.arange(32)
    expected = opened.encoded_means("test", numbers)
    codes = run.encode(split="test")
    np.testing.assert_array_equal(codes.mean, expected)
    assert codes.mean.shape == (32, 4) and codes.kl.shape == (32,) and codes.unknown is None
    # the same sentences as text
    texts = run.opened.data.texts(run.opened.data.corpora["test"])
    np.testing.assert_array_equal(run.encode(texts).mean, expected)
    np.testing.assert_array_equal(run.encode([text.split() for text in texts]).mean, expected)


def test_codes_follow_their_sentences_when_these_are_permuted(results: Path) -> None:
    run = load(results, "plain")
    order = np.random.default_rng(0).permutation(32)
    texts = run.opened.data.texts(run.opened.data.corpora["valid"])
    codes, moved = run.encode(texts), run.encode([texts[i] for i in order])
    for name in ("mean", "log_var", "kl"):
        np.testing.assert_allclose(
            getattr(moved, name), getattr(codes, name)[order], rtol=1e-5, atol=1e-6
        )
    assert len(np.unique(codes.mean[:, 0])) > 16  # the order can be seen in the codes


def test_kl_is_that_of_the_stated_gaussian(results: Path) -> None:
    codes = load(results, "bn_mu").encode(SENTENCES)
    assert codes.log_var is not None
    kl = 0.5 * (codes.mean**2 + np.exp(codes.log_var) - codes.log_var - 1).sum(1)
    np.testing.assert_allclose(codes.kl, kl, rtol=1e-5)


def test_words_outside_the_vocabulary_are_counted(results: Path) -> None:
    run = load(results, "plain")
    assert run.encode(SENTENCES).unknown.tolist()[1] == 1
    known = run.opened.data.vocabulary[4]
    codes = run.encode([[known, "zzz", "<unk>", "<eos>"], [known]])
    assert codes.unknown.tolist() == [3, 0]
    # any unknown word is the same word
    np.testing.assert_array_equal(run.encode(["zzz"]).mean, run.encode([["<unk>"]]).mean)


def test_sentences_are_split_as_in_training() -> None:
    words = TextData({}, (*SPECIALS, "do", "n't", "."), 2)
    # raw text of the hub: lower case, punctuation and contractions separated
    assert read_sentences(words, ["Don't.", "do"], raw=True).tokens.tolist() == [4, 5, 6, 4]
    assert read_sentences(words, ["Don't."], raw=False).tokens.tolist() == [UNK]
    chars = TextData({}, (*SPECIALS, "o", "d", " "), 2, level=Characters())
    corpus = read_sentences(chars, ["do  o", "x"], raw=False)
    assert corpus.tokens.tolist() == [5, 4, 6, 4, UNK] and corpus.offsets.tolist() == [0, 4, 5]
    own = {"tokenise": True, "dir": None, "hub": "x"}
    assert separates_tokens(own) and not separates_tokens({**own, "dir": "y"})
    assert not separates_tokens({**own, "train": "mine.txt"})


def test_runs_of_older_versions_are_loaded() -> None:
    (folder,) = (ROOT / "tests/fixtures/old_runs/117fdba/runs/plain").glob("*/seed=0")
    codes = uncollapse.load(folder).encode(split="test")
    assert codes.mean.shape == (16, 2) and np.isfinite(codes.kl).all()


@pytest.mark.parametrize(
    ("head", "has_variance"), [("ae", True), ("lm", False), ("vmf", False), ("iaf", False)]
)
def test_log_variance_is_that_of_diagonal_gaussians_only(
    results: Path, head: str, has_variance: bool
) -> None:
    codes = load(results, head).encode(SENTENCES)
    assert (codes.log_var is not None) == has_variance
    if head == "lm":
        assert not codes.mean.any() and not codes.kl.any()
    if head == "vmf":  # the same for every example
        assert np.ptp(codes.kl) < 1e-5 < codes.kl[0]


# ---------------------------------------------------------------- decoding


@pytest.mark.parametrize("head", WORDS)
def test_every_head_reconstructs_samples_and_interpolates(results: Path, head: str) -> None:
    run = load(results, head)
    texts = run.reconstruct(SENTENCES)
    assert texts == run.decode(run.encode(SENTENCES).mean, greedy=True) and len(texts) == 4
    between = run.interpolate(SENTENCES[0], SENTENCES[2], 3)
    ends = run.decode(run.encode([SENTENCES[0], SENTENCES[2]]).mean, greedy=True)
    assert len(between) == 3 and [between[0], between[-1]] == ends
    assert len(run.sample(3)) == 3 and run.sample(3, greedy=True) == run.sample(3, greedy=True)


def test_drawing_depends_only_on_the_seed_and_the_options(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = load(results, "plain")
    z = np.random.default_rng(0).normal(size=(8, 4))
    drawn = run.decode(z)
    assert drawn == run.decode(torch.from_numpy(z), seed=0) == run.decode(z.tolist())
    assert drawn != run.decode(z, seed=1)
    assert run.decode(z, top_k=1) == run.decode(z, greedy=True) == run.decode(z, beam=1)
    assert run.decode(z, temperature=1e-9) == run.decode(z, greedy=True)
    assert run.sample(5, seed=3) == run.sample(5, seed=3) != run.sample(5, seed=4)
    assert "<unk>" not in " ".join(drawn) and "<unk>" in " ".join(run.decode(z, unk=True))
    # fewer at a time: the same sentences, in the same order
    greedy = run.decode(z, greedy=True)
    monkeypatch.setattr(finished, "DECODED_TOGETHER", 3)
    assert run.decode(z, greedy=True) == greedy and len({*greedy}) > 1


def test_nothing_of_the_process_is_changed(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(count: int) -> None:
        raise AssertionError("the number of threads was set")

    monkeypatch.setattr(torch, "set_num_threads", refuse)
    for seed in (torch.manual_seed, np.random.seed, random.seed):
        seed(5)
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    run = load(results, "iaf")
    for codes in (run.encode(SENTENCES), run.encode(split="valid")):
        run.decode(codes.mean[:2])
    run.sample(2)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all() and random.getstate() == states[2]
    model = run.opened.model
    assert not any(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_device_gives_the_same_codes(results: Path) -> None:
    codes = load(results, "plain", device="cuda").encode(SENTENCES)
    expected = load(results, "plain", device="cpu").encode(SENTENCES)
    np.testing.assert_allclose(codes.mean, expected.mean, atol=1e-4)
    assert len(load(results, "plain", device="cuda").decode(codes.mean, beam=3)) == 4


# ---------------------------------------------------------------- images and vectors


def test_images_are_encoded_in_any_form_and_decoded_as_squares(images: FinishedRun) -> None:
    binary = images.opened.data.binary("test")
    expected = images.encode(split="test").mean
    for given in (binary, binary.astype(float).reshape(-1, 8, 8), torch.from_numpy(binary)):
        np.testing.assert_array_equal(images.encode(given).mean, expected)
    drawn = images.decode(expected)
    assert drawn.shape == (32, 8, 8) and set(np.unique(drawn)) <= {0, 1}
    np.testing.assert_array_equal(images.reconstruct(binary), images.decode(expected, greedy=True))
    cold = images.decode(expected, temperature=1e-5)
    np.testing.assert_array_equal(cold, images.reconstruct(binary))
    assert images.sample(3).shape == images.interpolate(binary[0], binary[1], 3).shape == (3, 8, 8)


def test_grey_pixels_are_drawn_by_the_seed(images: FinishedRun) -> None:
    grey = np.full((4, 64), 0.5)
    mean = images.encode(grey).mean
    np.testing.assert_array_equal(mean, images.encode(grey).mean)
    assert (mean != images.encode(grey, seed=1).mean).any() and (mean[0] != mean[1]).any()


def test_vectors_are_encoded_and_not_decoded(vectors: FinishedRun) -> None:
    x = vectors.opened.data.vectors["test"]
    np.testing.assert_array_equal(vectors.encode(x).mean, vectors.encode(split="test").mean)
    with pytest.raises(InputError, match="LinearVAE has no `generate`"):
        vectors.decode(np.zeros((1, 2)))
    with pytest.raises(InputError, match=r"takes vectors \[N, 3\]"):
        vectors.encode(np.zeros((5, 4)))


def test_dialogues_encode_their_splits_only(tmp_path: Path) -> None:
    run = train_other(tmp_path, *dialogue_words(write_dialogues(tmp_path / "data")))
    codes = run.encode(split="valid")
    numbers = np.arange(run.opened.data.size("valid"))
    np.testing.assert_array_equal(codes.mean, run.opened.encoded_means("valid", numbers))
    for call in (
        lambda: run.encode(["yes"]),
        lambda: run.sample(2),
        lambda: run.decode(codes.mean),
    ):
        with pytest.raises(InputError, match="nothing without its context"):
            call()


# ---------------------------------------------------------------- numbers of runs


def test_numbers_of_a_run_are_those_on_disk(results: Path) -> None:
    folder = folder_of(results, "plain")
    run = uncollapse.load(folder)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert len(run.rows) == len(lines) and {"step", "split", "kl"} <= {*run.rows.columns}
    assert run.rows["nelbo"].tolist() == [line["nelbo"] for line in lines]
    assert run.summary["nelbo"] == json.loads((folder / "summary.json").read_text())["nelbo"]
    assert run.config["model"]["latent"] == 4 and type(run.config) is dict
    assert run.notes == []


def test_rules_load_their_own_weights(results: Path) -> None:
    last = load(results, "bn_mu", weights="last")
    assert last.summary["nelbo"] == last.summary["last"]["nelbo"] or "last" not in last.summary
    with pytest.raises(InputError, match="did not keep the weights of best_nll"):
        load(results, "bn_mu", weights="best_nll")
    with pytest.raises(InputError, match="did you mean last"):
        load(results, "bn_mu", weights="lst")


@pytest.mark.usefixtures("no_figures")
def test_study_summary_is_the_table_of_the_report_and_needs_only_a_pack(
    results: Path, tmp_path: Path
) -> None:
    study = results / "scratch"
    assert report([str(study)]) == 0
    table = pd.read_csv(study / "report/tables/runs.csv")
    summary = uncollapse.load_study(study).summary
    assert list(summary.columns) == list(table.columns) and len(summary) == len(WORDS)
    np.testing.assert_allclose(summary["nelbo"], table["nelbo"])
    assert study_command(["pack", str(study)]) == 0
    pack = tmp_path / "runs.parquet"
    pack.write_bytes((study / "runs.parquet").read_bytes())
    packed = uncollapse.load_study(pack).summary.set_index("head")
    np.testing.assert_allclose(
        packed["nelbo"], summary.set_index("head").loc[packed.index, "nelbo"]
    )
    with pytest.raises(InputError, match="packed runs have no weights"):
        uncollapse.load(pack)
    with pytest.raises(InputError, match="is not a study"):
        uncollapse.load_study(ROOT / "conf")


# ---------------------------------------------------------------- refusals


REFUSED = {
    "one text": (lambda run: run.encode("test"), "give a list of sentences, or split='test'"),
    "no such split": (lambda run: run.encode(split="tset"), "did you mean test"),
    "nothing": (lambda run: run.encode(), "either examples or split"),
    "an empty list": (lambda run: run.encode([]), "nothing to encode"),
    "an empty sentence": (lambda run: run.encode(["a", " "]), "example 1 .*: a sentence without"),
    "images": (lambda run: run.encode(np.zeros((2, 8, 8))), "example 0 .*this run takes text"),
    "a number": (lambda run: run.encode(3), "takes a list of sentences"),
    "both kinds": (lambda run: run.encode(["a", ["b"]]), "example 1 .*this run takes text"),
    "codes": (lambda run: run.decode(np.zeros((2, 5))), r"\[2, 5\].*takes codes \[N, 4\]"),
    "one code": (lambda run: run.decode(np.zeros(4)), r"takes codes \[N, 4\]"),
    "nan": (lambda run: run.decode(np.full((1, 4), np.nan)), "finite"),
    "text as codes": (lambda run: run.decode(["a"]), "no numbers"),
    "beam": (lambda run: run.sample(1, beam=3, temperature=0.5), "beam draws nothing"),
    "greedy": (lambda run: run.sample(1, greedy=True, top_p=0.5), "greedy draws nothing"),
    "two ways": (lambda run: run.sample(1, greedy=True, beam=2), "two ways"),
    "temperature": (lambda run: run.sample(1, temperature=0.0), "temperature=0: out of range"),
    "top_p": (lambda run: run.sample(1, top_p=1.5), "top_p=1.5: out of range"),
    "top_k": (lambda run: run.sample(1, top_k=0), "top_k=0"),
    "misspelt": (
        lambda run: run.decode(np.zeros((1, 4)), temprature=2),
        "^temprature=2: no such option; did you mean temperature[?] allowed are temperature, top_k,"
    ),
    "misspelt in another": (lambda run: run.reconstruct(["a"], beams=2), "did you mean beam"),
    "misspelt in interpolate": (lambda run: run.interpolate("a", "b", gredy=1), "mean greedy"),
    "misspelt in sample": (lambda run: run.sample(1, sed=1), "^sed=1: no such option"),
    "steps": (lambda run: run.interpolate("a", "b", 1), "steps=1"),
    "seed": (lambda run: run.sample(1, seed=-1), "seed=-1"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_input_gives_one_sentence(results: Path, name: str) -> None:
    call, message = REFUSED[name]
    with pytest.raises(InputError, match=message) as caught:
        call(load(results, "plain"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda run: run.encode(["text"]), r"takes images \[N, 8, 8\]"),
        (lambda run: run.encode(np.zeros((2, 9, 9))), r"\[2, 9, 9\].*takes images \[N, 8, 8\]"),
        (lambda run: run.encode(np.zeros((8, 8))), r"\[8, 8\].*takes images"),
        (
            lambda run: run.encode(np.full((1, 64), 255)),
            "divide images of 8 bits, grey or RGB, by 255",
        ),
        (lambda run: run.encode([[0, 1], [0]]), "rows of different sizes"),
        (lambda run: run.sample(1, beam=2), "beam: for sentences"),
        (lambda run: run.sample(1, unk=True), "unk: for sentences"),
    ],
)
def test_wrong_images_give_one_sentence(images: FinishedRun, call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(images)


def test_only_finished_runs_with_weights_are_loaded(results: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a study of 7 runs; load one of them"):
        uncollapse.load(results / "scratch")
    with pytest.raises(InputError, match="there is no folder"):
        uncollapse.load(tmp_path / "nowhere")
    run_here(tmp_path, "plain", "trainer.epochs=1")
    folder = folder_of(tmp_path, "plain")
    (folder / "done").rename(folder / "set-aside")
    with pytest.raises(InputError, match="the run is unfinished, not finished"):
        uncollapse.load(folder)
    (folder / "set-aside").rename(folder / "done")
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"no model.safetensors in it"):
        uncollapse.load(folder)


# ---------------------------------------------------------------- export


def test_sentences_of_a_file_are_exported_with_labels(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder = folder_of(results, "plain")
    (tmp_path / "mine.txt").write_text("\n".join(SENTENCES) + "\n")
    (tmp_path / "mine.csv").write_text(
        "review,stars\n" + "".join(f"{s},{i}\n" for i, s in enumerate(SENTENCES))
    )
    expected = uncollapse.load(folder).encode(SENTENCES)
    lines, table = tmp_path / "lines.parquet", tmp_path / "table.npz"
    data = ["--data", str(tmp_path / "mine.txt")]
    assert export([str(folder), *data, "--out", str(lines)]) == 0
    assert "tokens became <unk>" in capsys.readouterr().out
    found = pd.read_parquet(lines)
    assert found["text"].tolist() == SENTENCES and "label" not in found
    np.testing.assert_array_equal(found[[f"mean_{d}" for d in range(4)]], expected.mean)
    np.testing.assert_array_equal(found["kl"], expected.kl)
    data = ["--data", str(tmp_path / "mine.csv"), "--column", "review", "--label-column", "stars"]
    assert export([str(folder), *data, "--out", str(table)]) == 0
    with np.load(table) as arrays:
        assert arrays["label"].tolist() == ["0", "1", "2", "3"]
        np.testing.assert_array_equal(arrays["log_var"], expected.log_var)
        assert arrays["text"].tolist() == SENTENCES
    (tmp_path / "labelled.txt").write_text("".join(f"c{i}\t{s}\n" for i, s in enumerate(SENTENCES)))
    data, out = ["--data", str(tmp_path / "labelled.txt"), "--labels"], tmp_path / "l.parquet"
    assert export([str(folder), *data, "--out", str(out)]) == 0
    found = pd.read_parquet(out)
    assert found["label"].tolist() == ["c0", "c1", "c2", "c3"]
    np.testing.assert_array_equal(found["mean_0"], expected.mean[:, 0])


def test_split_and_images_are_exported(
    results: Path, images: FinishedRun, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "test.parquet"
    folder = folder_of(results, "vmf")
    assert export([str(folder), "--split", "test", "--out", str(out)]) == 0
    found = pd.read_parquet(out)
    assert len(found) == 32 and {"text", "topic", "kl", "mean_3"} <= {*found}
    assert "log_var_0" not in found
    x = images.opened.data.binary("test")
    np.savez(tmp_path / "x.npz", x=x, y=np.arange(32))
    words = [str(images.opened.run.folder), "--data", str(tmp_path / "x.npz")]
    assert export([*words, "--label-column", "y", "--out", str(tmp_path / "i.npz")]) == 0
    (tmp_path / "text.npy").write_text("no array")
    words[2] = str(tmp_path / "text.npy")
    assert export([*words, "--out", str(tmp_path / "other.npz")]) == 2
    assert "not a .npy or .npz file" in capsys.readouterr().err
    with np.load(tmp_path / "i.npz") as arrays:
        assert arrays["label"].tolist() == list(range(32))
        np.testing.assert_array_equal(arrays["mean"], images.encode(x).mean)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--split", "test", "--labels", "--out", "x.npz"], "a split has its own labels"),
        (["--data", "nothing.txt", "--out", "x.npz"], "no such file"),
        (["--split", "tset", "--out", "x.npz"], "did you mean test"),
        (["--split", "test", "--out", "x.csv"], "end in .parquet or .npz"),
        (["--split", "test", "--out", "nowhere/x.npz"], "there is no folder nowhere"),
        (["--split", "test", "--out", "x.npz", "--weights", "first"], "allowed are best_objective"),
    ],
)
def test_export_refuses_wrong_arguments(
    results: Path,
    tmp_path: Path,
    words: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert export([str(folder_of(results, "plain")), *words]) == 2
    assert message in capsys.readouterr().err and not any(tmp_path.iterdir())


# ---------------------------------------------------------------- documentation


def test_blocks_of_the_page_run(
    results: Path, images: FinishedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (ROOT / "docs/finished_runs.md").read_text()
    for folder, place in (
        (folder_of(results, "bn_mu"), "scratch/runs/bn_mu/default"),
        (images.opened.run.folder, "digits/runs/plain/data=digits,model=image_mlp"),
    ):
        shutil.copytree(folder, tmp_path / "results" / place / "seed=0")
    (tmp_path / "reviews.txt").write_text("we liked the soup .\n")
    (tmp_path / "reviews.csv").write_text("review,stars\nwe liked the soup .,5\n")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    for block in blocks:
        exec(compile(block, "docs/finished_runs.md", "exec"), names)
    commands = re.findall(r"^python scripts/export.py (.*)$", page, re.MULTILINE)
    assert len(blocks) == 5 and len(commands) == 3
    for command in commands:
        assert export(shlex.split(command)) == 0
    assert len(pd.read_parquet("test.parquet")) == 32
