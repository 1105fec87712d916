"""Samples: words and pixels have the model's probabilities; views, files and numbers of a run."""

import itertools
import math
import re
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import SMALL, composed, folder_of, summary
from PIL import Image
from schemas import GrammarConfig, ImageMLPConfig, ImagePixelCNNConfig, LSTMConfig
from scipy.stats import chisquare

from uncollapse import report
from uncollapse.data.corpus import BOS, EOS, PAD, SPECIALS, Corpus, make_batch
from uncollapse.data.images import ImageBatch
from uncollapse.evaluation import command as evaluate
from uncollapse.metrics.quality import format_sentences as texts
from uncollapse.metrics.quality import score_by_oracle as oracle
from uncollapse.metrics.quality import score_samples, self_bleu
from uncollapse.models.text_vae import decode_sentences
from uncollapse.posteriors.gaussian import Gaussian
from uncollapse.posteriors.vmf import AxialVMF, Directional
from uncollapse.run import run

CPU = torch.device("cpu")


def make_corpus(*sentences: list[int]) -> Corpus:
    return Corpus(
        np.array([w for s in sentences for w in s], np.int32), np.cumsum([0, *map(len, sentences)])
    )


def list_sentences(corpus: Corpus) -> list[list[int]]:
    return [corpus.tokens[a:b].tolist() for a, b in itertools.pairwise(corpus.offsets)]


# ---------------------------------------------------------------- word by word


def test_greedy_generation_stops_at_end_of_sentence() -> None:
    # the word with the highest logit; it does not depend on the words generated so far
    script = [
        [5, 6, EOS, 7],
        [4, EOS, 4, 4],
        [5, 5, 5, 5],
    ]

    def next_logits(tokens: torch.Tensor) -> torch.Tensor:
        assert (tokens[:, 0] == BOS).all()
        logits = torch.zeros(3, 8)
        logits[:, [PAD, BOS]] = 9.0  # never generated, however likely
        for row, line in enumerate(script):
            logits[row, line[tokens.shape[1] - 1]] = 5.0
        return logits

    written = decode_sentences(next_logits, 3, CPU, greedy=True, generator=None, longest=4)
    assert list_sentences(written) == [[5, 6], [4], [5, 5, 5, 5]]


def test_words_are_sampled_with_their_probabilities() -> None:
    logits = torch.tensor([0.0, 0.0, -torch.inf, 0.5, 1.0, -1.0])  # no end
    written = decode_sentences(
        lambda tokens: logits.expand(len(tokens), -1),
        4000,
        CPU,
        False,
        torch.Generator().manual_seed(0),
        1,
    )
    counts = np.bincount(written.tokens, minlength=6)
    expected = np.exp([0.5, 1.0, -1.0])
    assert (
        counts[:3].sum() == 0
        and chisquare(counts[3:], 4000 * expected / expected.sum()).pvalue > 1e-4
    )


def text_model():
    torch.manual_seed(0)
    model = LSTMConfig(embedding=4, hidden=6, latent=2).build(9, Gaussian).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)  # untrained outputs hardly depend on anything
    return model


@torch.no_grad()
def test_generated_sentences_match_nll_probabilities() -> None:
    model, sentences = (
        text_model(),
        [[4, 5, 8, 3], [7, 4, 4, 6], [8, 8, 5, 5]],
    )
    z = torch.randn(3, 2)
    next_logits, total = model.decoder.writer(z), torch.zeros(3)
    tokens = torch.tensor([[BOS, *s, EOS] for s in sentences])
    for t in range(1, tokens.shape[1]):
        total -= next_logits(tokens[:, :t]).log_softmax(1)[torch.arange(3), tokens[:, t]]
    batch = make_batch(make_corpus(*sentences), np.arange(3))
    np.testing.assert_allclose(
        model.nll(batch, z[batch.examples]), total[batch.examples], rtol=1e-5
    )


def test_generation_depends_only_on_the_seed() -> None:
    model, z = text_model(), torch.randn(6, 2)
    one, again, other = (
        model.generate(z, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert list_sentences(one) == list_sentences(again) != list_sentences(other)
    assert len(one) == 6 and list_sentences(model.generate(z, greedy=True)) == list_sentences(
        model.generate(z, greedy=True)
    )


# ---------------------------------------------------------------- pixel by pixel


@pytest.mark.parametrize(
    "config",
    [
        ImageMLPConfig(hidden=5, latent=2),
        ImagePixelCNNConfig(latent=2, hidden=5, channels=4, layers=2, kernel=3, z_channels=2),
    ],
)
@torch.no_grad()
def test_images_are_sampled_with_model_probabilities(config) -> None:
    torch.manual_seed(0)
    model = config.build(4, Gaussian).eval()
    for parameter in model.parameters():
        parameter.mul_(3)
    z = torch.randn(1, 2)
    everything = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4)))
    chance = (
        torch.exp(-model.nll(ImageBatch(everything, np.arange(16)), z.expand(16, 2)))
        .double()
        .numpy()
    )
    drawn = model.generate(z.expand(4000, 2), generator=torch.Generator().manual_seed(0))
    counts = np.bincount((drawn @ torch.tensor([8.0, 4.0, 2.0, 1.0])).long().numpy(), minlength=16)
    assert chisquare(counts, 4000 * chance / chance.sum()).pvalue > 1e-4
    most_likely = model.generate(z, greedy=True)
    assert set(most_likely.unique().tolist()) <= {0.0, 1.0}
    pixel = most_likely.clone()  # the last one is the likelier of the two, given the others
    pixel[:, -1] = 1 - pixel[:, -1]
    one, other = (model.nll(ImageBatch(x, np.arange(1)), z) for x in (most_likely, pixel))
    assert one <= other


# ---------------------------------------------------------------- numbers


def test_sample_quality_by_hand() -> None:
    vocabulary = [*SPECIALS, "a", "b", "c"]
    drawn, training = make_corpus([4, 5], [4, 5], [6], [5, 4, 6]), make_corpus([4, 5], [5])
    found = score_samples(drawn, training, vocabulary)
    assert found["sample_count"] == 4 and found["sample_words"] == 2
    assert found["sample_distinct"] == 3 / 4 and found["sample_novel"] == 2 / 4
    assert texts(drawn, vocabulary) == ["a b", "a b", "c", "b a c"]
    assert "sample_grammatical" not in found
    nothing = score_samples(
        make_corpus([], []), training, vocabulary
    )  # a collapsed or broken model may write empty sentences
    assert nothing["sample_words"] == 0 and nothing["sample_distinct"] == 1 / 2


def test_self_bleu_separates_copies_from_different_sentences() -> None:
    assert self_bleu(["a b c d e"] * 3) == pytest.approx(100)
    strangers = ["a b c d e", "f g h i j", "k l m n o"]
    assert self_bleu(strangers) < 15 < 60 < self_bleu([*["a b c d e"] * 9, "a b c d f"])
    assert self_bleu(["a b"]) is None


@pytest.mark.slow
def test_grammar_sentences_are_grammatical_with_entropy_perplexity() -> None:
    data = GrammarConfig(train=3000, valid=10, test=10).load()
    found = score_samples(
        data.corpora["train"], data.corpora["valid"], data.vocabulary, data.exact_log_prob
    )
    tokens = found["sample_words"] + 1
    assert found["sample_grammatical"] == 1
    assert found["sample_oracle_ppl"] == pytest.approx(math.exp(data.entropy / tokens), rel=0.02)
    reversed_words = Corpus(data.corpora["test"].tokens[::-1].copy(), data.corpora["test"].offsets)
    assert (
        score_samples(reversed_words, data.corpora["train"], data.vocabulary, data.exact_log_prob)[
            "sample_grammatical"
        ]
        == 0
    )
    assert oracle(np.array([-np.inf]), np.array([3])) == {
        "sample_grammatical": 0.0,
        "sample_oracle_ppl": None,
    }


def test_points_off_the_sphere_are_projected() -> None:
    q = Directional(torch.nn.functional.normalize(torch.randn(3, 4)), AxialVMF(4, 13.0))
    moved = q.project(q.mean)
    np.testing.assert_allclose(moved.norm(dim=-1), np.ones(3), rtol=1e-6)
    np.testing.assert_allclose(moved, q.mu, rtol=1e-5)


# ---------------------------------------------------------------- runs


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("head", ["vmf"])  # its codes lie on a sphere and must be projected
@pytest.mark.slow
def test_samples_of_a_text_run_are_written_and_reported(head: str, tmp_path: Path) -> None:
    words = [*SMALL, "trainer.epochs=1"]
    run(composed(f"head={head}", f"results={tmp_path}", *words), head, words)
    folder = folder_of(tmp_path, head)
    assert evaluate.main([str(folder), "--metrics", "samples"]) == 0
    views = {
        path.stem: path.read_text().splitlines() for path in (folder / "samples").glob("*.txt")
    }
    assert set(views) == {
        "prior",
        "reconstructions",
        "interpolations",
        "neighbours",
        "traversal",
        "drawn",
    }
    assert len(views["drawn"]) == summary(folder)["sample_count"] == 1000
    for name, lines in views.items():
        widths = {line.count("\t") for line in lines}
        assert len(widths) == 1 and all(
            line.isprintable() for line in "".join(lines).split("\t")
        ), name
    assert [line.split("\t")[1] for line in views["prior"][1:]] == views["drawn"][
        :12
    ]  # the sentences shown are among those counted
    assert_originals(folder)
    assert report.main([str(folder.parents[3])]) == 0
    page = (folder.parents[3] / "report" / "index.html").read_text()
    assert (
        '<h2 id="samples">Samples</h2>' in page
        and "Nearest in train" not in page
        and "1. nearest in train" in page
    )
    assert (folder.parents[3] / "report" / "tables" / "samples.csv").exists()


def assert_originals(folder: Path) -> None:
    """The originals of a text view are the data's own."""
    data = GrammarConfig(train=96, valid=32, test=32).load()
    known = {split: set(texts(data.corpora[split], data.vocabulary)) for split in ("train", "test")}
    for line in (folder / "samples" / "neighbours.txt").read_text().splitlines()[1:]:
        _, source, *near = line.split("\t")
        assert source in known["test"] and set(near) <= known["train"] and len(set(near)) == 3
    for line in (folder / "samples" / "reconstructions.txt").read_text().splitlines()[1:]:
        assert line.split("\t")[1] in known["test"]


@pytest.mark.usefixtures("no_figures")
def test_image_run_writes_grids_and_report_shows_them(tmp_path: Path) -> None:
    words = [
        "data=digits",
        "data.train=100",
        "data.valid=20",
        "data.test=20",
        "model=image_pixelcnn",
        "model.channels=4",
    ]
    words += ["model.layers=2", "model.latent=3", "model.hidden=8", "trainer.epochs=1"]
    run(composed("head=bn_mu", f"results={tmp_path}", *words), "bn_mu", words)
    folder = folder_of(tmp_path, "bn_mu")
    assert evaluate.main([str(folder), "--metrics", "samples"]) == 0
    side = 8 * 7 + 4  # enlarged seven times, with frames
    shapes = {
        path.stem: Image.open(BytesIO(path.read_bytes())).size
        for path in (folder / "samples").glob("*.png")
    }
    assert shapes == {
        "prior": (2 * side, 12 * side),
        "reconstructions": (3 * side, 12 * side),
        "interpolations": (9 * side, 4 * side),
        "neighbours": (4 * side, 12 * side),
        "traversal": (5 * side, 3 * side),
    }
    assert report.main([str(folder.parents[3])]) == 0
    made = folder.parents[3] / "report"
    assert (made / "samples" / "0-traversal.png").exists()
    page = (made / "index.html").read_text()
    assert re.search(r'src="data:image/png;base64,[^"]+" alt="Traversal"', page)


def test_sampling_vectors_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = [
        "data=gaussian",
        "data.train=40",
        "data.valid=20",
        "data.test=20",
        "model=linear",
        "trainer.epochs=1",
    ]
    run(composed("head=plain", f"results={tmp_path}", *words), "plain", words)
    assert evaluate.main([str(folder_of(tmp_path, "plain")), "--metrics", "samples"]) == 2
    assert "samples are for models that generate examples" in capsys.readouterr().err


@pytest.mark.usefixtures("no_figures")
def test_study_language_model_scores_samples(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rng = np.random.default_rng(0)
    for split in ("train", "valid", "test"):
        text = [" ".join(rng.choice(list("abcde"), rng.integers(1, 6))) for _ in range(60)]
        (tmp_path / f"{split}.txt").write_text("\n".join(text) + "\n")
    # also pairs an odd number of test sentences
    sizes = [
        "data.test_size=7",
        "model.hidden=12",
        "trainer.epochs=2",
    ]
    words = [f"data.dir={tmp_path}", "data=text", f"data.cache={tmp_path}/cache", *sizes]
    folders = {}
    for head in ("plain", "lm"):
        cfg = composed(f"head={head}", f"results={tmp_path}", *words)
        run(cfg, head, words)
        folders[head] = folder_of(tmp_path, head)
        if head == "plain":
            assert evaluate.main([str(folders[head]), "--metrics", "samples"]) == 0
            assert (
                "no finished run of head=lm on these data in the study" in capsys.readouterr().out
            )
            assert "sample_lm_ppl" not in summary(folders[head])
            (folders[head] / "evaluations" / "test-samples.json").unlink()
    assert (
        evaluate.main([str(tmp_path / "scratch"), "--metrics", "samples,nll", "--samples", "2"])
        == 0
    )
    found, judge = summary(folders["plain"]), summary(folders["lm"])
    # all 7 real test sentences: their perplexity under the language model is known from its own
    # evaluation
    assert found["sample_lm_ppl_data"] == pytest.approx(judge["nll_ppl"], rel=1e-4)
    assert found["sample_lm_ppl"] > 1 and found["sample_lm_ppl_data"] == judge["sample_lm_ppl_data"]
    assert report.main([str(tmp_path / "scratch")]) == 0
    assert "lm ppl data" in (tmp_path / "scratch" / "report" / "index.html").read_text()
