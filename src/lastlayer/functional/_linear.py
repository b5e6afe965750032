"""Losses from the last hidden layer on: the linear map to the logits is part of them."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lastlayer import kernels
from lastlayer.errors import DtypeError, ShapeError
from lastlayer.functional import _checks, _options, _reduction, _sparse
from lastlayer.functional._options import Number
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
    label_smoothing: Number = 0.0,
    z_loss: Number = 0.0,
    softcap: Number | None = None,
    temperature: Number = 1.0,
    return_lse: bool = False,
    empty: Empty = "nan",
    check: bool | None = None,
    backend: str = "auto",
) -> Loss:
    r"""Cross-entropy of the logits input · linear_weightᵀ + linear_bias, in nats.

    The arguments of `torch.nn.functional.linear_cross_entropy` (PyTorch 2.13), for every PyTorch from 2.11. The
    logits exist one chunk at a time, and so does their gradient: never rows × classes of them.

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
    how = _reduction.choose(reduction, None, None)
    _reduction.empty_rule(empty)
    numbers = _options.cross_entropy(label_smoothing, z_loss, softcap, temperature)
    layer, axes = _layer("linear_cross_entropy", input, linear_weight, linear_bias, target, least=2)
    classes, *more = axes
    if more and input.dim() < 2:
        raise ShapeError(
            f"K-dimensional loss defined by linear_weight shape {tuple(linear_weight.shape)} requires batched input, "
            f"got {tuple(input.shape)}: pass (rows, features)."
        )
    rows = input.shape[:-1]
    # The shape of the logits, with which the target has to fit: the class axis is last, or in front of d1, …, dK.
    shape = (*rows, classes, *more) if more or len(rows) < 2 else (rows.numel(), classes)
    target = target if more else _rows_first(target, rows, classes)
    meta = torch.empty(shape, dtype=input.dtype, device="meta")
    axis = _checks.class_axis(meta)
    _checks.same_device(input=input, weight=weight)
    _checks.class_weight(weight, classes, check)
    ignored = -100 if ignore_index is None else ignore_index
    dtype, guard = _reduction.loss_dtype(input), None
    if target.shape == shape:
        _checks.probability_target(meta, target, ignored)
        dtype = torch.promote_types(dtype, target.dtype)
    else:
        guard = _checks.index_target(meta, target, axis, ignored, check)
        target = target.long()
    options = kernels.Options(dtype, how, *numbers, empty, guard)
    rows_of = kernels.select("cross_entropy_rows", layer.features, backend)
    if more:
        loss, lse = _at_positions(rows_of, layer, shape, target, weight, options, return_lse)
    else:
        flat = target.reshape(-1, classes) if target.is_floating_point() else target.reshape(-1)
        loss, lse = kernels.linear_cross_entropy(rows_of, layer, flat, weight, options, return_lse)
        loss, lse = loss.reshape(rows) if how == "none" else loss, lse.reshape(rows) if return_lse else lse
    loss = loss.to(dtype)
    return (loss, lse) if return_lse else loss  # type: ignore[return-value]  # see Loss


def _at_positions(
    rows_of: Any,
    layer: kernels.Layer,
    shape: tuple[int, ...],
    target: Tensor,
    weight: Tensor | None,
    options: kernels.Options,
    with_lse: bool,
) -> tuple[Tensor, Tensor]:
    """With logits of `shape`, (rows, classes, d1, …, dK): the classes go last, as kernels have them."""
    rows, classes, *axes = shape
    places = math.prod(axes)
    by_place = layer.weight.reshape(classes, places, -1).movedim(1, 0).flatten(0, 1)
    bias = None if layer.bias is None else layer.bias.reshape(classes, places).t().reshape(-1)
    flat = target.flatten(2).movedim(1, -1) if target.is_floating_point() else target.reshape(rows, places)
    turned = kernels.Layer(layer.features, by_place, bias)
    loss, lse = kernels.linear_cross_entropy_of_positions(rows_of, turned, classes, flat, weight, options, with_lse)
    each = (rows, *axes)
    return loss.reshape(each) if options.reduction == "none" else loss, lse.reshape(each) if with_lse else lse


def linear_binary_cross_entropy(
    input: Float[Tensor, "*rows features"],
    linear_weight: Float[Tensor, "*classes features"],
    target: Float[Tensor, "..."] | Sequence[Sequence[int]],
    *,
    linear_bias: Float[Tensor, "*classes"] | None = None,
    weight: Float[Tensor, "..."] | None = None,
    pos_weight: Float[Tensor, "..."] | None = None,
    reduction: Reduction = "mean",
    focal_gamma: Number = 0.0,
    label_smoothing: Number = 0.0,
    backend: str = "auto",
) -> Float[Tensor, "..."]:
    r"""Binary cross-entropy of the logits input · linear_weightᵀ + linear_bias, in nats.

    Args:
        input: Features of shape (…, features).
        linear_weight: (classes, features) for one question per class, or (features) for a single question.
        target: Probabilities of "yes" in [0, 1]: (…, classes), or (…) for a single question. Where few of many
            classes are "yes": one list of class indices per row, or a CSR tensor (rows, classes); neither is ever
            made dense.
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
    how = _reduction.choose(reduction, None, None)
    numbers = _options.binary_cross_entropy(focal_gamma, label_smoothing)
    name = "linear_binary_cross_entropy"
    layer, axes = _layer(name, input, linear_weight, linear_bias, target, least=1)
    shape = (*input.shape[:-1], *axes)
    meta = torch.empty(shape, device="meta")
    for factor_name, factor in (("weight", weight), ("pos_weight", pos_weight)):
        _checks.non_negative(factor_name, factor)
        _checks.same_device(input=input, **{factor_name: factor})
        _checks.broadcasts(factor_name, factor, meta)
    flat = (layer.features.shape[0], layer.weight.shape[0])
    labels = _binary_target(name, target, shape, flat, input.device)
    dtype = _reduction.loss_dtype(input)
    if isinstance(labels, Tensor):
        dtype = torch.promote_types(dtype, labels.dtype)
    weight, pos_weight = (None if x is None else _flat_factor(x, shape, flat) for x in (weight, pos_weight))
    loss: Tensor = kernels.linear_binary_cross_entropy(
        kernels.select("binary_cross_entropy_elements", layer.features, backend),
        layer,
        labels,
        weight,
        pos_weight,
        kernels.BinaryOptions(dtype, how, *numbers),
    )
    return loss.reshape(shape) if how == "none" else loss


def _layer(
    name: str, input: Tensor, weight: Tensor, bias: Tensor | None, target: object, *, least: int
) -> tuple[kernels.Layer, tuple[int, ...]]:
    """The linear map with its axes flattened, and those of its outputs."""
    _checks.is_tensor(name, input=input, linear_weight=weight)
    _checks.is_floating(name, input=input, linear_weight=weight)
    if isinstance(target, Tensor):
        _checks.same_device(input=input, target=target)
    _checks.same_device(input=input, linear_weight=weight, linear_bias=bias)
    axes = tuple(weight.shape[:-1])
    device = input.device.type
    autocast = _reduction.autocasts(device)
    _fits(input, weight, bias, axes, least=least, autocast=autocast)
    if autocast:
        half = torch.get_autocast_dtype(device)
        weight, bias = weight.to(half), None if bias is None else bias.to(half)
    features = (input.to(half) if autocast else input).reshape(-1, input.shape[-1])
    flat_bias = None if bias is None else bias.reshape(-1)
    return kernels.Layer(features, weight.reshape(-1, weight.shape[-1]), flat_bias), axes


def _binary_target(
    name: str,
    target: Tensor | Sequence[Sequence[int]],
    shape: tuple[int, ...],
    flat: tuple[int, int],
    device: torch.device,
) -> Tensor | kernels.Sparse:
    """Dense targets as a matrix, or sparse ones in compressed rows."""
    if isinstance(target, Tensor) and target.layout is torch.strided:
        _checks.is_floating(name, target=target)
        if tuple(target.shape) != shape:
            raise ShapeError(
                f"Target size ({target.shape}) must be the same as input size ({torch.Size(shape)}). "
                "They need one target per class of each row; sparse ones are lists of class indices, or in CSR layout."
            )
        _checks.probabilities(name, "target", target)
        return target.reshape(flat)
    return _sparse.compressed(target, flat, device)


def _flat_factor(factor: Tensor, shape: tuple[int, ...], flat: tuple[int, int]) -> Tensor:
    """A factor that broadcasts to `shape`, so that it broadcasts to the matrix `flat`."""
    if factor.dim() < 2 and shape[-1:] == flat[1:]:
        return factor
    return factor.expand(shape).reshape(flat)


def _fits(
    input: Tensor, weight: Tensor, bias: Tensor | None, classes: tuple[int, ...], *, least: int, autocast: bool
) -> None:
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
    for name, tensor in (("linear_weight", weight), ("linear_bias", bias)):
        if tensor is not None and tensor.dtype != input.dtype and not autocast:
            raise DtypeError(
                f"expected input and {name} to have the same dtype, got {input.dtype} and {tensor.dtype}. "
                f"Convert one of them: {name}.to(input.dtype)."
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
