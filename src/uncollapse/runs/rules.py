"""The rules that choose weights among the evaluations of a run, and a run's numbers under each.

A summary has at its top the numbers of the default rule, and under the name of every other rule
that the run kept the numbers of the weights that it chose. Results of evaluations of other weights
have the rule in their name: `test-nll-K500@last`.
"""

from uncollapse.errors import InputError
from uncollapse.json_types import JsonMapping, JsonObject
from uncollapse.metrics.catalogue import evaluated_keys
from uncollapse.runs.layout import WEIGHTS
from uncollapse.runs.results import RESULTS_KEY, RULE_MARK, find_copies, join_results

DEFAULT_RULE = "best_objective"  # the lowest validation objective since the schedules ended
OTHER_RULES = ("last", "best_nelbo", "best_nll")
RULES = (DEFAULT_RULE, *OTHER_RULES)


class MissingWeights(InputError):
    """A run that did not keep the weights of a rule."""


def weights_file(rule: str) -> str:
    """The file of a rule's weights."""
    return WEIGHTS if rule == DEFAULT_RULE else f"{rule}.safetensors"


def chooses_the_same(summary: JsonMapping, rule: str, name: str) -> bool:
    """Whether another rule chose the same weights as the default rule.

    InputError, naming the run, if the run did not keep the weights of this rule.
    """
    chosen = summary.get(rule)
    if not isinstance(chosen, dict):
        kept = [other for other in OTHER_RULES if isinstance(summary.get(other), dict)]
        raise MissingWeights(
            f"{name}: the run did not keep the weights of {rule}; it has those of "
            f"{', '.join([DEFAULT_RULE, *kept])} (trainer.keep)"
        )
    return chosen.get("step") == summary.get("best_step")


def select_weights(summary: JsonMapping, rule: str, name: str) -> JsonObject:
    """A finished run's summary as if `rule` had chosen its weights.

    InputError, naming the run, if the run did not keep them.
    """
    if rule == DEFAULT_RULE or chooses_the_same(summary, rule, name):
        return dict(summary)
    chosen = summary[rule]
    assert isinstance(chosen, dict)
    default = summary.get("best")
    # what the default rule's weights gave must not stay where the other weights lack it
    dropped = {*(default if isinstance(default, dict) else {}), *evaluated_keys()} - {"step"}
    kept = {key: value for key, value in summary.items() if key not in dropped}
    for key in ("kl_per_dim", "mi_per_dim", "moments", "collapse", "train_mode", RESULTS_KEY):
        kept.pop(key, None)
    results = {
        key.removesuffix(RULE_MARK + rule): result
        for key, result in find_copies(summary).items()
        if key.endswith(RULE_MARK + rule)
    }
    # the step of a summary is that of the end of training
    numbers = {key: value for key, value in chosen.items() if key != "step"}
    return {**join_results({**kept, **numbers}, results), "weights": rule}
