"""The verdict of `diagnose`, one sentence: does the decoder read z, and what does the encoder write into it?"""

from collections.abc import Mapping
from typing import Any

import numpy as np

COLLAPSE_GAP = 0.1  # nats: a shuffled gap surely below it is called a collapse
USED_MI = (
    0.05  # nats: a dimension tells of x when its mi is above this and above two standard errors
)


def verdict(found: Mapping[str, Any]) -> str:
    """One sentence: does the decoder read z, and what does the encoder write into it?"""
    reads, collapsed = judge_decoder(found)
    link = ", yet" if collapsed and found["kl"] > COLLAPSE_GAP else ";"
    return f"{reads}{link} {describe_encoder(found)}."


def judge_decoder(found: Mapping[str, Any]) -> tuple[str, bool]:
    """What the shuffled gap allows to say, and whether that is a collapse."""
    gap, error = found["shuffle_gap"], found["shuffle_gap_se"]
    if gap is None or error is None:
        return (
            "cannot tell whether the decoder reads z: too few batches hold two examples whose codes could be exchanged",
            False,
        )
    measured = f"shuffled gap {round(gap, 2) + 0:.2f} ± {error:.2f} nats"
    if gap == 0 and error == 0:
        return f"collapsed: the decoder ignores z: {measured}", True
    if gap < -3 * error:
        return (
            f"something is wrong: another example's code fits better than the own one ({measured}), "
            "so encode and nll may not see the examples in the same order, or nll returns log p in place of -log p"
        ), False
    if gap + 2 * error < COLLAPSE_GAP:
        much = "nothing" if gap <= 2 * error else "next to nothing"
        return f"collapsed: the decoder gains {much} from z: {measured}", True
    if gap <= 2 * error:
        return (
            f"cannot tell whether the decoder reads z: {measured} does not differ from 0 at this number of examples",
            False,
        )
    return f"not collapsed: the decoder reads z: {measured}", False


def describe_encoder(found: Mapping[str, Any]) -> str:
    """mi, with its ceiling where that is what was measured, and the dimensions that tell of x."""
    told, rest = (
        f"{max(found['mi'], 0):.2f} ± {found['mi_se']:.2f} nats",
        describe_dimensions(found),
    )
    if found["mi_saturated"]:
        told = f"at least about {found['mi']:.2f} nats"
        rest += f"; mi is saturated (ceiling ln {found['mi_n']:,} = {found['mi_ceiling']:.2f})"
    return f"the encoder writes {told} about x, of a rate of {found['kl']:.2f}{rest}"


def describe_dimensions(found: Mapping[str, Any]) -> str:
    """', into 2 of 8 dimensions (z[0], z[5])'; '' where the posterior does not split."""
    if found["mi_per_dim"] is None:
        return ""
    mi, error = np.array(found["mi_per_dim"]), np.array(found["mi_per_dim_se"])
    used = np.flatnonzero(mi > np.maximum(USED_MI, 2 * error))
    if not len(used):
        return f", and no dimension tells more than {USED_MI} nats of x"
    names = (
        f" ({', '.join(f'z[{i}]' for i in used)})" if len(used) < len(mi) and len(used) <= 8 else ""
    )
    return f", into {len(used)} of {len(mi)} dimensions{names}"
