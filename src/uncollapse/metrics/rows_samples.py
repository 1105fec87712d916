"""Rows of the catalogue: the quality of generated sentences and responses."""

from uncollapse.metrics.metric import RESPONSES, SAMPLES, Metric

SAMPLED = "uncollapse.evaluation.samples:evaluate_samples"
ANSWERED = "uncollapse.evaluation.responses:evaluate_responses"


def sampled(name: str, meaning: str, pitfall: str = "", **more: object) -> Metric:
    """A row of stage `samples` or `responses`; its title is the name without `sample_` or
    `response_`."""
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


SAMPLE_ROWS = (
    sampled(
        "sample_count", "Number of sentences drawn from the prior.", unit="count", in_csv=False,
    ),
    sampled(
        "sample_grammatical", "Share of sentences that belong to the grammar of the data.",
        "A model that repeats one grammatical sentence scores 1.",
        optional=True, unit="share", digits=3, better="higher", result_line=True,
    ),
    sampled(
        "sample_oracle_ppl",
        "Perplexity of the grammatical sentences under the exact probabilities of the grammar.",
        "Lower is not better: a model that repeats the most likely sentence is below the data.",
        optional=True, unit="perplexity", result_line=True,
    ),
    sampled(
        "sample_lm_ppl", "Perplexity of the sentences under the study's language model (head=lm).",
        "Lower is not better: a model that repeats the most likely sentence is below the data.",
        optional=True, unit="perplexity", digits=1, result_line=True,
    ),
    sampled(
        "sample_lm_ppl_data", "Perplexity of as many test sentences under the same language model.",
        optional=True, unit="perplexity", digits=1,
    ),
    sampled(
        "sample_distinct", "Number of distinct sentences / number of sentences.",
        "It falls as the number of sentences grows, for the data as well.",
        unit="share", digits=3, result_line=True,
    ),
    sampled(
        "sample_novel", "Share of sentences that do not occur verbatim in the training split.",
        "Nonsense is novel too.",
        unit="share", digits=3, result_line=True,
    ),
    sampled(
        "sample_self_bleu",
        "BLEU-4 of each sentence against the others, 0 to 100, averaged over the first 200: high "
        "when samples resemble each other.",
        "Compare it with the value for training sentences, which a faithful model reaches.",
        unit="BLEU", digits=1, result_line=True,
    ),
    sampled(
        "sample_self_bleu_data", "Self-BLEU of as many training sentences.", unit="BLEU", digits=1,
    ),
    sampled("sample_words", "Mean number of words per sentence.", unit="words", digits=1),
    sampled(
        "sample_unknown", "Whether samples may contain <unk>.", unit="flag", in_csv=False,
    ),
    sampled(
        "response_count", "Number of scored responses, one per context.", unit="count",
        in_csv=False,
    ),
    sampled(
        "response_bleu4",
        "BLEU-4, 0 to 100, of greedily decoded responses against the real ones, with codes drawn "
        "from the prior.",
        "A context has many good responses, and only one of them is the reference.",
        unit="BLEU", digits=2, better="higher", result_line=True,
    ),
    sampled(
        "response_distinct_1", "Distinct words / all words of the responses.",
        "It falls as the number of words grows: compare it with that of the real responses.",
        unit="share", digits=4, result_line=True,
    ),
    sampled(
        "response_distinct_1_data", "Distinct words / all words of the real responses.",
        unit="share", digits=4,
    ),
    sampled(
        "response_distinct_2", "Distinct bigrams / all bigrams of the responses.",
        "It falls as the number of words grows: compare it with that of the real responses.",
        unit="share", digits=3, result_line=True,
    ),
    sampled(
        "response_distinct_2_data", "Distinct bigrams / all bigrams of the real responses.",
        unit="share", digits=3,
    ),
    sampled(
        "response_variety", "Share of distinct responses among five to the same context.",
        "Its minimum, reached when the decoder ignores the code, is 0.2 and not 0.",
        unit="share", digits=3, result_line=True,
    ),
    sampled("response_words", "Mean number of words per response.", unit="words", digits=1),
    sampled(
        "response_words_data", "Mean number of words per real response.", unit="words", digits=1,
    ),
    sampled(
        "response_unknown", "Whether responses may contain <unk>.", unit="flag", in_csv=False,
    ),
)  # fmt: skip
