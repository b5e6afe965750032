"""Cross-entropy and negative log-likelihood: what the model's belief costs at the true class."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lastlayer import kernels
from lastlayer.functional import _checks, _options, _reduction
from lastlayer.functional._options import Number
from lastlayer.functional._reduction import Empty, Loss, Reduction


def cross_entropy(
    input: Float[Tensor, "*logits"],
    target: Int[Tensor, "*indices"] | Float[Tensor, "*logits"],
    weight: Float[Tensor, " classes"] | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: Reduction = "mean",
    label_smoothing: Number = 0.0,
    *,
    z_loss: Number = 0.0,
    softcap: Number | None = None,
    temperature: Number = 1.0,
    return_lse: bool = False,
    empty: Empty = "nan",
    check: bool | None = None,
    backend: str = "auto",
) -> Loss:
    r"""Surprise at the true class, in nats: log Σⱼ exp zⱼ − z_y.

    Takes logits, not probabilities: softmax is part of it. With probabilities q as targets it is −Σⱼ qⱼ log pⱼ.

    Args:
        input: Logits of shape (classes), (batch, classes) or (batch, classes, d1, …, dK), in float16, bfloat16,
            float32 or float64.
        target: int64 class indices in [0, classes), one per row: shape (), (batch) or (batch, d1, …, dK). Or
            floating probabilities of the shape of `input`; one-hot floats are probabilities too.
        weight: One non-negative factor per class; "mean" divides by the sum of the factors used.
        size_average: Deprecated in PyTorch; use `reduction`.
        ignore_index: Rows with this index count for nothing: loss 0, gradient 0, not in the denominator.
        reduce: Deprecated in PyTorch; use `reduction`.
        reduction: "none", "sum" or "mean". With probabilities "mean" divides by the number of rows.
        label_smoothing: ε in [0, 1]: the target becomes (1 − ε)·target + ε / classes.
        z_loss: Adds z_loss · (log Σⱼ exp uⱼ)² per row, which holds the normaliser near 1. Class weights do not
            apply to it, and "mean" divides it by the rows that are not ignored.
        softcap: Replace each logit by softcap · tanh(z / softcap).
        temperature: Then divide it by this: u = softcap·tanh(z / softcap) / temperature. This and the three numbers
            above may be tensors of one number, which get their gradient: a temperature can be learnt.
        return_lse: Return (loss, lse), lse being log Σⱼ exp uⱼ per row in float32 or better, differentiable.
        empty: The mean when every row is ignored: "nan" as in PyTorch (its gradient is 0), or "zero".
        check: Read the indices and raise on a bad one. None reads them on the CPU, where that is free; elsewhere a
            row with a bad index gets NaN for loss and gradient.
        backend: "auto", or the name of one backend (`lastlayer.kernels.BACKENDS`); a name never falls back.

    Returns:
        The loss in the dtype of `input`, computed one dtype wider and rounded once: a scalar, or one number per row
        with reduction="none".

    Raises:
        ShapeError: `target` is neither one index per row nor of the shape of `input`, or `weight` is not one number
            per class.
        DeviceError: the tensors are on different devices.
        DtypeError: an argument is no tensor, logits are not floating, indices are not int64, or one-hot targets
            are integers.
        TargetError: an index lies outside [0, classes); the message names the row and the value.
        OptionError: an option has a value that it cannot take.

    >>> cross_entropy(torch.tensor([[4.0, 2.0, -2.0]]), torch.tensor([0]))
    tensor(0.1291)
    >>> cross_entropy(torch.tensor([[4.0, 2.0, -2.0]]), torch.tensor([[0.5, 0.5, 0.0]]))
    tensor(1.1291)

    Source: Bridle 1990; label smoothing: Szegedy et al. 2016, arXiv:1512.00567; z-loss: Chowdhery et al. 2022,
    arXiv:2204.02311.
    """
    how = _reduction.choose(reduction, size_average, reduce)
    _reduction.empty_rule(empty)
    given = label_smoothing, z_loss, softcap, temperature
    plain = _options.are_plain(given)
    numbers: tuple[Any, Any, Any, Any] = _USUAL if plain and given == _USUAL else _options.cross_entropy(*given)
    # Tensors of which nothing is left to check; where `read`, not even the indices: the kernel meets them anyway.
    usual = weight is None and _checks.are_rows_and_indices(input, target)
    axis = 1 if usual else _check_tensors(input, target, weight, check)
    read = usual and plain and check is not False and kernels.reads_targets("cross_entropy", input, backend)

    dtype = _reduction.loss_dtype(input)
    guard: int | None = ignore_index
    if not usual and target.shape == input.shape:
        _checks.probability_target(input, target, ignore_index)
        dtype = torch.promote_types(dtype, target.dtype)
        dtype = dtype if weight is None else torch.promote_types(dtype, weight.dtype)
        target, guard = target.movedim(axis, -1), None
    elif not read:
        guard = _checks.index_target(input, target, axis, ignore_index, check)
        target = _indices(input, target)
    options = kernels.Options(dtype, how, *numbers, empty, guard, return_lse, read)
    compute = kernels.select("cross_entropy", input, backend)
    loss: Tensor
    lse: Tensor
    try:
        loss, lse = compute(input if input.dim() <= 2 else input.movedim(axis, -1), target, weight, options)
        return (loss, lse) if return_lse else loss  # type: ignore[return-value]  # see Loss
    except kernels.OutOfRangeError:
        pass  # left first, so that there is one error and not one during another
    raise _checks.unnamed(target, input.shape[axis], ignore_index)


_USUAL = (0.0, 0.0, None, 1.0)  # numbers that need no check


def _check_tensors(input: Tensor, target: Tensor, weight: Tensor | None, check: bool | None) -> int:
    """Return the class axis."""
    _checks.is_tensor("cross_entropy", input=input, target=target)
    _checks.is_floating("cross_entropy", input=input)
    axis = _checks.class_axis(input)
    _checks.same_device(input=input, target=target, weight=weight)
    _checks.class_weight(weight, input.shape[axis], check)
    return axis


def nll_loss(
    input: Float[Tensor, "*log_probabilities"],
    target: Int[Tensor, "*indices"],
    weight: Float[Tensor, " classes"] | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: Reduction = "mean",
    *,
    empty: Empty = "nan",
    check: bool | None = None,
    backend: str = "auto",
) -> Float[Tensor, "..."]:
    r"""Negative log-likelihood in nats, of log-probabilities: −log p_y.

    It picks and negates; it takes no logarithm. Give it the output of `log_softmax`, never of `softmax`; from
    logits use `cross_entropy`, which is both in one.

    Args:
        input: Log-probabilities of shape (classes), (batch, classes) or (batch, classes, d1, …, dK).
        target: int64 class indices in [0, classes), one per row.
        weight: One non-negative factor per class; "mean" divides by the sum of the factors used.
        size_average: Deprecated in PyTorch; use `reduction`.
        ignore_index: Rows with this index count for nothing.
        reduce: Deprecated in PyTorch; use `reduction`.
        reduction: "none", "sum" or "mean".
        empty: The mean when every row is ignored: "nan" as in PyTorch, or "zero".
        check: Read the indices and raise on a bad one; None reads them on the CPU only.
        backend: "auto", or the name of one backend.

    Returns:
        The loss in the dtype of `input`: a scalar, or one number per row with reduction="none".

    Raises:
        ShapeError: `target` is not one index per row, or `weight` is not one number per class.
        DeviceError: the tensors are on different devices.
        DtypeError: an argument is no tensor, `input` is not floating, or indices are not int64.
        TargetError: an index lies outside [0, classes).
        OptionError: an option has a value that it cannot take.

    >>> nll_loss(torch.tensor([[0.7, 0.2, 0.1]]).log(), torch.tensor([0]))
    tensor(0.3567)
    """
    how = _reduction.choose(reduction, size_average, reduce)
    _reduction.empty_rule(empty)
    _checks.is_tensor("nll_loss", input=input, target=target)
    _checks.is_floating("nll_loss", input=input)
    axis = _checks.class_axis(input)
    _checks.same_device(input=input, target=target, weight=weight)
    _checks.class_weight(weight, input.shape[axis], check)
    guard = _checks.index_target(input, target, axis, ignore_index, check)
    loss: Tensor = kernels.select("nll_loss", input, backend)(
        input if input.dim() <= 2 else input.movedim(axis, -1),
        _indices(input, target),
        weight,
        kernels.Options(_reduction.loss_dtype(input), how, empty=empty, ignore_index=guard),
    )
    return loss


def _indices(input: Tensor, target: Tensor) -> Tensor:
    """int64; a single row's index as a scalar, which PyTorch takes as (1,) too."""
    index = target if target.dtype is torch.int64 else target.long()
    return index.reshape(()) if input.dim() == 1 else index
