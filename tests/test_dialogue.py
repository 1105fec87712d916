"""Dialogues: responses and contexts, the conditional VAE with both priors, and response metrics."""

import bz2
import json
import lzma
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from conftest import composed, folder_of, summary
from schemas import DialogueConfig
from torch.distributions import Independent, Normal, kl_divergence

from uncollapse import report
from uncollapse.building import prepare
from uncollapse.config import heads
from uncollapse.data.corpus import EOS
from uncollapse.data.sets import main as prepare_main
from uncollapse.data.text import SPLITS
from uncollapse.errors import InputError
from uncollapse.evaluation import command as evaluate
from uncollapse.metrics.likelihood import log_weights
from uncollapse.metrics.quality import score_responses as responses
from uncollapse.metrics.quality import share_of_distinct as distinct
from uncollapse.models.lstm_conditional import LearnedPriorHead
from uncollapse.run import run

pytestmark = pytest.mark.usefixtures("quick_figures")

WORDS = [
    "yes",
    "no",
    "maybe",
    "where",
    "when",
    "why",
    "the",
    "dog",
    "cat",
    "sat",
    "ran",
    "home",
    "today",
]
ACTS = ("inform", "question")


def dialogues(count: int, seed: int) -> list[list[dict]]:
    """Random dialogues of 2 to 5 turns of 1 to 6 words."""
    rng = np.random.default_rng(seed)
    return [
        [
            {"text": " ".join(rng.choice(WORDS, rng.integers(1, 7))), "act": str(rng.choice(ACTS))}
            for _ in range(rng.integers(2, 6))
        ]
        for _ in range(count)
    ]


def write_dialogues(folder: Path, count: int = 60, **changed: list[list[dict]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, split in enumerate(SPLITS):
        lines = [
            json.dumps({"turns": turns}) + "\n"
            for turns in changed.get(split) or dialogues(count, seed)
        ]
        with lzma.open(folder / f"{split}.jsonl.xz", "wt") as file:
            file.writelines(lines)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_dialogues(tmp_path_factory.mktemp("dialogues"))


def words(folder: Path, *more: str) -> list[str]:
    sizes = ("model.embedding=8", "model.hidden=12", "model.latent=4", "data.batch_size=16")
    return [f"data.dir={folder}", "data=dailydialog", "model=lstm_conditional", *sizes, *more]


def build_components(folder: Path, head: str, *more: str):
    return prepare(composed(f"head={head}", *words(folder, *more)), head)


def decode_response(data, corpus, i: int) -> str:
    return " ".join(
        data.vocabulary[t] for t in corpus.tokens[corpus.offsets[i] : corpus.offsets[i + 1]]
    )


# ---------------------------------------------------------------- the data


def turns(*texts: str) -> list[dict]:
    return [{"text": text, "act": "inform"} for text in texts]


@pytest.fixture
def three_dialogues(tmp_path):
    return write_dialogues(
        tmp_path,
        train=[
            turns("Where is it?", "Here.", "", "No, there!"),
            turns("Why?"),
            turns("Yes", "No no no"),
        ],
    )


def test_every_turn_after_the_first_is_a_response(three_dialogues):
    data = DialogueConfig(dir=str(three_dialogues)).load()
    pairs = [
        (
            decode_response(data, data.contexts["train"], i),
            decode_response(data, data.corpora["train"], i),
        )
        for i in range(3)
    ]
    end = data.vocabulary[EOS]
    assert pairs == [
        ("where is it ?", "here ."),
        (f"where is it ? {end} here . {end}", "no , there !"),
        ("yes", "no no no"),
    ]
    assert data.facts()["skipped"]["train"] == {"empty": 1, "too_long": 0}


def test_contexts_are_limited_in_turns_and_words(three_dialogues):
    data = DialogueConfig(dir=str(three_dialogues), turns=1, max_length=2).load()
    assert [decode_response(data, data.contexts["train"], i) for i in range(1)] == ["where is it ?"]
    assert data.size("train") == 1 and data.skipped["train"] == {"empty": 1, "too_long": 2}
    data = DialogueConfig(dir=str(three_dialogues), context_words=2).load()
    assert [decode_response(data, data.contexts["train"], i) for i in (0, 2)] == ["it ?", "yes"]


def test_batch_keeps_response_and_context_together(folder):
    data = DialogueConfig(dir=str(folder)).load()
    batch = data.batch("train", np.array([5, 3, 40, 7, 1]))
    assert sorted(batch.examples) == [1, 3, 5, 7, 40]
    for row, example in enumerate(batch.examples):
        tokens = batch.context.tokens[batch.place[row]].tolist()
        corpus = data.contexts["train"]
        expected = corpus.tokens[corpus.offsets[example] : corpus.offsets[example + 1]].tolist()
        assert tokens[: len(expected) + 1] == [*expected, EOS]
    assert torch.equal(batch.to(torch.device("cpu")).place, batch.place)


def test_labels_belong_to_responses(folder):
    data = DialogueConfig(dir=str(folder), train_size=30).load()
    assert data.size("train") == 30 and data.classes == {"act": ACTS}
    first = [turn["act"] for one in dialogues(60, 1) for turn in one[1:]]
    assert [ACTS[i] for i in data.labels["valid"]["act"]] == first


def hub_rows(split: str) -> dict:
    found = dialogues(6, SPLITS.index(split))
    return {
        "dialog": [[turn["text"] for turn in one] for one in found],
        "act": [[1 + ACTS.index(turn["act"]) for turn in one] for one in found],
        "emotion": [[0 for _ in one] for one in found],
    }


def put_hub(folder: Path) -> Path:
    """Parquet files with the hub set's columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    for split in SPLITS:
        pq.write_table(
            pa.table(hub_rows(split)),
            folder / f"{'validation' if split == 'valid' else split}.parquet",
        )
    return folder


def test_hub_schema_and_prepared_files_give_same_data(tmp_path, capsys):
    hub, out = put_hub(tmp_path / "hub"), tmp_path / "out"
    assert prepare_main(["dailydialog", "--out", str(out), f"data.hub={hub}"]) == 0
    assert capsys.readouterr().out.endswith(
        f"data=dailydialog data.dir={out} model=lstm_conditional\n"
    )
    direct, made = DialogueConfig(hub=str(hub)).load(), DialogueConfig(dir=str(out)).load()
    assert direct.vocabulary == made.vocabulary and direct.classes == made.classes == {
        "act": ("1", "2"),
        "emotion": ("0",),
    }
    for split in SPLITS:
        for one, other in ((direct.corpora, made.corpora), (direct.contexts, made.contexts)):
            assert np.array_equal(one[split].tokens, other[split].tokens)
            assert np.array_equal(one[split].offsets, other[split].offsets)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"not json\n", "not one JSON object a line"),
        (b'{"text": "a"}\n', "no `turns` in its lines, which have text"),
        (b'{"turns": ["a", "b"]}\n', "needed is a list of objects with a `text` each"),
        (
            b'{"turns": [{"text": "a", "act": "x"}, {"text": "b"}]}\n',
            "line 1: a turn without `act`",
        ),
        (
            b'{"turns": [{"text": "a"}]}\n{"turns": [{"text": "\xe9"}]}\n',
            "line 2: not UTF-8 (byte 0xe9)",
        ),
        (b'{"turns": [{"text": "a"}]}\n', "no response is left in the valid split"),
    ],
)
def test_bad_files_are_refused_in_one_sentence(tmp_path, content, reason):
    write_dialogues(tmp_path)
    (tmp_path / "valid.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=r"^[^\n]+$") as caught:
        DialogueConfig(dir=str(tmp_path)).load()
    assert reason in str(caught.value)


def test_missing_files_error_names_place_and_command(tmp_path):
    with pytest.raises(
        InputError,
        match=r"no such folder; `uncollapse prepare dailydialog --out /nowhere`",
    ):
        DialogueConfig(dir="/nowhere").load()
    with pytest.raises(
        InputError, match=r"no file for the train split; looked for train.jsonl, plain or .gz"
    ):
        DialogueConfig(dir=str(tmp_path)).load()
    write_dialogues(tmp_path)
    (tmp_path / "test.jsonl.xz").write_bytes((tmp_path / "test.jsonl.xz").read_bytes()[:50])
    with pytest.raises(InputError, match=r"damaged or truncated .xz file"):
        DialogueConfig(dir=str(tmp_path)).load()


# ---------------------------------------------------------------- the model


def gaussians(parts):
    """A batch, and q(z|x, c) and p(z|c) of a model with a learned prior as torch distributions."""
    model, batch = parts.model.eval(), parts.data.batch("valid", np.arange(9))
    followed = model.posterior
    assert isinstance(followed, LearnedPriorHead)
    context = model.context_state(batch)
    q = followed.head(torch.cat([model.encoder(batch), context], 1))
    mean, log_var = followed.prior_of(context)
    normal = lambda m, s: Independent(Normal(m, s.abs()), 1)  # noqa: E731
    return model, batch, normal(q.mean, q.std), normal(mean, torch.exp(0.5 * log_var))


@pytest.mark.parametrize("head", ["plain", "bn_tau"])
@torch.no_grad()
def test_learned_prior_matches_torch_kl_and_importance_weights(folder, head):
    parts = build_components(folder, head)
    torch.nn.init.normal_(parts.model.posterior.prior.weight)  # a prior that is far from N(0, I)
    model, batch, q, p = gaussians(parts)
    found = model.encode(batch)
    assert torch.allclose(found.kl.sum(1), kl_divergence(q, p), rtol=1e-4, atol=1e-4)
    z = q.sample((3,))
    u = (z - p.mean) / p.stddev
    assert torch.allclose(found.log_ratio(u), q.log_prob(z) - p.log_prob(z), rtol=1e-4, atol=1e-3)
    plain = model.decoder(batch, torch.cat([z, model.context_state(batch).expand(3, -1, -1)], -1))
    assert torch.allclose(model.nll(batch, u), plain, rtol=1e-4)


@torch.no_grad()
def test_elbo_is_at_most_importance_weighted_bound(folder):
    parts = build_components(folder, "plain")
    batch = parts.data.batch("valid", np.arange(30))
    q = parts.model.eval().encode(batch)
    weights = log_weights(
        lambda z: parts.model.nll(batch, z), q, 300, torch.Generator().manual_seed(0)
    )
    assert (weights.mean(0) <= torch.logsumexp(weights, 0) - np.log(300)).all()


@torch.no_grad()
def test_decoder_reads_only_its_own_context(folder):
    parts = build_components(folder, "plain", "model.prior=held")
    model, data = parts.model.eval(), parts.data
    batch = data.batch("valid", np.arange(8))
    z = torch.zeros(8, 4)
    before = model.nll(batch, z)
    alone = torch.cat(
        [model.nll(data.batch("valid", np.array([i])), z[:1]) for i in batch.examples]
    )
    assert torch.allclose(before, alone, rtol=1e-4)
    moved = type(batch)(**{**vars(batch), "place": batch.place.roll(1)})
    assert (model.nll(moved, z) - before).abs().max() > 1e-4


FEW = (
    "plain",
    "bn_tau",
    "vmf",
    "iaf",
    "free_bits",
    "control",
    "bow",
    "lipschitz",
    "semi_amortized",
)


@pytest.mark.parametrize(
    "head", [pytest.param(h, marks=() if h in FEW else pytest.mark.slow) for h in heads()]
)
def test_every_head_works_with_fixed_prior(folder, head):
    short = {"ae_pretrain": ["pretrain_epochs=1"]}.get(head, [])
    parts = build_components(folder, head, "model.prior=held", "trainer.epochs=3", *short)
    batch = parts.data.batch("train", np.arange(16))
    q = parts.model.train().encode(batch)
    loss = parts.objective(parts.model.nll(batch, q.sample()), q, q.sample(), 1.5, batch)
    loss.total.backward()
    grown = [p for part in parts.model.parts().values() for p in part if p.grad is not None]
    assert grown and all(p.grad.isfinite().all() for p in grown)
    listed = {id(p) for part in parts.model.parts().values() for p in part}
    assert listed == {id(p) for p in parts.model.parameters()}


def test_floor_is_promised_only_with_fixed_prior(folder):
    held, learned = (
        build_components(folder, "bn_mu", f"model.prior={prior}").model
        for prior in ("held", "learned")
    )
    assert held.posterior.floor() > 0 and learned.posterior.floor() is None
    assert all(
        torch.equal(a, b)
        for (name, a), b in zip(
            held.encoder.named_parameters(), learned.encoder.parameters(), strict=True
        )
    )
    listed = {id(p) for part in learned.parts().values() for p in part}
    assert listed == {id(p) for p in learned.parameters()}


@pytest.mark.parametrize("head", ["vmf", "vamp", "mog", "iaf", "delta_ar1"])
def test_non_gaussian_heads_are_refused_with_learned_prior(folder, head):
    with pytest.raises(
        InputError,
        match=r"^model.prior=learned: \w+ has a prior .* allowed with it is model.prior=held$",
    ):
        build_components(folder, head)


@pytest.mark.parametrize("prior", ["held", "learned"])
def test_default_sizes_suit_lipschitz_heads(tmp_path, prior):
    """lipschitz wants as many words as the decoder reads numbers: code and context."""
    words = [*WORDS, *(f"w{n}" for n in range(137))]
    write_dialogues(
        tmp_path, train=[turns(" ".join(words[i : i + 30]), "yes") for i in range(0, 150, 30)]
    )
    named = [
        "data=dailydialog",
        f"data.dir={tmp_path}",
        "model=lstm_conditional",
        f"model.prior={prior}",
        "data.batch_size=2",
    ]
    model = prepare(composed("head=lipschitz", *named), "lipschitz").model
    assert model.decoder.output.frame.shape[1] == 16 + 128


def test_semi_amortised_codes_are_refined_under_both_priors(folder):
    for prior in ("held", "learned"):
        parts = build_components(folder, "semi_amortized", f"model.prior={prior}", "svi_steps=8")
        batch = parts.data.batch("valid", np.arange(20))
        q = parts.model.eval().encode(batch)
        refined = parts.procedure.infer(parts.model, batch, torch.Generator().manual_seed(0))
        with torch.no_grad():
            bound = [
                float(
                    (
                        parts.model.nll(
                            batch, one.sample(64, torch.Generator().manual_seed(1))
                        ).mean(0)
                        + one.kl.sum(1)
                    ).mean()
                )
                for one in (q, refined)
            ]
        assert bound[1] < bound[0]


def test_invalid_dialogue_settings_are_refused(folder):
    with pytest.raises(InputError, match=r"^model.prior=fixed: allowed are learned, held$"):
        build_components(folder, "plain", "model.prior=fixed")
    with pytest.raises(InputError, match=r"takes text, and .* gives dialogue"):
        prepare(composed("head=plain", "data=dailydialog", f"data.dir={folder}"), "plain")


# ---------------------------------------------------------------- a run


def test_learned_prior_removes_floor_and_fixed_prior_keeps_it(folder, tmp_path):
    """Batch norm spreads mu, which gives a floor only if the prior cannot follow."""
    kl = {}
    for prior in ("held", "learned"):
        asked = words(
            folder,
            f"model.prior={prior}",
            "trainer.epochs=25",
            "trainer.lr=1e-2",
            "trainer.eval_every=1000",
        )
        cfg = composed("head=bn_mu", *asked)
        cfg.results = str(tmp_path / prior)
        run(cfg, "bn_mu", asked)
        kl[prior] = summary(folder_of(tmp_path / prior, "bn_mu"))["train_mode"]["kl"]
    floor = build_components(folder, "bn_mu", "model.prior=held").model.posterior.floor()
    assert kl["held"] >= floor * (1 - 1e-3) and kl["learned"] < 0.9 * floor


# ---------------------------------------------------------------- responses


def test_distinct_and_bleu_by_hand():
    assert distinct(["a b a", "a b"], 1) == 2 / 5 and distinct(["a b a", "a b"], 2) == 2 / 3
    assert distinct(["a"], 2) is None
    real = ["the cat sat on the mat", "a dog ran home today too"]
    others = [["a", "a", "b", "a"], ["a", "b", "c", "d"]]
    found = responses(real, real, others)
    assert (
        found["response_bleu4"] == pytest.approx(100)
        and found["response_variety"] == (2 / 4 + 1) / 2
    )
    # 11 of 12 words match, 9 of 10 pairs, 7 of 8 triples, 5 of 6 fours; no brevity penalty
    one_off = [real[0], "a dog ran home today now"]
    expected = 100 * (11 / 12 * 9 / 10 * 7 / 8 * 5 / 6) ** 0.25
    assert responses(one_off, real, others)["response_bleu4"] == pytest.approx(expected)
    assert found["response_words"] == found["response_words_data"] == 6


def test_unknown_words_match_nothing_in_bleu(recwarn):
    same = ["<unk> <unk> <unk> <unk> <unk> ."] * 150
    assert responses(same, same, [["a"]])["response_bleu4"] < 20 and not recwarn.list


def test_responses_are_generated_measured_and_reported(folder, tmp_path):
    asked = words(folder, "trainer.epochs=2")
    cfg = composed("head=bow", *asked)
    cfg.results, cfg.study = str(tmp_path), "s"
    run(cfg, "bow", asked)
    path = folder_of(tmp_path, "bow", "s")
    assert (
        evaluate.main(
            [
                str(tmp_path / "s"),
                "--samples",
                "5",
                "--metrics",
                "nll,probe,samples,reconstruction",
                "--labels",
                "20,60",
            ]
        )
        == 0
    )
    found = summary(path)
    assert found["nll"] > 0 and found["probe_labels"] == 60 and 0 < found["response_variety"] <= 1
    assert found["reconstruction_examples"] == found["examples"]
    assert 0 <= found["reconstruction_accuracy"] <= 1 and found["reconstruction_bleu"] >= 0
    assert found["response_count"] == len(
        (path / "samples" / "answers.txt").read_text().splitlines()
    )
    lines = [
        line.split("\t") for line in (path / "samples" / "responses.txt").read_text().splitlines()
    ]
    assert lines[0][1:3] == ["context", "test"] and all(
        len(line) == len(lines[0]) for line in lines
    )
    pairs = {
        (one[i - 1]["text"], one[i]["text"]) for one in dialogues(60, 2) for i in range(1, len(one))
    }
    assert all((line[1].split(" <eos> ")[-1], line[2]) in pairs for line in lines[1:])
    assert report.main([str(tmp_path / "s")]) == 0
    page = (tmp_path / "s" / "report" / "index.html").read_text()
    assert "Responses" in page and "bleu4" in page and lines[1][2] in page


# ---------------------------------------------------------------- unknown words and bad input


def test_run_records_unknown_share_and_size_of_responses(folder):
    data = DialogueConfig(dir=str(folder)).load()
    assert data.facts()["unknown"] == dict.fromkeys(SPLITS, 0.0) and data.facts()["level"] == "word"
    texts = data.texts(data.corpora["valid"])
    assert data.corpora["valid"].chars.tolist() == [len(text) for text in texts]
    batch = data.batch("valid", np.array([4, 1]))
    assert batch.chars.tolist() == [len(texts[i]) for i in batch.examples]


def test_responses_of_only_unknown_words_are_refused(tmp_path):
    strange = [
        [{"text": "yes", "act": "inform"}, {"text": f"x{n} y{n}", "act": "question"}]
        for n in range(5)
    ]
    write_dialogues(tmp_path, test=strange)
    with pytest.raises(InputError, match=r"^data.test: 100 % of its words are <unk>"):
        DialogueConfig(dir=str(tmp_path)).load()


@pytest.mark.parametrize("text", [5, ["a"], {"en": "a"}, "2020-01-01"])
def test_non_string_turns_are_refused(tmp_path, text):
    write_dialogues(tmp_path, train=[[{"text": text, "act": "inform"}] * 2])
    with pytest.raises(InputError, match=r"train.jsonl.xz: the `text` of turns holds "):
        DialogueConfig(dir=str(tmp_path)).load()


@pytest.mark.parametrize(
    "pack", [bz2.compress, lambda data: pa.compress(data, "zstd", asbytes=True), bytes]
)
def test_dialogues_can_be_compressed_in_any_format(tmp_path, pack):
    write_dialogues(tmp_path)
    for split in SPLITS:
        path = tmp_path / f"{split}.jsonl.xz"
        path.write_bytes(pack(lzma.decompress(path.read_bytes())))
    assert len(DialogueConfig(dir=str(tmp_path)).load().corpora["test"]) > 50
    (tmp_path / "test.jsonl.xz").write_bytes(b"%PDF-1.4\n")
    with pytest.raises(InputError, match="this is a PDF"):
        DialogueConfig(dir=str(tmp_path)).load()
