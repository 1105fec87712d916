"""Checks of what encode and nll return; InputError says what was expected."""

from typing import TypeGuard

from torch import Tensor
from torch.distributions import Independent, Normal

from uncollapse.diagnosis.user_posterior import PosteriorLike, UserPosterior
from uncollapse.distributions.normal import DiagonalGaussian, Posterior
from uncollapse.distributions.precision import wide
from uncollapse.errors import InputError

ALLOWED_ENCODINGS = (
    "a tuple (mean, log_var) of tensors [B, D], a torch.distributions.Normal "
    "(or Independent(Normal)) of shape [B, D], or a posterior of uncollapse.posteriors"
)


def to_posterior(answer: object, number: int) -> Posterior:
    """The posterior that encode returned for batch `number`; InputError if it is none."""
    q = parse_answer(answer, number)
    if q.kl.dim() != 2 or len(q.kl) != len(q.mean):
        raise InputError(
            f"encode: the posterior's kl is of shape {list(q.kl.shape)}; "
            f"allowed is [{len(q.mean)}, D] or [{len(q.mean)}, 1]"
        )
    check_finite_values("encode: the kl of the posterior", q.kl, number)
    return q


def parse_answer(answer: object, number: int) -> Posterior:
    """A DiagonalGaussian of a Normal or a pair of tensors; a posterior with its own methods."""
    answer = strip_independent(answer)
    if isinstance(answer, Normal):
        return parse_normal(answer, number)
    if is_tensor_pair(answer):
        mean, log_var = check_pair(("mean", answer[0]), ("log_var", answer[1]), number)
        return DiagonalGaussian.from_log_var(mean, log_var)
    if isinstance(answer, PosteriorLike):
        check_pair(("mean", answer.mean), ("variance", answer.variance), number)
        return answer if isinstance(answer, Posterior) else UserPosterior(answer)
    kind = type(answer).__name__
    if isinstance(answer, tuple | list):
        kind += f" of {' and '.join(type(item).__name__ for item in answer)}"
    raise InputError(f"encode: returned a {kind}; allowed is {ALLOWED_ENCODINGS}")


def parse_normal(answer: Normal, number: int) -> DiagonalGaussian:
    mean, scale = check_pair(("mean", answer.loc), ("scale", answer.scale), number)
    if not (scale > 0).all():
        bad = int((scale <= 0).sum())
        raise InputError(
            f"encode: scale has {bad} of {scale.numel()} values that are not above 0 "
            f"in batch {number}"
        )
    # the logarithm in float32: in float16 it would lose the digits of a small variance
    return DiagonalGaussian(mean, scale, 2 * wide(scale).log())


def strip_independent(answer: object) -> object:
    """The distribution inside any number of `Independent` wrappers."""
    while isinstance(answer, Independent):
        answer = answer.base_dist
    return answer


def is_tensor_pair(answer: object) -> TypeGuard[tuple[Tensor, Tensor]]:
    if not isinstance(answer, tuple | list):
        return False
    return len(answer) == 2 and all(isinstance(item, Tensor) for item in answer)


def raw_mean_log_var(answer: object) -> tuple[Tensor, Tensor]:
    """mean and ln sigma² [B, D] of a Normal or a pair, in the dtype that encode returned."""
    answer = strip_independent(answer)
    if isinstance(answer, Normal):
        return answer.loc, 2 * answer.scale.log()
    assert is_tensor_pair(answer)
    mean, log_var = answer
    return mean, log_var


def check_pair(
    first: tuple[str, Tensor], second: tuple[str, Tensor], number: int
) -> tuple[Tensor, Tensor]:
    """Two named tensors, detached. InputError unless both are finite floats of one shape [B, D]."""
    for name, x in (first, second):
        # 0 in the shape: a batch or a code without any entries
        if x.dim() != 2 or not x.is_floating_point() or 0 in x.shape:
            raise InputError(
                f"encode: {name} is of shape {list(x.shape)} and type {x.dtype} "
                f"in batch {number}; allowed are floats [B, D]"
            )
    shapes = [list(x.shape) for _, x in (first, second)]
    if shapes[0] != shapes[1]:
        raise InputError(
            f"encode: {first[0]} is of shape {shapes[0]} and {second[0]} of shape {shapes[1]} "
            f"in batch {number}; allowed is one shape [B, D] for both"
        )
    for name, x in (first, second):
        check_finite_values(f"encode: {name}", x, number)
    return first[1].detach(), second[1].detach()


def check_nll(answer: object, size: int, number: int) -> Tensor:
    """The values that nll returned, detached. InputError unless they are `size` finite floats."""
    if not isinstance(answer, Tensor):
        raise InputError(
            f"nll: returned a {type(answer).__name__}; "
            "allowed is a tensor [B], one number for each row of z"
        )
    if answer.shape != (size,) or not answer.is_floating_point():
        raise InputError(
            f"nll: returned shape {list(answer.shape)} and type {answer.dtype} for {size} rows "
            f"of z in batch {number}; allowed are floats [{size}]: summed over all pixels or words "
            "of an example, neither summed nor averaged over examples"
        )
    check_finite_values("nll", answer, number)
    return answer.detach()


def check_finite_values(what: str, x: Tensor, number: int) -> None:
    bad = x.numel() - int(x.isfinite().sum())
    if bad:
        raise InputError(
            f"{what} has {bad} of {x.numel()} values that are not finite (NaN or infinite) "
            f"in batch {number}"
        )
