"""Rows of the catalogue: sentences rebuilt from their codes, and reverse perplexity."""

from uncollapse.metrics.metric import RECONSTRUCTION, REVERSE_PPL, Beside, Metric

REBUILT = "uncollapse.evaluation.reconstruction:evaluate_reconstruction"
REVERSED = "uncollapse.evaluation.reverse_ppl:evaluate_reverse_ppl"

TEXT_ROWS = (
    Metric(
        name="reconstruction_accuracy", title="reconstruction accuracy", stage=RECONSTRUCTION,
        function=REBUILT, error="disk", unit="share", digits=3, better="higher", result_line=True,
        column=95, in_text=False,
        meaning="Share of tokens, the ends of sentences included, that the greedily decoded "
        "posterior mean has at the same position.",
        pitfall="One missing word makes all later positions wrong; reconstruction_bleu does not "
        "depend on positions. A model without a code is above 0: frequent words in frequent places "
        "are right by chance. A code that carries much is rebuilt well even if the model of the "
        "data is bad, as that of head=ae.",
    ),
    Metric(
        name="reconstruction_exact", title="exact reconstructions", stage=RECONSTRUCTION,
        function=REBUILT, error="disk", unit="share", digits=3, better="higher", result_line=True,
        column=None,
        meaning="Share of sentences that the greedily decoded posterior mean repeats word by word.",
        pitfall="It falls with the length of sentences: compare it on the same data only.",
    ),
    Metric(
        name="reconstruction_bleu", title="reconstruction BLEU", stage=RECONSTRUCTION,
        function=REBUILT, unit="BLEU", digits=1, better="higher", result_line=True, column=96,
        in_text=False,
        meaning="Corpus BLEU-4, 0 to 100, of the greedily decoded posterior means against the "
        "sentences themselves (Papineni et al. 2002; sacrebleu's exponential smoothing).",
        pitfall="It depends on the tokens, and <unk> counts as a word: compare it at the same "
        "vocabulary only.",
    ),
    Metric(
        name="reconstruction_examples", stage=RECONSTRUCTION, function=REBUILT, unit="count",
        column=None, in_csv=False, size_rank=4,
        meaning="Number of sentences that were rebuilt.",
    ),
    Metric(
        name="reverse_ppl", title="reverse ppl", stage=REVERSE_PPL, function=REVERSED,
        error="disk", unit="perplexity", better="lower", result_line=True,
        beside=(Beside("of real sentences", "reverse_ppl_data"),), column=97, in_text=False,
        meaning="Perplexity of real sentences under a language model trained on sentences drawn "
        "from the model's prior (Zhao et al. 2018): high if they are unlike real ones, or miss "
        "some of them.",
        pitfall="It includes what the language model cannot learn: compare it with "
        "reverse_ppl_data, and at the same number of sentences only.",
    ),
    Metric(
        name="reverse_ppl_data", title="reverse ppl data", stage=REVERSE_PPL, function=REVERSED,
        unit="perplexity", better="lower", column=None,
        meaning="The same for a language model trained on as many training sentences: the value "
        "of a perfect model of the data.",
    ),
    Metric(
        name="reverse_ppl_sentences", stage=REVERSE_PPL, function=REVERSED, unit="count",
        column=None, in_csv=False,
        meaning="Number of sentences that each language model of reverse_ppl was trained on.",
    ),
)  # fmt: skip
