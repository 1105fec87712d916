"""Rows of the catalogue: metrics that one pass over a split computes."""

from uncollapse.metrics.metric import PASS, Beside, Metric

RATES = "uncollapse.metrics.rates:rates"
PERPLEXITY = "uncollapse.metrics.rates:perplexity"
OBJECTIVE = "uncollapse.metrics.rates:final_objective"
FLOOR = "uncollapse.metrics.rates:floor_distance"
INFORMATION = "uncollapse.metrics.information:information"
ACTIVE = "uncollapse.metrics.usage:active_units"
LOCAL = "uncollapse.metrics.usage:local_collapse"
GAP = "uncollapse.metrics.usage:shuffle_gap"

PASS_ROWS = (
    Metric(
        name="nelbo", stage=PASS, function=RATES, error="csv", better="lower",
        line=".2f", result_line=True, column=110, paired=True, compare_last=True,
        meaning="rec + kl, with KL weight 1 and without auxiliary terms: an upper bound on "
        "-log p(x).",
        pitfall="A lower value can come from a tighter bound rather than a better model, and a "
        "collapsed model can have the lowest of all.",
    ),
    Metric(
        name="rec", stage=PASS, function=RATES, error="csv",
        line=".2f", result_line=True, column=120, paired=True,
        meaning="Reconstruction term: -log p(x|z), with one z drawn from the posterior.",
        pitfall="It falls as z carries more information about x: read it together with kl.",
    ),
    Metric(
        name="kl", stage=PASS, function=RATES, error="csv",
        line=".2f", result_line=True, column=50, paired=True, compare_last=True,
        meaning="The rate KL(q(z|x) || p(z)), in evaluation mode.",
        pitfall="A high value shows that the posterior differs from the prior, not that the "
        "decoder uses z.",
    ),
    Metric(
        name="objective", stage=PASS, function=OBJECTIVE, optional=True, better="lower",
        column=None,
        meaning="The head's own loss with the weights that training ends with; it chooses the best "
        "weights and decides on convergence.",
        pitfall="Heads minimise different losses: compare it within one run only.",
    ),
    Metric(
        name="kl_per_dim", stage=PASS, function=RATES, kind="per dimension", column=None,
        meaning="kl of each dimension; a single number where the KL is not a sum over dimensions.",
        pitfall="The decoder may still ignore a dimension with a high KL.",
    ),
    Metric(
        name="ppl", stage=PASS, function=PERPLEXITY, optional=True, error="disk",
        unit="perplexity", better="lower", line=".4g", column=40, in_terminal=False, bound=True,
        meaning="Perplexity: exp(sum of nll / number of tokens), where the end of a sentence "
        "counts as a token. On disk, and in tables where a run has no nll, nelbo replaces nll.",
        pitfall="Comparable only at the same vocabulary. ≤: computed from nelbo, a looser upper "
        "bound, or from an nll that is only a bound; do not rank it against cells without the "
        "mark.",
    ),
    Metric(
        name="tokens", stage=PASS, function=PERPLEXITY, optional=True, unit="count",
        column=None, in_csv=False,
        meaning="Number of predicted tokens, the ends of sentences included.",
    ),
    Metric(
        name="mi", stage=PASS, function=INFORMATION, error="csv", every_row=False,
        result_line=True, column=60, paired=True, compare_last=True,
        meaning="Estimated mutual information of x and z under the encoder: kl minus "
        "KL(q(z) || p(z)), where q(z) is the aggregate posterior.",
        pitfall="No estimate from N examples can exceed the ceiling ln N; within 0.5 nats of it "
        "the estimate is saturated and only a lower bound (≥). Published values for N = 32 "
        "(ceiling 3.47; see mi_32) or N = 10,000 (ceiling 9.21) are not comparable with each other "
        "or with this one. It measures what the encoder writes into z: the gap shows whether the "
        "decoder uses it.",
    ),
    Metric(
        name="mi_n", stage=PASS, function=INFORMATION, every_row=False, unit="count", column=None,
        meaning="N, the number of examples from which mi and the metrics derived from it are "
        "estimated.",
    ),
    Metric(
        name="mi_ceiling", stage=PASS, function=INFORMATION, every_row=False, column=None,
        meaning="ln N, the largest value that the estimate mi can take.",
    ),
    Metric(
        name="mi_saturated", stage=PASS, function=INFORMATION, every_row=False, unit="flag",
        column=None,
        meaning="Whether mi is within 0.5 nats of its ceiling, and therefore only a lower bound.",
    ),
    Metric(
        name="mi_32", stage=PASS, function=INFORMATION, optional=True, error="disk",
        every_row=False, column=61, in_text=False,
        meaning="Mutual information of x and z estimated inside batches of 32 examples, as "
        "published tables report it (He et al. 2019): kl minus KL(q(z) || p(z)), where q(z) is the "
        "mixture of the 32 posteriors of a batch; the mean over all complete batches.",
        pitfall="Compare it with published values only, not with mi: codes that carry more than "
        "its ceiling, ln 32 = 3.47, look alike, and below it, too, a mixture of 32 gives less than "
        "one of N. Published batches hold sentences of one length, here lengths are mixed.",
    ),
    Metric(
        name="marginal_kl", title="marginal KL", stage=PASS, function=INFORMATION, error="csv",
        every_row=False, column=6, in_text=False,
        meaning="KL(q(z) || p(z)), how far the aggregate posterior is from the prior: kl - mi.",
        pitfall="It is not information about x. Where mi is saturated, it is too high by as much "
        "as mi is too low.",
    ),
    Metric(
        name="mi_per_dim", stage=PASS, function=INFORMATION, error="disk", every_row=False,
        kind="per dimension", column=None,
        meaning="mi of each dimension on its own, estimated with one-dimensional mixtures.",
        pitfall="Dimensions can share information: the sum exceeds mi by total_correlation.",
    ),
    Metric(
        name="total_correlation", title="total correlation", stage=PASS, function=INFORMATION,
        error="disk", every_row=False, column=None,
        meaning="KL of the aggregate posterior from the product of its marginals, in "
        "kl = mi + total_correlation + dimension_kl.",
        pitfall="It is not information about x. Where mi is saturated, it is too high by as much "
        "as mi is too low.",
    ),
    Metric(
        name="dimension_kl_per_dim", stage=PASS, function=INFORMATION, error="disk",
        every_row=False, kind="per dimension", column=None,
        meaning="KL(q(z_j) || p(z_j)) of each dimension j of the aggregate posterior.",
    ),
    Metric(
        name="dimension_kl", title="dimension-wise KL", stage=PASS, function=INFORMATION,
        error="disk", every_row=False, column=None,
        meaning="Sum of dimension_kl_per_dim over the dimensions.",
        pitfall="It is not information about x.",
    ),
    Metric(
        name="au", stage=PASS, function=ACTIVE, unit="count", digits=1, line="d", column=70,
        meaning="Active units: the number of dimensions whose posterior mean has a variance above "
        "0.01 over the examples.",
        pitfall="For batch-norm heads it equals d, the number of dimensions, by construction: "
        "never evidence on its own.",
    ),
    Metric(
        name="local_collapse", title="local collapse", stage=PASS, function=LOCAL, error="disk",
        every_row=False, unit="share", digits=3, better="lower", column=71, in_text=False,
        meaning="Share of examples whose kl is below 0.1 nats: those whose posterior is almost "
        "the prior, whatever the mean over examples is.",
        pitfall="It is 0 by construction where a head fixes or bounds the kl of each example, "
        "whether or not the decoder uses z; and the threshold is a convention.",
    ),
    Metric(
        name="shuffle_gap", title="gap", stage=PASS, function=GAP, error="csv",
        line=".3f", result_line=True, column=80, paired=True, compare_last=True,
        meaning="Shuffled-z gap: rec with the z of another example, minus rec.",
        pitfall="The reliable test of collapse for every head, since it is exactly 0 when the "
        "decoder ignores z. But a large gap does not show that the model is good.",
    ),
    Metric(
        name="floor", stage=PASS, function=FLOOR, line=".2f",
        beside=(Beside("", "kl_minus_floor", "+.2f"),), column=130, in_terminal=False,
        meaning="The lower bound that the remedy promises for the batch-mean KL.",
        pitfall="It is promised for training batches only.",
    ),
    Metric(
        name="kl_minus_floor", title="kl - floor", stage=PASS, function=FLOOR, column=140,
        meaning="kl minus the promised floor.",
        pitfall="The floor is promised for training batches: in evaluation mode a small negative "
        "value is possible, but a large one indicates a fault.",
    ),
    *(
        Metric(
            name=f"nelbo_per_{unit}", title=f"nelbo / {unit}", stage=PASS, function=PERPLEXITY,
            optional=True, error="disk", every_row=False, digits=4, better="lower",
            column=32 if unit == "char" else None, across_levels=True, in_terminal=False,
            unit=f"nats per {what}",
            meaning=f"Sum of nelbo / number of {what}s, where the end of a sentence counts as one.",
            pitfall="It makes models of one text comparable across data.level, but a word that "
            "became <unk> was cheaper to predict than the characters that it replaces.",
        )
        for unit, what in (("char", "character"), ("byte", "byte"))
    ),
    *(
        Metric(
            name=f"ppl_{unit}", stage=PASS, function=PERPLEXITY, optional=True, error="disk",
            every_row=False, unit="perplexity", better="lower", column=None,
            meaning=f"exp of nelbo_per_{unit}.",
            pitfall="An upper bound, as nelbo is.",
        )
        for unit in ("char", "byte")
    ),
    Metric(
        name="collapse", title="collapse curve", stage=PASS, every_row=False, kind="nested",
        function="uncollapse.metrics.usage:collapse", unit="share", column=None,
        meaning="Share of dimensions whose KL is below eps for at least 99 % of the examples, as a "
        "function of eps: unlike for au, no single threshold has to be chosen.",
        pitfall="For a batch-norm head the curve stays at 0 for small eps by construction, "
        "whether or not the decoder uses z.",
    ),
    Metric(
        name="moments", stage=PASS, every_row=False, kind="nested",
        function="uncollapse.metrics.usage:moments", unit="", column=None,
        meaning="E[mu], E[mu^2] and E[sigma^2] of each dimension, over the examples.",
        pitfall="The aggregate posterior can have the prior's moments and still differ from it.",
    ),
    Metric(
        name="examples", stage=PASS, function="uncollapse.metrics.usage:count_examples",
        unit="count", column=None, in_csv=False,
        meaning="Number of examples in the pass.",
    ),
)  # fmt: skip
