"""`rate=4`: the value of a head's knob with which a run reaches this rate, found by bisection.

Each trial is a short run of the same config, in the study `<study>-rate`, so a search that was
stopped continues where it was. The rate of a short run is not quite that of the full one, whose
summary has the rate that it reached.
"""

from collections.abc import Callable, Sequence
from math import sqrt

from omegaconf import DictConfig

from uncollapse.config import knobs_of
from uncollapse.config.knobs import check_head
from uncollapse.config.shorthands import Frontier, key_of, read_frontier, replace_shorthands
from uncollapse.errors import InputError, check_number
from uncollapse.request import understand_request
from uncollapse.run import run
from uncollapse.runs.results import read_summary

TRIAL_SHARE = 0.25  # of trainer.epochs
SEARCH_TOLERANCE = 0.05  # of the requested rate: a trial this close ends the search
MOST_TRIALS = 8  # after those of both ends of the frontier
SET_BY_TRIALS = ("rate", "study", "trainer.epochs", "trainer.until")
Measure = Callable[[float], float]  # a value of the knob -> the rate in nats


def replace_rate(
    cfg: DictConfig, head: object, words: Sequence[str]
) -> tuple[DictConfig, list[str]]:
    """The config and its override words with the knob that gives the rate in place of `rate`.

    Unchanged without a rate, and for a head with a knob of that name. InputError for a head without
    a frontier, and for a rate that no value of it reaches.
    """
    name = check_head(head)
    if cfg.get("rate") is None or "rate" in knobs_of(name):
        return cfg, list(words)
    rate, frontier = check_number("rate", cfg.rate, 0), read_frontier(cfg, name)
    if frontier.reason:
        raise InputError(f"rate={rate:g}: head={name} has no frontier ({frontier.reason})")
    if twice := [word for word in words if key_of(word) in (frontier.knob, "level")]:
        raise InputError(
            f"rate={rate:g} and {twice[0]}: both set {frontier.knob}; give one of them"
        )

    def measure(value: float) -> float:
        kl = measure_trial(cfg, name, words, frontier.knob, value)
        print(f"rate={rate:g}: {frontier.knob}={value:g} gives {kl:.2f} nats", flush=True)
        return kl

    value = search(measure, rate, frontier, name)
    print(f"rate={rate:g}: the full run has {frontier.knob}={value:g}", flush=True)
    found = cfg.copy()
    found.rate, found[frontier.knob] = None, value
    return found, [f"{frontier.knob}={value:g}" if key_of(w) == "rate" else w for w in words]


def search(measure: Measure, rate: float, frontier: Frontier, head: str) -> float:
    """The tried value whose rate is nearest, by bisection between the frontier's ends.

    InputError if the rate lies outside of what the ends reach.
    """
    low, high = frontier.values[0], frontier.values[-1]
    tried = {low: measure(low), high: measure(high)}
    if not tried[low] <= rate <= tried[high]:
        raise InputError(
            f"rate={rate:g}: head={head} reaches {tried[low]:.2f} to {tried[high]:.2f} nats, with "
            f"{frontier.knob}={low:g} to {high:g}"
        )
    integers = all(isinstance(value, int) for value in frontier.values)
    for _ in range(MOST_TRIALS):
        nearest = min(tried, key=lambda value: abs(tried[value] - rate))
        # halfway in size; knobs that may be 0 or negative have no such middle
        middle = sqrt(low * high) if min(low, high) > 0 else (low + high) / 2
        middle = round_value(middle, integers)
        if abs(tried[nearest] - rate) <= SEARCH_TOLERANCE * rate or middle in tried:
            break
        tried[middle] = measure(middle)
        low, high = (middle, high) if tried[middle] < rate else (low, middle)
    return min(tried, key=lambda value: abs(tried[value] - rate))


def round_value(value: float, integer: bool) -> float:
    """Three significant digits, which keep the run's name short; or an integer."""
    return round(value) if integer else float(f"{value:.3g}")


def measure_trial(
    cfg: DictConfig, head: str, words: Sequence[str], knob: str, value: float
) -> float:
    """The test rate, in nats, of a short run with this value of the knob."""
    trial = cfg.copy()
    epochs = max(1, round(TRIAL_SHARE * cfg.trainer.epochs))
    trial.rate, trial[knob], trial.study = None, value, f"{cfg.study}-rate"
    trial.trainer.epochs, trial.trainer.until = epochs, "epochs"
    kept = [word for word in words if key_of(word) not in SET_BY_TRIALS]
    given = [*kept, f"{knob}={value:g}", f"trainer.epochs={epochs}"]
    run(trial, head, given)
    plain_cfg, plain_words = replace_shorthands(trial, given, head)
    request = understand_request(plain_cfg, head, plain_words)
    return float(read_summary(request.run)["kl"])
