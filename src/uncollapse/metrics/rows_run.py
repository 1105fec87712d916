"""Rows of the catalogue: what the training loop writes, and what a report derives."""

from uncollapse.metrics.metric import END, REPORT, TRAINING, Metric

ROWS = (
    Metric(
        name="weight", stage=TRAINING, unit="", line=".2f", column=None, in_csv=False,
        meaning="The weight of the KL in the objective.",
    ),
    Metric(
        name="lr", stage=TRAINING, unit="", column=None, in_csv=False,
        meaning="The learning rate.",
    ),
    Metric(
        name="seconds", stage=TRAINING, unit="seconds", column=None, in_csv=False,
        meaning="Time spent in training steps so far.",
    ),
    Metric(
        name="seconds_per_step", stage=TRAINING, unit="seconds", column=None,
        meaning="Time per training step since the last evaluation; in the summary, over all steps.",
        pitfall="Runs that shared a machine with others are slowed unequally.",
    ),
    Metric(
        name="kl_train_mode", stage=REPORT, column=None,
        meaning="kl of the test split in training mode: batch statistics and dropout, as the "
        "optimiser meets it.",
        pitfall="It differs from kl for batch-norm heads; no model is used in this mode.",
    ),
    Metric(
        name="d_nll", title="nll - plain", stage=REPORT, better="lower", column=30,
        in_terminal=False,
        meaning="Mean over seeds of nll minus the nll of plain with the same seed, and its paired "
        "t-interval: seeds share data order and initial weights, which cancel. Below 0: the remedy "
        "models the data better.",
        pitfall="Both are upper bounds: ‡ marks differences that more samples could take away.",
    ),
    Metric(
        name="d_nll_bias", stage=REPORT, column=12, in_text=False,
        meaning="The same difference of nll_bias: the part of nll - plain that more samples would "
        "take away.",
    ),
    Metric(
        name="relative_time", title="time", stage=REPORT, unit="", better="lower", column=160,
        meaning="Seconds per step relative to plain.",
        pitfall="Runs that shared a machine with others are slowed unequally.",
    ),
    Metric(
        name="best_step", stage=END, unit="step", column=None,
        meaning="The step with the lowest nelbo on the validation split: the best weights.",
        pitfall="While a schedule runs this choice favours collapsed weights.",
    ),
    Metric(
        name="steps_planned", stage=END, unit="step", column=None,
        meaning="Steps that training would have taken without an early stop.",
    ),
    Metric(
        name="stopped_early", stage=END, unit="flag", column=None,
        meaning="Whether training stopped before that.",
    ),
    Metric(
        name="final_weight", stage=END, unit="", column=141, in_text=False,
        meaning="The weight of the KL at the last step.",
        pitfall="Below 1 the model was trained on another objective than nelbo.",
    ),
    Metric(
        name="schedule_complete", stage=END, unit="flag", column=None,
        meaning="Whether every schedule ended, and every controller had settled, before training "
        "did; † marks runs in which not.",
    ),
)  # fmt: skip
