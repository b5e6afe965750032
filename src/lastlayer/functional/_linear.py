"""Losses from the last hidden layer on: the linear map to the logits is part of them."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lastlayer import kernels
from lastlayer.errors import ShapeError
from lastlayer.functional import _checks
from lastlayer.functional._binary_cross_entropy import binary_cross_entropy_with_logits
from lastlayer.functional._cross_entropy import cross_entropy
from lastlayer.functional._reduction import Empty, Loss, Reduction


def linear_cross_entropy(
    input: Float[Tensor, "*rows features"],
    linear_weight: Float[Tensor, "classes *more features"],
    target: Int[Tensor, "..."] | Float[Tensor, "..."],
    *,
    linear_bias: Float[Tensor, "classes *more"] | None = None,
    weight: Float[Tensor, " classes"] | None = None,
    reduction: Reduction = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    temperature: float = 1.0,
    return_lse: bool = False,
    empty: Empty = "nan",
    check: bool | None = None,
    backend: str = "auto",
) -> Loss:
    r"""Cross-entropy of the logits input · linear_weightᵀ + linear_bias, in nats.

    The arguments of `torch.nn.functional.linear_cross_entropy` (PyTorch 2.13), for every PyTorch from 2.11. Half
    precision is multiplied and accumulated in float32, so the logits are never rounded to half.

    Args:
        input: Features of shape (features) or (…, features).
        linear_weight: (classes, features), or (classes, d1, …, dK, features) for several predictions per row.
        target: Class indices, one per row (and per d1, …, dK), or probabilities with the class axis where the
            logits have it: last for (…, features) alone, axis 1 with d1, …, dK.
        linear_bias: (classes), or (classes, d1, …, dK).
        weight: As in `cross_entropy`.
        reduction: As in `cross_entropy`.
        ignore_index: As in `cross_entropy`; None means −100 for indices.
        label_smoothing: As in `cross_entropy`.
        z_loss: As in `cross_entropy`.
        softcap: As in `cross_entropy`.
        temperature: As in `cross_entropy`.
        return_lse: As in `cross_entropy`.
        empty: As in `cross_entropy`.
        check: As in `cross_entropy`.
        backend: As in `cross_entropy`.

    Returns:
        The loss in the dtype of `input`, as from `cross_entropy`.

    Raises:
        ShapeError: features, weight, bias and target do not fit together.
        DtypeError: an argument is no tensor or has a dtype that it cannot have.
        TargetError: an index lies outside [0, classes).
        OptionError: an option has a value that it cannot take.

    >>> features, weight = torch.tensor([[1.0, 0.0]]), torch.tensor([[4.0, 9.0], [2.0, 9.0], [-2.0, 9.0]])
    >>> linear_cross_entropy(features, weight, torch.tensor([0]))
    tensor(0.1291)

    Source: Wijmans et al. 2024, arXiv:2411.09009.
    """
    name = "linear_cross_entropy"
    _checks.is_tensor(name, input=input, linear_weight=linear_weight, target=target)
    _checks.is_floating(name, input=input, linear_weight=linear_weight)
    classes, *more = linear_weight.shape[:-1] or (0,)
    _fits(input, linear_weight, linear_bias, (classes, *more), least=2)
    if more and input.dim() < 2:
        raise ShapeError(
            f"K-dimensional loss defined by linear_weight shape {tuple(linear_weight.shape)} requires batched input, "
            f"got {tuple(input.shape)}: pass (rows, features)."
        )
    flat_bias = None if linear_bias is None else linear_bias.reshape(-1)
    product: Tensor = kernels.select("linear", input, backend)(
        input, linear_weight.reshape(-1, linear_weight.shape[-1]), flat_bias
    )
    rows = input.shape[:-1]
    if more:
        logits = product.reshape(*rows, classes, *more)
    else:  # leading axes are rows: the class axis stays last, and cross_entropy wants it at 1
        logits = product.reshape(-1, classes) if input.dim() > 1 else product
        target = _rows_first(target, rows, classes)
    loss, lse = cross_entropy(
        logits,
        target,
        weight,
        ignore_index=-100 if ignore_index is None else ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
        z_loss=z_loss,
        softcap=softcap,
        temperature=temperature,
        return_lse=True,
        empty=empty,
        check=check,
        backend=backend,
    )
    if not more:
        loss, lse = loss.reshape(rows) if reduction == "none" else loss, lse.reshape(rows)
    loss = loss.to(input.dtype)
    return (loss, lse) if return_lse else loss  # type: ignore[return-value]  # see Loss


def linear_binary_cross_entropy(
    input: Float[Tensor, "*rows features"],
    linear_weight: Float[Tensor, "*classes features"],
    target: Float[Tensor, "..."],
    *,
    linear_bias: Float[Tensor, "*classes"] | None = None,
    weight: Float[Tensor, "..."] | None = None,
    pos_weight: Float[Tensor, "..."] | None = None,
    reduction: Reduction = "mean",
    focal_gamma: float = 0.0,
    label_smoothing: float = 0.0,
    backend: str = "auto",
) -> Float[Tensor, "..."]:
    r"""Binary cross-entropy of the logits input · linear_weightᵀ + linear_bias, in nats.

    Args:
        input: Features of shape (…, features).
        linear_weight: (classes, features) for one question per class, or (features) for a single question.
        target: Probabilities of "yes" in [0, 1]: (…, classes), or (…) for a single question.
        linear_bias: (classes), or () for a single question.
        weight: As in `binary_cross_entropy_with_logits`.
        pos_weight: As in `binary_cross_entropy_with_logits`.
        reduction: As in `binary_cross_entropy_with_logits`.
        focal_gamma: As in `binary_cross_entropy_with_logits`.
        label_smoothing: As in `binary_cross_entropy_with_logits`.
        backend: As in `binary_cross_entropy_with_logits`.

    Returns:
        The loss in the dtype of `input`.

    Raises:
        ShapeError: features, weight, bias and target do not fit together.
        DtypeError: an argument is no floating tensor.
        ProbabilityError: a target lies outside [0, 1].
        OptionError: an option has a value that it cannot take.

    >>> linear_binary_cross_entropy(torch.tensor([[1.0, 0.5]]), torch.tensor([2.0, 0.0]), torch.tensor([1.0]))
    tensor(0.1269)
    """
    _checks.is_floating("linear_binary_cross_entropy", input=input, linear_weight=linear_weight, target=target)
    _fits(input, linear_weight, linear_bias, tuple(linear_weight.shape[:-1]), least=1)
    flat_bias = None if linear_bias is None else linear_bias.reshape(-1)
    product: Tensor = kernels.select("linear", input, backend)(
        input, linear_weight.reshape(-1, linear_weight.shape[-1]), flat_bias
    )
    loss = binary_cross_entropy_with_logits(
        product.reshape(*input.shape[:-1], *linear_weight.shape[:-1]),
        target.to(product.dtype) if target.dtype == input.dtype else target,
        weight,
        pos_weight=pos_weight,
        reduction=reduction,
        focal_gamma=focal_gamma,
        label_smoothing=label_smoothing,
        backend=backend,
    )
    return loss.to(input.dtype)


def _fits(input: Tensor, weight: Tensor, bias: Tensor | None, classes: tuple[int, ...], *, least: int) -> None:
    if input.dim() < 1:
        raise ShapeError("expected input with dimensionality 1 or more, got 0: pass (rows, features).")
    if weight.dim() < least:
        raise ShapeError(
            f"expected linear_weight with dimensionality at least {least}, got {weight.dim()}: its last axis is the "
            "features."
        )
    if input.shape[-1] != weight.shape[-1]:
        raise ShapeError(
            f"expected equal input and linear_weight last dimensions (in_features), got {input.shape[-1]} and "
            f"{weight.shape[-1]}, respectively. The weight has one row per class, as in torch.nn.Linear."
        )
    if bias is not None:
        _checks.is_floating("linear_bias", linear_bias=bias)
        if tuple(bias.shape) != classes:
            raise ShapeError(f"expected linear_bias shape {classes}, got {tuple(bias.shape)}.")


def _rows_first(target: Tensor, rows: torch.Size, classes: int) -> Tensor:
    """Flatten the axes of the rows, as the logits are; a shape that fits neither form is left for the check."""
    if tuple(target.shape) == (*rows, classes):
        return target.reshape(-1, classes) if rows else target
    return target.reshape(-1) if target.shape == rows and rows else target
