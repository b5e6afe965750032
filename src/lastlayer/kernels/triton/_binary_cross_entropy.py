"""Binary cross-entropy with logits, element by element."""

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from lastlayer.kernels._options import BinaryOptions
from lastlayer.kernels.eager import _autograd
from lastlayer.kernels.eager import _binary_cross_entropy as eager
from lastlayer.kernels.triton import _binary_cross_entropy_kernels as kernels
from lastlayer.kernels.triton._arithmetic import bits, flavour
from lastlayer.kernels.triton._cross_entropy_kernels import reduce
from lastlayer.kernels.triton._launch import FUSION, on_device

_WARPS = 8


def tile_of(kind: int) -> int:
    """Elements of a tile: 16 a thread, 8 in float64, where 16 would not fit in the registers."""
    return _WARPS * 32 * (8 if kind == 2 else 16)


def binary_cross_entropy_with_logits(
    logits: Tensor, target: Tensor, weight: Tensor | None, pos_weight: Tensor | None, options: BinaryOptions
) -> Tensor:
    """The reduced loss; an infinite logit gives the limit of the formula. Weights broadcast to the logits."""
    return _autograd.apply(_RULE, logits, target, weight, pos_weight, options)[0]


class _Grid(NamedTuple):
    """A call cut into rows × columns, so that a broadcast weight is a stride of 0."""

    rows: int
    columns: int
    R: int
    L: int

    @property
    def tiles(self) -> int:
        return int(triton.cdiv(self.columns, self.L))

    @property
    def programs(self) -> int:
        return int(triton.cdiv(self.rows, self.R)) * self.tiles


def _grid(logits: Tensor, kind: int, *others: Tensor | None) -> _Grid:
    whole = logits.is_contiguous() and all(
        other is None or (other.shape == logits.shape and other.is_contiguous()) for other in others
    )
    rows, columns = (1, logits.numel()) if whole or logits.dim() < 2 else (logits[..., 0].numel(), logits.shape[-1])
    tile = tile_of(kind)
    lanes = min(tile, triton.next_power_of_2(max(columns, 1)))
    return _Grid(rows, columns, tile // lanes, lanes)


def _strided(name: str, tensor: Tensor | None, like: Tensor, grid: _Grid) -> dict[str, Any]:
    """A tensor and its two strides over the grid."""
    if tensor is None:
        return {name: like, f"{name.removesuffix('_weight')}_row": 0, f"{name.removesuffix('_weight')}_column": 0}
    flat = tensor.expand(like.shape).reshape(grid.rows, grid.columns)
    short = name.removesuffix("_weight")
    return {name: flat, f"{short}_row": flat.stride(0), f"{short}_column": flat.stride(1)}


def _arguments(
    logits: Tensor, target: Tensor, weight: Tensor | None, pos_weight: Tensor | None, options: BinaryOptions,
    kind: int, grid: _Grid,
) -> dict[str, Any]:  # fmt: skip
    return {
        **_strided("logits", logits, logits, grid),
        **_strided("target", target, logits, grid),
        **_strided("weight", weight, logits, grid),
        **_strided("pos_weight", pos_weight, logits, grid),
        "rows": grid.rows,
        "columns": grid.columns,
        "tiles": grid.tiles,
        "smoothing_bits": bits(options.label_smoothing),
        "gamma_bits": bits(options.focal_gamma),
        "KIND": kind,
        "HAS_WEIGHT": weight is not None,
        "HAS_POS_WEIGHT": pos_weight is not None,
        "HAS_SMOOTHING": options.label_smoothing != 0,
        "HAS_GAMMA": options.focal_gamma != 0,
        "NONE": options.reduction == "none",
        "R": grid.R,
        "L": grid.L,
        "num_warps": _WARPS,
        **FUSION,
    }


def _forward(
    logits: Tensor, target: Tensor, weight: Tensor | None, pos_weight: Tensor | None, options: BinaryOptions
) -> tuple[tuple[Tensor], tuple[Tensor, ...]]:
    none, kind = (
        options.reduction == "none",
        flavour(logits.dtype, target.dtype, options.dtype, double=options.focal_gamma != 0),
    )
    grid = _grid(logits, kind, target, weight, pos_weight)
    loss = logits.new_empty(logits.shape if none else 0, dtype=options.dtype)
    programs = grid.programs if logits.numel() else 0
    sums = logits.new_empty(4, 0 if none else programs, dtype=torch.float64)
    with on_device(logits):
        if programs:
            arguments = _arguments(logits, target, weight, pos_weight, options, kind, grid)
            kernels.forward[(programs,)](**arguments, loss=loss, sums=sums)
        if none:
            return (loss,), (sums,)
        total, counts = logits.new_empty((), dtype=options.dtype), logits.new_empty(2, dtype=torch.float64)
        reduce[(1,)](
            sums, programs, total, counts, MEAN=options.reduction == "mean", ZERO=False, HAS_Z_LOSS=False,
            BLOCK=4096, num_warps=8, **FUSION,
        )  # fmt: skip
    return (total,), (counts,)


def _backward(
    gradients: tuple[Tensor],
    kept: tuple[Tensor, ...],
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    pos_weight: Tensor | None,
    options: BinaryOptions,
) -> Tensor:
    kind = flavour(logits.dtype, target.dtype, options.dtype, double=options.focal_gamma != 0)
    grid = _grid(logits, kind, target, weight, pos_weight)
    result = torch.empty(logits.shape, dtype=logits.dtype, device=logits.device)
    if not logits.numel():
        return result
    upstream = gradients[0]
    strides = {"upstream": upstream, "upstream_row": 0, "upstream_column": 0}
    if options.reduction == "none":
        strides = _strided("upstream", upstream, logits, grid)
    with on_device(logits):
        kernels.backward[(grid.programs,)](
            **_arguments(logits, target, weight, pos_weight, options, kind, grid),
            **strides,
            result=result,
            counts=kept[0],
            MEAN=options.reduction == "mean",
        )
    return result


_RULE = _autograd.Rule(eager.formula, _forward, _backward, eager._RULE.name, tensors=3)
