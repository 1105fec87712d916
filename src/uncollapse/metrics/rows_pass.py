"""Rows of the catalogue: what one pass over a split computes."""

from uncollapse.metrics.metric import PASS, Beside, Metric

RATES = "uncollapse.metrics.rates:rates"
PERPLEXITY = "uncollapse.metrics.rates:perplexity"
FLOOR = "uncollapse.metrics.rates:floor_distance"
INFORMATION = "uncollapse.metrics.information:information"
ACTIVE = "uncollapse.metrics.usage:active_units"
GAP = "uncollapse.metrics.usage:shuffle_gap"

ROWS = (
    Metric(
        name="nelbo", stage=PASS, function=RATES, error="csv", better="lower",
        line=".2f", result_line=True, column=110, paired=True, compare_last=True,
        meaning="rec + kl at KL weight 1, without auxiliary terms: an upper bound of -log p(x).",
        pitfall="A lower value may come from a tighter bound, and a collapsed model can have the "
        "lowest of all.",
    ),
    Metric(
        name="rec", stage=PASS, function=RATES, error="csv",
        line=".2f", result_line=True, column=120, paired=True,
        meaning="-log p(x|z) with one sampled z.",
        pitfall="It falls whenever more is written into z: read it together with kl.",
    ),
    Metric(
        name="kl", stage=PASS, function=RATES, error="csv",
        line=".2f", result_line=True, column=50, paired=True, compare_last=True,
        meaning="KL of the posterior from the prior, in evaluation mode.",
        pitfall="A high value shows that the posterior differs from the prior, not that the "
        "decoder reads it.",
    ),
    Metric(
        name="kl_per_dim", stage=PASS, function=RATES, kind="per dimension", column=None,
        meaning="The parts of kl by dimension; one number where the KL does not split.",
        pitfall="A dimension with a high KL may still be ignored by the decoder.",
    ),
    Metric(
        name="ppl", stage=PASS, function=PERPLEXITY, optional=True, error="disk",
        unit="perplexity", better="lower", line=".2f", column=40, in_terminal=False,
        meaning="exp(sum of nll / sum of tokens), the end of a sentence included; from nelbo where "
        "a run has no nll.",
        pitfall="Comparable only at the same vocabulary. ≤: it comes from nelbo, a looser upper "
        "bound: do not rank it against cells without the mark.",
    ),
    Metric(
        name="tokens", stage=PASS, function=PERPLEXITY, optional=True, unit="count",
        column=None, in_csv=False,
        meaning="Tokens that were predicted, the ends of sentences included.",
    ),
    Metric(
        name="mi", stage=PASS, function=INFORMATION, error="csv", every_row=False,
        result_line=True, column=60, paired=True, compare_last=True,
        meaning="Mutual information of x and z under the encoder: kl minus the KL of the aggregate "
        "posterior from the prior.",
        pitfall="No estimate from N examples can exceed its ceiling, ln N; within 0.5 nats of it "
        "the estimate is saturated and only a lower bound (≥). Published columns that use N = 32 "
        "(ceiling 3.47) or N = 10,000 are not comparable with each other or with this one. It is "
        "what the encoder writes: the gap shows whether the decoder reads it.",
    ),
    Metric(
        name="mi_n", stage=PASS, function=INFORMATION, every_row=False, unit="count", column=None,
        meaning="N, the number of examples that mi and the numbers derived from it are from.",
    ),
    Metric(
        name="mi_ceiling", stage=PASS, function=INFORMATION, every_row=False, column=None,
        meaning="ln N, the highest value that mi can take.",
    ),
    Metric(
        name="mi_saturated", stage=PASS, function=INFORMATION, every_row=False, unit="flag",
        column=None,
        meaning="Whether mi lies within 0.5 nats of its ceiling, and so is only a lower bound.",
    ),
    Metric(
        name="marginal_kl", stage=PASS, function=INFORMATION, error="csv", every_row=False,
        column=6, in_text=False,
        meaning="KL of the aggregate posterior from the prior: kl - mi.",
        pitfall="It says nothing about x. Where mi is saturated, it is too high by as much as mi "
        "is too low.",
    ),
    Metric(
        name="mi_per_dim", stage=PASS, function=INFORMATION, error="disk", every_row=False,
        kind="per dimension", column=None,
        meaning="mi of each dimension alone, from one-dimensional mixtures.",
        pitfall="Dimensions share information: the sum exceeds mi by the total correlation.",
    ),
    Metric(
        name="total_correlation", stage=PASS, function=INFORMATION, error="disk", every_row=False,
        column=None,
        meaning="KL of the aggregate posterior from the product of its dimensions: "
        "kl = mi + total_correlation + dimension_kl.",
        pitfall="It says nothing about x. Where mi is saturated, it is too high by as much as mi "
        "is too low.",
    ),
    Metric(
        name="dimension_kl_per_dim", stage=PASS, function=INFORMATION, error="disk",
        every_row=False, kind="per dimension", column=None,
        meaning="KL of each dimension of the aggregate posterior from the prior.",
    ),
    Metric(
        name="dimension_kl", stage=PASS, function=INFORMATION, error="disk", every_row=False,
        column=None,
        meaning="Sum of dimension_kl_per_dim.",
        pitfall="It says nothing about x.",
    ),
    Metric(
        name="au", stage=PASS, function=ACTIVE, unit="count", digits=1, line="d", column=70,
        meaning="Active units: dimensions whose posterior mean varies over x (variance above "
        "0.01).",
        pitfall="Equals d by construction for batch-norm heads: never evidence alone.",
    ),
    Metric(
        name="shuffle_gap", title="gap", stage=PASS, function=GAP, error="csv",
        line=".3f", result_line=True, column=80, paired=True, compare_last=True,
        meaning="rec with the z of another example, minus rec.",
        pitfall="It is the honest test of collapse, for every head: 0 exactly when the decoder "
        "ignores z. A large gap does not show that the model is good.",
    ),
    Metric(
        name="floor", stage=PASS, function=FLOOR, line=".2f",
        beside=(Beside("", "kl_minus_floor"),), column=130, in_terminal=False,
        meaning="The batch-mean KL that the remedy promises.",
        pitfall="The promise is made for training batches only.",
    ),
    Metric(
        name="kl_minus_floor", title="kl - floor", stage=PASS, function=FLOOR, column=140,
        meaning="kl minus the promised floor.",
        pitfall="The promise is made for training batches: in evaluation mode a small negative "
        "value is possible, a large one is a fault.",
    ),
    *(
        Metric(
            name=f"nelbo_per_{unit}", title=f"nelbo / {unit}", stage=PASS, function=PERPLEXITY,
            optional=True, error="disk", every_row=False, digits=4, better="lower",
            column=32 if unit == "char" else None, across_levels=True, in_terminal=False,
            unit=f"nats per {what}",
            meaning=f"sum of nelbo / sum of {what}s, the end of a sentence counted as one.",
            pitfall="It compares models of one text at different levels, but what became <unk> "
            "was cheaper to predict than the characters that it stands for.",
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
        meaning="Share of dimensions whose KL is below eps for at least 99 % of the examples, for "
        "every eps: there is no threshold to choose, as au has.",
        pitfall="A batch-norm head keeps its curve at 0 for small eps by construction, whatever "
        "the decoder does with z.",
    ),
    Metric(
        name="moments", stage=PASS, every_row=False, kind="nested",
        function="uncollapse.metrics.usage:moments", unit="", column=None,
        meaning="Per dimension E[mu], E[mu^2] and E[sigma^2] over the examples.",
        pitfall="The aggregate posterior can have the prior's moments and still not be the prior.",
    ),
    Metric(
        name="examples", stage=PASS, function="uncollapse.metrics.usage:count_examples",
        unit="count", column=None, in_csv=False,
        meaning="Examples that the pass went over.",
    ),
)  # fmt: skip
