"""Rows of the catalogue that `evaluate` computes for finished runs: likelihood and codes."""

from uncollapse.metrics.metric import AMORTISATION, DISENTANGLEMENT, NLL, PROBE, Beside, Metric

FEW_SAMPLES = 20  # effective samples: an nll from fewer is a bound rather than an estimate
DEFAULT_SAMPLES = 500  # K, codes per example for nll
REFINED_EXAMPLES = 200  # whose posterior is refined, by default
LABEL_BUDGETS = (100, 500, 1000, 2000, 10_000)  # of the probe, by default

WEIGHTED = "uncollapse.evaluation.nll:evaluate_nll"
PROBED = "uncollapse.evaluation.probe:evaluate_probe"
SEPARATED = "uncollapse.evaluation.disentanglement:evaluate_disentanglement"
REFINED = "uncollapse.evaluation.amortisation:evaluate_amortisation"

EVALUATION_ROWS = (
    Metric(
        name="nll", stage=NLL, function=WEIGHTED, error="csv", better="lower",
        result_line=True, beside=(Beside("bias about", "nll_bias"), Beside("ess", "nll_ess")),
        column=10, paired=True, bound=True,
        meaning="Importance-weighted estimate of -log p(x) with K samples of z per example (K is "
        "given above the table): in expectation an upper bound.",
        pitfall="It approaches -log p(x) as K grows, and is looser where the posterior fits badly. "
        "Compare models at the same K, and only where nll_ess is not small: a code that carries "
        f"more information needs more samples. ≤: fewer than {FEW_SAMPLES} effective samples, on "
        "average or in most examples; a bound rather than an estimate, unless a tolerance was "
        "reached with few.",
    ),
    Metric(
        name="nll_samples", stage=NLL, function=WEIGHTED, unit="count", column=None, size_rank=2,
        meaning="K, the number of samples of z per example; with a tolerance, the most allowed.",
    ),
    Metric(
        name="nll_codes", stage=NLL, function=WEIGHTED, unit="count", digits=0, column=None,
        meaning="Mean number of samples of z per example: below K where a tolerance needs fewer.",
    ),
    Metric(
        name="nll_examples", stage=NLL, function=WEIGHTED, unit="count", column=None, size_rank=1,
        meaning="Number of examples that nll is averaged over.",
    ),
    Metric(
        name="nll_mc_se", stage=NLL, function=WEIGHTED, column=None,
        meaning="The component of nll_se that comes from drawing K samples of z per example.",
        pitfall="It does not include the bias.",
    ),
    Metric(
        name="nll_ess", stage=NLL, function=WEIGHTED, unit="count", digits=1, column=20,
        meaning="Effective sample size: how many of the K samples of an example carry the "
        "estimate, averaged over the examples.",
        pitfall="A value near K is no sign of a good code: a model that has collapsed onto the "
        "prior has it too. The mean can hide that most examples have few effective samples: "
        f"nll_ess_low is the share with fewer than {FEW_SAMPLES}.",
    ),
    Metric(
        name="nll_ess_low", stage=NLL, function=WEIGHTED, unit="share", column=21, in_text=False,
        meaning=f"Share of examples with fewer than {FEW_SAMPLES} effective samples.",
        pitfall="Above one half, nll is a bound rather than an estimate.",
    ),
    Metric(
        name="nll_bias", stage=NLL, optional=True, function=WEIGHTED, error="csv", better="lower",
        column=11, in_text=False, paired=True,
        meaning="Estimate of how far nll at K lies above its limit for large K, extrapolated from "
        "its decrease from K/8 to K/4 and from K/2 to K samples.",
        pitfall="With few effective samples (≤) it can be wrong by a factor of two or three in "
        "either direction. It is computed from the drawn samples alone, so it is too small where "
        "the posterior misses an important region. ‡: the bias of a difference in nll is at least "
        "half as large as the half-width of its interval; such a difference is not a result yet.",
    ),
    Metric(
        name="nll_ppl", stage=NLL, optional=True, function=WEIGHTED, error="disk",
        unit="perplexity", better="lower", result_line=True, column=5, in_text=False,
        meaning="Perplexity: exp(sum of nll / number of tokens), where the end of a sentence "
        "counts as a token.",
        pitfall="Comparable only at the same vocabulary and the same K.",
    ),
    *(
        Metric(
            name=f"nll_per_{unit}", title=f"nll / {unit}", stage=NLL, optional=True,
            function=WEIGHTED, error="disk", digits=4, better="lower", unit=f"nats per {what}",
            column=31 if unit == "char" else None, across_levels=True, in_terminal=False,
            meaning=f"Sum of nll / number of {what}s, where the end of a sentence counts as one.",
            pitfall="It makes models of one text comparable across data.level, but a word that "
            "became <unk> was cheaper to predict than the characters that it replaces.",
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
        result_line=True, column=100, in_terminal=False, bound=True,
        meaning="nll minus the exact -log p(x) of the same examples, where the distribution of the "
        "data is known: an estimate of KL(data || model).",
        pitfall="It is an upper bound, as nll is; a small negative value is estimation noise.",
    ),
    Metric(
        name="probe", stage=PROBE, function=PROBED, error="csv", unit="share", digits=3,
        better="higher", result_line=True, beside=(Beside("chance", "probe_chance"),),
        column=90, paired=True,
        meaning="Accuracy of a linear classifier on mu, with the encoder frozen, at the largest "
        "number of labels; averaged over the known factors.",
        pitfall="It reads mu without noise, so a collapsed code with tiny but structured mu can "
        "score above chance: read it together with the gap. Compare it with chance, the accuracy "
        "of always guessing the most common class, which is shown with it.",
    ),
    Metric(
        name="probe_chance", stage=PROBE, function=PROBED, unit="share", digits=3, column=91,
        in_text=False,
        meaning="Accuracy of always guessing the most common class, averaged over the known "
        "factors.",
    ),
    Metric(
        name="probe_labels", stage=PROBE, function=PROBED, unit="count", column=None, size_rank=3,
        meaning="Number of labelled training examples that the probe's classifiers were fitted to.",
    ),
    Metric(
        name="probe_curves", stage=PROBE, function=PROBED, unit="share", kind="nested", column=None,
        meaning="Accuracy for each factor and number of labels, with chance and, where known, the "
        "best possible accuracy.",
        pitfall="More labels reveal weaker traces of a factor: compare heads at the same number.",
    ),
    Metric(
        name="factor_information", title="factor information", stage=PROBE, function=PROBED,
        error="csv", better="higher", result_line=True,
        beside=(Beside("of at most", "factor_information_best"),), column=92, in_terminal=False,
        meaning="Nats about the known factors that linear classifiers read from codes z drawn from "
        "the posterior, at the largest number of labels: the sum over factors of the factor's "
        "entropy minus the classifier's cross entropy on held-out examples. In expectation a lower "
        "bound on the sum of the factors' information in z.",
        pitfall="Below 0 (values are not clipped), the classifiers are worse than the classes' "
        "frequencies alone, as with a useless code and few labels. Where the labels depend on each "
        "other, what they share is counted several times.",
    ),
    Metric(
        name="factor_information_each", stage=PROBE, function=PROBED, kind="nested", column=None,
        meaning="factor_information of each factor, with the factor's entropy and, where known, "
        "the best possible value.",
    ),
    Metric(
        name="factor_information_best", title="best factor information", stage=PROBE,
        function=PROBED, optional=True, column=93, in_text=False,
        meaning="The largest possible factor_information: that of the exact posterior of the "
        "factors given x, where it is known.",
    ),
    Metric(
        name="mig", title="MIG", stage=DISENTANGLEMENT, function=SEPARATED, unit="share", digits=3,
        better="higher", result_line=True, column=94, in_text=False,
        meaning="Mutual information gap (Chen et al. 2018): what the best dimension of mu shares "
        "with a factor minus what the second best does, in 20 bins and divided by the factor's "
        "entropy; averaged over the known factors.",
        pitfall="It is about the axes of a code, not about what the code carries: a rotated code "
        "carries the same and can score near 0, and one dimension that holds all factors scores 1. "
        "Where few examples fill the bins, noise alone is a little above 0.",
    ),
    *(
        Metric(
            name=f"dci_{name}", title=f"DCI {name}", stage=DISENTANGLEMENT, function=SEPARATED,
            unit="share", digits=3, better="higher", result_line=True, column=None,
            meaning=meaning, pitfall=pitfall,
        )
        for name, meaning, pitfall in (
            (
                "disentanglement",
                "How close each dimension of mu comes to predicting a single factor (Eastwood & "
                "Williams 2018), from the importances of random forests fitted to at most 5,000 "
                "training examples: 1 minus the normalised entropy of a dimension's importances, "
                "weighted by their sum.",
                "It depends on the forests: compare it at the same number of training examples "
                "only. Rotating a code changes it.",
            ),
            (
                "completeness",
                "How close each factor comes to being predicted by a single dimension of mu, from "
                "the same importances; averaged over the factors.",
                "A single dimension that holds several factors can have the highest value.",
            ),
            (
                "informativeness",
                "Accuracy of the same random forests on held-out examples, averaged over the "
                "factors.",
                "The paper reports an error instead, of which lower is better. Unlike probe, it "
                "finds non-linear traces, but needs more labels for linear ones.",
            ),
        )
    ),
    Metric(
        name="amortisation_gap", stage=AMORTISATION, function=REFINED, error="csv", better="lower",
        result_line=True, column=98, in_terminal=False,
        meaning="nelbo of the encoder's q minus nelbo after mean and log variance of each "
        "example's q were refined by gradient steps: what the encoder loses against the best "
        "diagonal Gaussian of each example. Only where q is a diagonal Gaussian.",
        pitfall="A collapsed model has none: a decoder that ignores z has the prior as its "
        "posterior. For heads that constrain q (batch norm, delta) it includes the price of the "
        "constraint. About 0.01 nats too small, as only clear gains count.",
    ),
    Metric(
        name="refined_nelbo", stage=AMORTISATION, function=REFINED, error="csv", better="lower",
        result_line=True, column=None,
        meaning="nelbo after refining, of the same examples: closer to -log p(x) than nelbo by the "
        "amortisation gap.",
    ),
    Metric(
        name="refined_kl", stage=AMORTISATION, function=REFINED, error="csv", result_line=True,
        column=None,
        meaning="kl after refining, of the same examples. Far above kl: the decoder could use a "
        "code that the encoder does not write.",
    ),
    Metric(
        name="amortisation_examples", stage=AMORTISATION, function=REFINED, unit="count",
        column=None, size_rank=5,
        meaning="Number of examples that were refined.",
    ),
)  # fmt: skip
