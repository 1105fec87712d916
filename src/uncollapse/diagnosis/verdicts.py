"""The verdict of `diagnose`, one sentence: whether the decoder uses z, and what z holds about x."""

import numpy as np

from uncollapse.json_types import JsonMapping

COLLAPSE_GAP = 0.1  # nats: a shuffled gap significantly below it is called a collapse
# nats: a dimension counts as used if its mi is above this and above two standard errors
USED_MI = 0.05


def verdict(metrics: JsonMapping) -> str:
    """One sentence from the metrics: does the decoder read z, and what does z hold about x?"""
    decoder, is_collapsed = judge_decoder(metrics)
    link = ", yet" if is_collapsed and metrics["kl"] > COLLAPSE_GAP else ";"
    return f"{decoder}{link} {describe_encoder(metrics)}."


def judge_decoder(metrics: JsonMapping) -> tuple[str, bool]:
    """A clause about the decoder, from the shuffled gap; and whether this is a collapse."""
    gap, error = metrics["shuffle_gap"], metrics["shuffle_gap_se"]
    if gap is None or error is None:
        return (
            "cannot tell whether the decoder reads z: too few batches hold two examples whose "
            "codes could be exchanged",
            False,
        )
    measured = f"shuffled gap {round(gap, 2) + 0:.2f} ± {error:.2f} nats"  # + 0: no "-0.00"
    # exactly 0 for every example: the decoder does not read z at all
    if gap == 0 and error == 0:
        return f"collapsed: the decoder ignores z: {measured}", True
    # three standard errors, since this accuses the user's code
    if gap < -3 * error:
        return (
            "something is wrong: examples are decoded better from another example's code than "
            f"from their own ({measured}), so encode and nll may not see the examples in the same "
            "order, or nll returns log p in place of -log p",
            False,
        )
    # significantly below the threshold
    if gap + 2 * error < COLLAPSE_GAP:
        gain = "nothing" if gap <= 2 * error else "next to nothing"
        return f"collapsed: the decoder gains {gain} from z: {measured}", True
    # not significantly different from 0
    if gap <= 2 * error:
        return (
            f"cannot tell whether the decoder reads z: {measured} does not differ from 0 with this "
            "number of examples",
            False,
        )
    return f"not collapsed: the decoder reads z: {measured}", False


def describe_encoder(metrics: JsonMapping) -> str:
    """A clause about the encoder: mutual information (or its ceiling), rate, used dimensions."""
    mi, rest = (
        # an estimate of 0 may be slightly negative
        f"{max(metrics['mi'], 0):.2f} ± {metrics['mi_se']:.2f} nats",
        describe_dimensions(metrics),
    )
    if metrics["mi_saturated"]:
        mi = f"at least about {metrics['mi']:.2f} nats"
        rest += f"; mi is saturated (ceiling ln {metrics['mi_n']:,} = {metrics['mi_ceiling']:.2f})"
    return f"the encoder writes {mi} about x, at a rate of {metrics['kl']:.2f}{rest}"


def describe_dimensions(metrics: JsonMapping) -> str:
    """', into 2 of 8 dimensions (z[0], z[5])'; '' if KL does not split over dimensions."""
    if metrics["mi_per_dim"] is None:
        return ""
    mi, error = np.array(metrics["mi_per_dim"]), np.array(metrics["mi_per_dim_se"])
    # of D dimensions, about 2 % exceed two errors by chance, so the floor USED_MI is needed, too
    used = np.flatnonzero(mi > np.maximum(USED_MI, 2 * error))
    if not len(used):
        return f", and no single dimension holds more than {USED_MI} nats about x"
    names = ", ".join(f"z[{i}]" for i in used)
    listed = f" ({names})" if len(used) < len(mi) and len(used) <= 8 else ""
    return f", into {len(used)} of {len(mi)} dimensions{listed}"
