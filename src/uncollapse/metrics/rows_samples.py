"""Rows of the catalogue: how good generated sentences and responses are."""

from uncollapse.metrics.metric import RESPONSES, SAMPLES, Metric

SAMPLED = "uncollapse.evaluation.samples:evaluate_samples"
ANSWERED = "uncollapse.evaluation.responses:evaluate_responses"


def sampled(name: str, meaning: str, pitfall: str = "", **more: object) -> Metric:
    """A row of stage `samples` or `responses`, in the table of samples under a short title."""
    stage, _, short = name.partition("_")
    return Metric(
        name=name,
        stage=SAMPLES if stage == "sample" else RESPONSES,
        title=short.replace("_", " "),
        function=SAMPLED if stage == "sample" else ANSWERED,
        column=None,
        meaning=meaning,
        pitfall=pitfall,
        **more,  # type: ignore[arg-type]
    )


ROWS = (
    sampled(
        "sample_count", "Sentences that were drawn from the prior.", unit="count", in_csv=False,
    ),
    sampled(
        "sample_grammatical", "Share of the sentences that are in the grammar of the data.",
        "One grammatical sentence written again and again scores 1.",
        optional=True, unit="share", digits=3, better="higher", result_line=True,
    ),
    sampled(
        "sample_oracle_ppl",
        "Perplexity of the grammatical sentences under the exact probabilities of the grammar.",
        "Low is not good in itself: repeating the most likely sentence gives less than the data.",
        optional=True, unit="perplexity", result_line=True,
    ),
    sampled(
        "sample_lm_ppl", "Perplexity of the sentences to the study's language model (head=lm).",
        "Low is not good in itself: repeating the most likely sentence gives less than the data.",
        optional=True, unit="perplexity", digits=1, result_line=True,
    ),
    sampled(
        "sample_lm_ppl_data", "Perplexity of as many test sentences to the same language model.",
        optional=True, unit="perplexity", digits=1,
    ),
    sampled(
        "sample_distinct", "Share of different sentences.",
        "It falls with the number of sentences, also for the data.",
        unit="share", digits=3, result_line=True,
    ),
    sampled(
        "sample_novel", "Share of sentences that are not in the training split, word for word.",
        "Nonsense is novel too.",
        unit="share", digits=3, result_line=True,
    ),
    sampled(
        "sample_self_bleu",
        "BLEU-4 of each sentence against the others, 0 to 100, mean over the first 200: high when "
        "samples are alike.",
        "Compare it with that of training sentences, which a faithful model reaches.",
        unit="BLEU", digits=1, result_line=True,
    ),
    sampled(
        "sample_self_bleu_data", "The same of as many training sentences.", unit="BLEU", digits=1,
    ),
    sampled("sample_words", "Mean number of words in a sentence.", unit="words", digits=1),
    sampled(
        "sample_unknown", "Whether samples could hold <unk>.", unit="flag", in_csv=False,
    ),
    sampled(
        "response_count", "Responses that were scored, one for each context.", unit="count",
        in_csv=False,
    ),
    sampled(
        "response_bleu4",
        "BLEU-4 of the most likely responses to codes of the prior against the real ones, 0 to "
        "100.",
        "A context has many good responses, and only one of them counts.",
        unit="BLEU", digits=2, better="higher", result_line=True,
    ),
    sampled(
        "response_distinct_1", "Different words / all words of the responses.",
        "It falls with the number of responses: compare it with that of the real ones.",
        unit="share", digits=4, result_line=True,
    ),
    sampled(
        "response_distinct_1_data", "The same of the real responses.", unit="share", digits=4,
    ),
    sampled(
        "response_distinct_2", "Different pairs of words / all pairs of words of the responses.",
        "It falls with the number of responses: compare it with that of the real ones.",
        unit="share", digits=3, result_line=True,
    ),
    sampled(
        "response_distinct_2_data", "The same of the real responses.", unit="share", digits=3,
    ),
    sampled(
        "response_variety", "Share of different responses among five to one context.",
        "0.2 where the code is ignored, not 0.",
        unit="share", digits=3, result_line=True,
    ),
    sampled("response_words", "Mean number of words in a response.", unit="words", digits=1),
    sampled(
        "response_words_data", "Mean number of words in a real response.", unit="words", digits=1,
    ),
    sampled(
        "response_unknown", "Whether responses could hold <unk>.", unit="flag", in_csv=False,
    ),
)  # fmt: skip
