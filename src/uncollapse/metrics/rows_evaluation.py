"""Rows of the catalogue: likelihood and probes, which `evaluate` computes for finished runs."""

from uncollapse.metrics.metric import NLL, PROBE, Beside, Metric

FEW_SAMPLES = 20  # effective samples: an nll from fewer is a bound and no estimate

WEIGHTED = "uncollapse.evaluation.nll:evaluate_nll"
PROBED = "uncollapse.evaluation.probe:evaluate_probe"

ROWS = (
    Metric(
        name="nll", stage=NLL, function=WEIGHTED, error="csv", better="lower",
        result_line=True, beside=(Beside("bias about", "nll_bias"), Beside("ess", "nll_ess")),
        column=10, paired=True,
        meaning="Importance-weighted estimate of -log p(x) with K samples of z (K stands above the "
        "table): in expectation an upper bound.",
        pitfall="It is nearer the truth as K grows, and looser where the posterior fits badly. "
        "Compare models at one K, and only where nll_ess is not small: a code that carries more "
        f"needs more samples. ≤: fewer than {FEW_SAMPLES} effective samples, a bound and no "
        "estimate.",
    ),
    Metric(
        name="nll_samples", stage=NLL, function=WEIGHTED, unit="count", column=None,
        meaning="K, the samples of z for each example.",
    ),
    Metric(
        name="nll_examples", stage=NLL, function=WEIGHTED, unit="count", column=None,
        meaning="Examples that nll is the mean of.",
    ),
    Metric(
        name="nll_mc_se", stage=NLL, function=WEIGHTED, column=None,
        meaning="The part of nll_se that comes from the K samples.",
        pitfall="It does not cover the bias.",
    ),
    Metric(
        name="nll_ess", stage=NLL, function=WEIGHTED, unit="count", digits=1, column=20,
        meaning="Effective samples: of the K samples of an example, how many the estimate rests on "
        "(mean over examples).",
        pitfall="Near K the posterior is nearly exact, or collapsed onto the prior. A mean can "
        "hide that most examples have few: nll_ess_low is the share with fewer than "
        f"{FEW_SAMPLES}.",
    ),
    Metric(
        name="nll_ess_low", stage=NLL, function=WEIGHTED, unit="share", column=21, in_text=False,
        meaning=f"Share of examples with fewer than {FEW_SAMPLES} effective samples.",
        pitfall="Above a half, nll is a bound and no estimate.",
    ),
    Metric(
        name="nll_bias", stage=NLL, optional=True, function=WEIGHTED, error="csv", better="lower",
        column=11, in_text=False, paired=True,
        meaning="Estimate of how far nll at K lies above the value that it falls to as K grows, "
        "from how it falls from K/8 to K/4 and from K/2 to K samples.",
        pitfall="With few effective samples (≤) it can be off by two or three times, either way, "
        "and where the posterior misses a region that matters it is too small: it knows only the "
        "samples drawn. ‡: at least half as large as the interval of a difference in nll, so that "
        "the difference is no result yet.",
    ),
    Metric(
        name="nll_ppl", stage=NLL, optional=True, function=WEIGHTED, error="disk",
        unit="perplexity", better="lower", result_line=True, column=5, in_text=False,
        meaning="exp(sum of nll / sum of tokens), the end of a sentence included.",
        pitfall="Comparable only at the same vocabulary and K.",
    ),
    *(
        Metric(
            name=f"nll_per_{unit}", title=f"nll / {unit}", stage=NLL, optional=True,
            function=WEIGHTED, error="disk", digits=4, better="lower", unit=f"nats per {what}",
            column=31 if unit == "char" else None, across_levels=True, in_terminal=False,
            meaning=f"sum of nll / sum of {what}s, the end of a sentence counted as one.",
            pitfall="It compares models of one text at different levels, but what became <unk> "
            "was cheaper to predict than the characters that it stands for.",
        )
        for unit, what in (("char", "character"), ("byte", "byte"))
    ),
    *(
        Metric(
            name=f"nll_ppl_{unit}", stage=NLL, optional=True, function=WEIGHTED, error="disk",
            unit="perplexity", better="lower", column=None,
            meaning=f"exp of nll_per_{unit}.",
            pitfall="An upper bound, as nll is.",
        )
        for unit in ("char", "byte")
    ),
    Metric(
        name="oracle_gap", stage=NLL, optional=True, function=WEIGHTED, error="csv", better="lower",
        result_line=True, column=100, in_terminal=False,
        meaning="nll minus the exact -log p(x) of the same examples, where the distribution of the "
        "data is known. 0: the model is that distribution.",
        pitfall="As nll is an upper bound, so is the gap; a small negative value is noise of the "
        "estimate.",
    ),
    Metric(
        name="probe", stage=PROBE, function=PROBED, error="csv", unit="share", digits=3,
        better="higher", result_line=True, beside=(Beside("chance", "probe_chance"),),
        column=90, paired=True,
        meaning="Accuracy of a linear classifier on mu, mean over the known factors, at the "
        "largest number of labels; the encoder is frozen.",
        pitfall="It reads mu without noise, so a collapsed code with tiny but structured mu can "
        "score above chance: read it beside the gap. Chance is the most common class, not 0; it "
        "stands beside the number.",
    ),
    Metric(
        name="probe_chance", stage=PROBE, function=PROBED, unit="share", column=91, in_text=False,
        meaning="Accuracy of always guessing the most common class, mean over the known factors.",
    ),
    Metric(
        name="probe_labels", stage=PROBE, function=PROBED, unit="count", column=None,
        meaning="Labelled training examples that the classifiers of `probe` learned from.",
    ),
    Metric(
        name="probe_curves", stage=PROBE, function=PROBED, unit="share", kind="nested", column=None,
        meaning="Accuracy of each factor at each number of labels, with chance and, where it is "
        "known, the best accuracy that is possible.",
        pitfall="More labels find weaker traces: compare heads at one number of labels.",
    ),
)  # fmt: skip
