"""Reverse perplexity: how well a language model that knows only samples predicts real sentences.

Zhao, Kim, Zhang, Rush & LeCun, "Adversarially Regularized Autoencoders", ICML 2018 (arXiv
1706.04223; they draw 100,000 sentences). Here a language model of one size for all runs, an LSTM of
128 units, is trained on 10,000 sentences decoded at random from codes of the prior. A tenth of them
is held out, and training ends once the model predicts these worse than an epoch before: no real
sentence is used. Codes, words, initial weights and batches have the same seed for every run.
"""

from copy import deepcopy

import numpy as np
import torch
from omegaconf import OmegaConf
from torch import nn

from uncollapse.data.batches import epoch_batches
from uncollapse.data.corpus import Corpus, TextBatch, join_corpora, make_batch, take_sentences
from uncollapse.errors import InputError
from uncollapse.evaluation.decoding import is_text, longest_text
from uncollapse.evaluation.language_model import log_prob_of
from uncollapse.evaluation.opened import OpenedRun, read_stored_config
from uncollapse.evaluation.settings import Settings
from uncollapse.interfaces.model import Model
from uncollapse.json_types import JsonObject
from uncollapse.metrics.one_pass import EVAL_SEED, evaluating
from uncollapse.metrics.rates import per_token
from uncollapse.models.lstm import LSTMConfig
from uncollapse.posteriors.lm import NoCode

SENTENCES_DRAWN = 10_000  # sentences; fewer if the training split has fewer
DRAWN_TOGETHER = 500
HELD_OUT = 10  # every tenth sentence
MOST_EPOCHS, LM_BATCH, LEARNING_RATE, CLIP = 20, 64, 2e-3, 5.0
LANGUAGE_MODEL = LSTMConfig(
    embedding=64,
    hidden=128,
    latent=1,  # of NoCode: always 0
    bidirectional=False,
    pool="last",
    dropout_in=0.0,
    dropout_out=0.2,
    init=None,
)
REAL_PPL: dict[tuple[str, str, int], float] = {}  # of data that several runs share


def evaluate_reverse_ppl(opened: OpenedRun, settings: Settings) -> JsonObject:
    """The `reverse_ppl` metrics. InputError for a model that draws no sentences."""
    if not is_text(opened) or not opened.model.can_generate:
        raise InputError(
            f"{opened.run.folder}: --metrics reverse_ppl trains on sentences drawn from the prior, "
            "which this model does not write"
        )
    corpora, count = opened.data.corpora, min(SENTENCES_DRAWN, opened.data.size("train"))
    real = corpora[settings.split]
    drawn = score_corpus(draw_sentences(opened, count), real, opened)
    key = (OmegaConf.to_yaml(read_stored_config(opened.run).data), settings.split, count)
    if key not in REAL_PPL:
        examples = opened.examples("train", count)
        REAL_PPL[key] = score_corpus(take_sentences(corpora["train"], examples), real, opened)[
            "ppl"
        ]
    return {
        "reverse_ppl": drawn["ppl"],
        "reverse_ppl_se": drawn["ppl_se"],
        "reverse_ppl_data": REAL_PPL[key],
        "reverse_ppl_sentences": count,
    }


def draw_sentences(opened: OpenedRun, count: int) -> Corpus:
    """Sentences decoded at random from `count` codes of the prior."""
    noise, longest = opened.noise(7), longest_text(opened)
    with evaluating(opened.model, train=False):
        codes = opened.prior_codes(count).split(DRAWN_TOGETHER)
        return join_corpora(
            [opened.model.generate(z, generator=noise, longest=longest) for z in codes]
        )


def score_corpus(training: Corpus, real: Corpus, opened: OpenedRun) -> dict[str, float]:
    """ppl and its standard error of real sentences, for a model of a training corpus."""
    lm = train_language_model(training, opened.data.inputs, opened.device)
    return per_token(-log_prob_of(lm, real), real.lengths + 1)


def train_language_model(corpus: Corpus, vocabulary: int, device: torch.device) -> Model:
    """A language model of a corpus, with the weights of the epoch that predicts HELD_OUT best."""
    held_out = np.arange(len(corpus)) % HELD_OUT == 0
    train, valid = (take_sentences(corpus, np.flatnonzero(rows)) for rows in (~held_out, held_out))
    with torch.random.fork_rng():
        torch.manual_seed(EVAL_SEED)
        lm = LANGUAGE_MODEL.build(vocabulary, NoCode).to(device)
        # its encoder is never called
        optimizer = torch.optim.Adam(lm.decoder.parameters(), lr=LEARNING_RATE)
        best, weights = -np.inf, lm.state_dict()
        for epoch in range(MOST_EPOCHS):
            for examples in epoch_batches(train.lengths, LM_BATCH, "mixed", EVAL_SEED, epoch):
                make_step(lm, optimizer, make_batch(train, examples).to(device))
            score = log_prob_of(lm, valid).mean()
            if not score > best:  # false for NaN as well
                break
            best, weights = score, deepcopy(lm.state_dict())
    lm.load_state_dict(weights)
    return lm


def make_step(lm: Model, optimizer: torch.optim.Optimizer, batch: TextBatch) -> None:
    optimizer.zero_grad()
    lm.nll(batch, batch.lengths.new_zeros(len(batch), 1, dtype=torch.float32)).mean().backward()
    nn.utils.clip_grad_norm_(lm.decoder.parameters(), CLIP)
    optimizer.step()
