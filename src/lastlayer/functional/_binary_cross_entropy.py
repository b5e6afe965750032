"""Binary cross-entropy: one yes-or-no question per element."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lastlayer import kernels
from lastlayer.errors import ShapeError
from lastlayer.functional import _checks, _options, _reduction
from lastlayer.functional._options import Number
from lastlayer.functional._reduction import Reduction


def binary_cross_entropy_with_logits(
    input: Float[Tensor, "*shape"],
    target: Float[Tensor, "*shape"],
    weight: Float[Tensor, "..."] | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: Reduction = "mean",
    pos_weight: Float[Tensor, "..."] | None = None,
    *,
    focal_gamma: Number = 0.0,
    label_smoothing: Number = 0.0,
    backend: str = "auto",
) -> Float[Tensor, "..."]:
    r"""Surprise at yes-or-no answers, in nats, from logits: −y log σ(z) − (1 − y) log(1 − σ(z)).

    Takes logits, not probabilities: the sigmoid is part of it. Accurate in both tails; an infinite logit gives the
    limit of the formula (0 where it is right, inf where it is wrong).

    Args:
        input: Logits of any shape.
        target: Probabilities of "yes" in [0, 1], in the shape of `input`.
        weight: Factor per element, broadcast to `input`; "mean" still divides by the number of elements.
        size_average: Deprecated in PyTorch; use `reduction`.
        reduce: Deprecated in PyTorch; use `reduction`.
        reduction: "none", "sum" or "mean" (over all elements).
        pos_weight: Factor of the "yes" term, broadcast to `input`: > 1 trades precision for recall.
        focal_gamma: γ ≥ 0: multiply each element by (1 − p_t)^γ, p_t being the probability of the right answer.
        label_smoothing: ε in [0, 1]: the target becomes y(1 − ε) + ε / 2. Both may be tensors of one number, which
            get their gradient.
        backend: "auto", or the name of one backend (`lastlayer.kernels.BACKENDS`).

    Returns:
        The loss in the dtype that `input` and `target` promote to: a scalar, or the shape of `input` with "none".

    Raises:
        ShapeError: `target` differs from `input` in shape, or a weight does not broadcast to it.
        DeviceError: the tensors are on different devices.
        DtypeError: an argument is no tensor, or logits, probabilities or targets are not floating.
        ProbabilityError: a target lies outside [0, 1].
        OptionError: an option has a value that it cannot take.

    >>> binary_cross_entropy_with_logits(torch.tensor([2.0, -15.25]), torch.tensor([1.0, 0.0]), reduction="none")
    tensor([1.2693e-01, 2.3824e-07])

    Source: Cox 1958; focal: Lin et al. 2017, arXiv:1708.02002.
    """
    how = _reduction.choose(reduction, size_average, reduce)
    name = "binary_cross_entropy_with_logits"
    given = focal_gamma, label_smoothing
    plain = _options.are_plain(given)
    numbers: tuple[Any, Any] = _USUAL if plain and given == _USUAL else _options.binary_cross_entropy(*given)
    alike = _checks.are_alike(input, target)
    if not alike:
        _same_shape(name, input, target, "Target size ({}) must be the same as input size ({})")
    _factor("weight", weight, input)
    _factor("pos_weight", pos_weight, input)
    read = alike and plain and kernels.reads_targets(name, input, backend)
    read = read and not _needs_formula(target, weight, pos_weight)
    if not read:
        _checks.probabilities(name, "target", target)
    dtype = torch.promote_types(input.dtype, target.dtype)
    options = kernels.BinaryOptions(dtype, how, *numbers, read)
    compute = kernels.select(name, input, backend)
    try:
        loss: Tensor = compute(input, target, weight, pos_weight, options)
        return loss
    except kernels.OutOfRangeError:
        pass  # left first, so that there is one error and not one during another
    raise _checks.improbable(name, "target", target)


_USUAL = (0.0, 0.0)  # numbers that need no check


def _needs_formula(*tensors: Tensor | None) -> bool:
    """Whether derivatives are asked for that a kernel does not have: then it is not the kernel that computes."""
    given = [tensor for tensor in tensors if tensor is not None]
    return any(tensor.requires_grad for tensor in given) or not kernels.is_plain(*given)


def binary_cross_entropy(
    input: Float[Tensor, "*shape"],
    target: Float[Tensor, "*shape"],
    weight: Float[Tensor, "..."] | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: Reduction = "mean",
    *,
    focal_gamma: Number = 0.0,
    label_smoothing: Number = 0.0,
    backend: str = "auto",
) -> Float[Tensor, "..."]:
    r"""Surprise at yes-or-no answers, in nats, from probabilities: −y log p − (1 − y) log(1 − p).

    From logits use `binary_cross_entropy_with_logits`: a probability that has rounded to 1 has lost what it knew.
    As in PyTorch each logarithm is at least −100, so that a certain and wrong answer costs 100 and not inf.

    Args:
        input: Probabilities of "yes" in [0, 1], of any shape.
        target: Probabilities of "yes" in [0, 1], in the shape of `input`.
        weight: Factor per element, broadcast to `input`; "mean" still divides by the number of elements.
        size_average: Deprecated in PyTorch; use `reduction`.
        reduce: Deprecated in PyTorch; use `reduction`.
        reduction: "none", "sum" or "mean" (over all elements).
        focal_gamma: γ ≥ 0: multiply each element by (1 − p_t)^γ, p_t being the probability of the right answer.
        label_smoothing: ε in [0, 1]: the target becomes y(1 − ε) + ε / 2. Both may be tensors of one number, which
            get their gradient.
        backend: "auto", or the name of one backend.

    Returns:
        The loss in the dtype of `input`: a scalar, or the shape of `input` with "none".

    Raises:
        ShapeError: `target` differs from `input` in shape, or `weight` does not broadcast to it.
        DeviceError: the tensors are on different devices.
        DtypeError: an argument is no tensor, or logits, probabilities or targets are not floating.
        ProbabilityError: an input or a target lies outside [0, 1].
        OptionError: an option has a value that it cannot take.

    >>> binary_cross_entropy(torch.tensor([0.9, 0.2]), torch.tensor([1.0, 0.0]))
    tensor(0.1643)
    """
    how = _reduction.choose(reduction, size_average, reduce)
    name = "binary_cross_entropy"
    _same_shape(
        name, input, target, "Using a target size ({}) that is different to the input size ({}) is not supported"
    )
    numbers = _options.binary_cross_entropy(focal_gamma, label_smoothing)
    _factor("weight", weight, input)
    _checks.probabilities(name, "input", input)
    _checks.probabilities(name, "target", target)
    loss: Tensor = kernels.select("binary_cross_entropy", input, backend)(
        input, target, weight, kernels.BinaryOptions(input.dtype, how, *numbers)
    )
    return loss


def _same_shape(function: str, input: Tensor, target: Tensor, wording: str) -> None:
    _checks.is_floating(function, input=input, target=target)
    _checks.same_device(input=input, target=target)
    if target.shape == input.shape:
        return
    advice = "They need one target per element."
    if target.numel() == input.numel() and 1 in input.shape:
        advice = f"Drop the extra axis: input.squeeze({list(input.shape).index(1)})."
    elif target.numel() == input.numel() and 1 in target.shape:
        advice = f"Drop the extra axis: target.squeeze({list(target.shape).index(1)})."
    raise ShapeError(f"{wording.format(target.shape, input.shape)}. {advice}")


def _factor(name: str, factor: Tensor | None, input: Tensor) -> None:
    if factor is not None:
        _checks.non_negative(name, factor)
        _checks.same_device(input=input, **{name: factor})
        _checks.broadcasts(name, factor, input)
