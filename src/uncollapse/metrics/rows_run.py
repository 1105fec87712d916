"""Rows of the catalogue: what the training loop writes, and what a report derives."""

from uncollapse.metrics.metric import END, REPORT, TRAINING, LineUnit, Metric

TRAINED = "uncollapse.training.measures:measure_progress"
VALID_NLL = "uncollapse.training.measures:measure_validation_nll"
LOSSES = "uncollapse.training.measures:measure_losses"
LAGS = "uncollapse.training.measures:measure_lag"
ENDED = "uncollapse.training.measures:measure_end"

RUN_ROWS = (
    Metric(
        name="weight", stage=TRAINING, function=TRAINED, unit="", line=".2f", column=None,
        in_csv=False,
        meaning="Weight of the KL in the objective.",
    ),
    Metric(
        name="lr", stage=TRAINING, function=TRAINED, unit="", column=None, in_csv=False,
        meaning="Learning rate.",
    ),
    Metric(
        name="seconds", stage=TRAINING, function=TRAINED, unit="seconds", column=None, in_csv=False,
        meaning="Time spent in training steps so far.",
    ),
    Metric(
        name="seconds_per_step", stage=TRAINING, function=TRAINED, unit="seconds",
        line=".1f", line_unit=LineUnit(1e3, "ms/step"), column=None,
        meaning="Time per training step since the last evaluation; in the summary, over all steps.",
        pitfall="Runs that share a machine slow each other down, and not all equally.",
    ),
    Metric(
        name="loss", stage=TRAINING, function=LOSSES, optional=True, column=None, in_csv=False,
        meaning="What training minimises, from one code of each example: the mean over the steps "
        "since the last evaluation. Of a step with several updates, the last one counts.",
        pitfall="Its weights change with schedules, so it may rise while the model improves.",
    ),
    Metric(
        name="loss_terms", stage=TRAINING, function=LOSSES, optional=True, kind="nested",
        unit="", column=None,
        meaning="The terms that the loss is computed from, such as rec, kl, a penalty or the "
        "distance from a constraint, as means over the same steps.",
    ),
    Metric(
        name="valid_nll", stage=TRAINING, function=VALID_NLL, optional=True, better="lower",
        line=".2f", column=None, in_csv=False,
        meaning="nll of trainer.nll_examples validation examples from trainer.nll_samples codes.",
        pitfall="Few codes overstate it, the more the higher the rate is.",
    ),
    Metric(
        name="inference_lag", stage=TRAINING, function=LAGS, optional=True, error="csv", unit="",
        digits=3, better="lower", line=".3f", column=96, in_text=False,
        meaning="Mean squared distance between the means of q(z|x) and of the model's own "
        "posterior p(z|x), over trainer.posterior_means examples: validation examples during "
        "training, test examples at its end.",
        pitfall="0 in a model that has collapsed on both sides: look at the plane of means too. "
        "Where p(z|x) has several modes, no q with one can have its mean and be a good bound.",
    ),
    Metric(
        name="inference_lag_relative", stage=TRAINING, function=LAGS, optional=True, unit="",
        digits=2, better="lower", column=97, in_text=False,
        meaning="Variance over examples of the difference of the two means, divided by that of the "
        "means of p(z|x): 1 for an encoder that ignores x, 0 for one that follows them up to a "
        "constant; none where the means of p(z|x) have a variance below 0.01.",
        pitfall="Noisy where the model's posterior hardly depends on x.",
    ),
    Metric(
        name="lag_left_out", stage=TRAINING, function=LAGS, optional=True, unit="share", digits=2,
        column=None,
        meaning="Share of these examples that are left out, because too few codes carry the "
        "estimate of the mean of p(z|x).",
        pitfall="Above a few percent, the rest no longer stands for all examples.",
    ),
    Metric(
        name="posterior_means", stage=TRAINING, function=LAGS, optional=True, kind="nested",
        unit="", column=None,
        meaning="The means of q(z|x) and p(z|x) of each of these examples, one list per dimension.",
    ),
    Metric(
        name="kl_train_mode", stage=REPORT, column=None,
        meaning="kl of the test split in training mode, with batch statistics and dropout, as in a "
        "training step.",
        pitfall="For batch-norm heads it differs from kl, and a trained model is used in "
        "evaluation mode.",
    ),
    Metric(
        name="d_nll", title="nll - plain", stage=REPORT, better="lower", column=30,
        in_csv=False, in_terminal=False,
        meaning="nll minus the nll of plain with the same seed: mean over seeds and paired "
        "t-interval. Runs with the same seed share data order and initial weights, so this source "
        "of variation largely cancels. Below 0: the remedy models the data better.",
        pitfall="Both are upper bounds: ‡ marks a difference that may vanish with more samples.",
    ),
    Metric(
        name="d_nll_bias", stage=REPORT, column=12, in_csv=False, in_text=False,
        meaning="nll_bias minus that of plain with the same seed: the part of nll - plain that "
        "would vanish with more samples.",
    ),
    Metric(
        name="relative_time", title="time", stage=REPORT, unit="", better="lower", column=160,
        in_csv=False,
        meaning="Seconds per step relative to plain.",
        pitfall="Runs that share a machine slow each other down, and not all equally.",
    ),
    Metric(
        name="best_step", stage=END, function=ENDED, unit="step", column=None,
        meaning="Step of the best weights: those with the lowest validation objective since the "
        "end of every schedule, or the last ones if a schedule never ended.",
    ),
    Metric(
        name="steps_planned", stage=END, function=ENDED, unit="step", column=None,
        meaning="Steps that training would have taken without early stopping.",
    ),
    Metric(
        name="stopped_early", stage=END, function=ENDED, unit="flag", column=None,
        meaning="Whether training stopped before steps_planned.",
    ),
    Metric(
        name="converged", stage=END, function=ENDED, unit="flag", column=None,
        meaning="Whether the last span of training (trainer.plateau_span epochs, after the end of "
        "every schedule) lowered the validation objective by less than trainer.plateau_gain.",
        pitfall="A slow descent can stay below the limit for long: read it with next_gain.",
    ),
    Metric(
        name="span_gain", stage=END, function=ENDED, column=None,
        meaning="By how much the last span of training lowered the validation objective.",
    ),
    Metric(
        name="next_gain", stage=END, function=ENDED, column=None,
        meaning="What one more span would gain if gains keep shrinking as in the last two spans.",
        pitfall="An extrapolation from one run's noisy evaluations.",
    ),
    Metric(
        name="final_weight", stage=END, function=ENDED, unit="", column=141, in_text=False,
        meaning="Weight of the KL at the last step.",
        pitfall="Unless it is 1, the model was trained on an objective other than nelbo.",
    ),
    Metric(
        name="schedule_complete", stage=END, function=ENDED, unit="flag", column=None,
        meaning="Whether every schedule had ended and every controller had settled when training "
        "ended; † marks runs where one had not.",
    ),
)  # fmt: skip
