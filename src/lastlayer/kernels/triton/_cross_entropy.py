"""Cross-entropy, classes on the last axis: one read of the logits forward, one read and one write backward."""

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from lastlayer.kernels._options import Options
from lastlayer.kernels.eager import _autograd
from lastlayer.kernels.eager._cross_entropy import formula
from lastlayer.kernels.triton import _cross_entropy_kernels as kernels
from lastlayer.kernels.triton._arithmetic import bits, flavour
from lastlayer.kernels.triton._launch import FUSION, Tile, on_device, splits_for, tile_for

# Numbers kept per row: the largest logit, 1/Σ exp(z − max) and p_y − 1; with soft targets or smoothing 1 − p_max and
# Σ mass as well. The same places as in kernels.store_statistics.
_KEPT, _KEPT_DENSE = 3, 5


def cross_entropy(logits: Tensor, target: Tensor, weight: Tensor | None, options: Options) -> tuple[Tensor, Tensor]:
    """The loss, and the log-sum-exp per row in float32 or, for float32 and float64 logits, float64.

    `logits` are (*rows, classes), `target` indices (*rows) or probabilities (*rows, classes), `weight` (classes).
    """
    loss, lse = _autograd.apply(_RULE, logits, target, weight, options)
    return loss, lse


class Problem(NamedTuple):
    """A call, flattened to rows, and how it is cut into programs."""

    z: Tensor  # (rows, classes), classes side by side in memory
    target: Tensor  # (rows) or (rows, classes)
    weight: Tensor | None
    options: Options
    kind: int
    tile: Tile

    @property
    def soft(self) -> bool:
        """Whether targets are probabilities."""
        return self.target.dim() == 2

    @property
    def dense(self) -> bool:
        """Whether every class has a share in a row's loss."""
        return self.soft or self.options.label_smoothing != 0

    @property
    def wide(self) -> torch.dtype:
        """The dtype of the log-sum-exp: one step wider than the logits."""
        return torch.float32 if self.z.dtype in (torch.float16, torch.bfloat16) else torch.float64

    @property
    def kept_dtype(self) -> torch.dtype:
        """The dtype of the numbers kept per row."""
        return torch.float64 if self.kind == 2 else torch.float32

    def tensors(self) -> dict[str, Any]:
        """Arguments that every kernel takes; a weight that is not there is some tensor that nothing reads."""
        return {
            "logits": self.z,
            "row_stride": self.z.stride(0),
            "target": self.target,
            "target_stride": self.target.stride(0),
            "weight": self.z if self.weight is None else self.weight,
            "rows": self.z.shape[0],
            "classes": self.z.shape[1],
        }

    def numbers(self) -> dict[str, Any]:
        """The options as arguments."""
        options = self.options
        return {
            "ignore_index": 0 if options.ignore_index is None else options.ignore_index,
            "temperature_bits": bits(options.temperature),
            "softcap_bits": bits(options.softcap or 1.0),
            "smoothing_bits": bits(options.label_smoothing),
            "z_loss_bits": bits(options.z_loss),
        }

    def flags(self) -> dict[str, Any]:
        """The options as compile-time constants."""
        options = self.options
        return {
            "KIND": self.kind,
            "SOFT": self.soft,
            "DENSE": self.dense,
            "HAS_IGNORE": options.ignore_index is not None and not self.soft,
            "HAS_WEIGHT": self.weight is not None,
            "HAS_SMOOTHING": options.label_smoothing != 0,
            "HAS_SOFTCAP": options.softcap is not None,
            "HAS_TEMPERATURE": options.temperature != 1.0,
            "HAS_Z_LOSS": options.z_loss != 0,
            **self.tile._asdict(),
            **FUSION,
        }

    def arguments(self) -> dict[str, Any]:
        """All of them."""
        return {**self.tensors(), **self.numbers(), **self.flags()}


def problem(logits: Tensor, target: Tensor, weight: Tensor | None, options: Options) -> Problem:
    """Flatten a call; copies logits only where rows cannot be strided or classes do not lie side by side."""
    z = rows_of(logits)
    soft = target.is_floating_point()
    t = rows_of(target.reshape(logits.shape)) if soft else target.reshape(-1).contiguous()
    kind = flavour(z.dtype, t.dtype, options.dtype, double=options.softcap is not None)
    tile = tile_for(z.shape[1], z.element_size(), kind)
    return Problem(z, t, None if weight is None else weight.contiguous(), options, kind, tile)


def rows_of(tensor: Tensor) -> Tensor:
    """(rows, classes) with classes side by side in memory; a row's distance to the next is free."""
    flat = tensor if tensor.dim() == 2 else tensor.reshape(-1, tensor.shape[-1])
    return flat if flat.stride(1) == 1 or flat.shape[1] <= 1 else flat.contiguous()


def _forward(
    logits: Tensor, target: Tensor, weight: Tensor | None, options: Options
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, ...]]:
    p = problem(logits, target, weight, options)
    total, lse, kept = forward_rows(p)
    rows = logits.shape[:-1]
    return (total.reshape(rows) if options.reduction == "none" else total, lse.reshape(rows)), kept


def forward_rows(p: Problem) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """The loss (reduced, or per row), the log-sum-exp per row, and what the backward needs."""
    z, rows, options = p.z, p.z.shape[0], p.options
    none = options.reduction == "none"
    loss = z.new_empty(rows if none else 0, dtype=options.dtype)
    lse = z.new_empty(rows, dtype=p.wide)
    kept = z.new_empty(_KEPT_DENSE if p.dense else _KEPT, rows, dtype=p.kept_dtype)
    splits = splits_for(rows, z.shape[1], p.tile, z.device)
    programs = triton.cdiv(rows, p.tile.R)
    sums = z.new_zeros(4, 0 if none else programs, dtype=torch.float64)
    outputs = {"loss": loss, "lse": lse, "kept": kept, "sums": sums, "NONE": none}
    with on_device(z):
        if rows and splits == 1:
            kernels.whole_rows[(programs,)](**p.arguments(), **outputs)
        elif rows:
            parts = z.new_empty(5, rows, splits, dtype=torch.float64)
            share = triton.cdiv(triton.cdiv(z.shape[1], splits), p.tile.classes) * p.tile.classes
            kernels.parts_of_rows[(programs, splits)](**p.arguments(), parts=parts, share=share)
            kernels.joined_rows[(programs,)](**{**p.arguments(), "num_warps": 4}, **outputs, parts=parts, SPLITS=splits)
        if none:
            return loss, lse, (kept, sums)
        total = z.new_empty((), dtype=options.dtype)
        counts = z.new_empty(2, dtype=torch.float64)
        kernels.reduce[(1,)](
            sums, programs, total, counts, MEAN=options.reduction == "mean", ZERO=options.empty == "zero",
            HAS_Z_LOSS=options.z_loss != 0, BLOCK=4096, num_warps=8, **FUSION,
        )  # fmt: skip
    return total, lse, (kept, counts)


def _backward(
    gradients: tuple[Tensor | None, Tensor | None],
    kept: tuple[Tensor, Tensor],
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    options: Options,
) -> Tensor:
    p = problem(logits, target, weight, options)
    result = torch.empty(p.z.shape, dtype=logits.dtype, device=logits.device)
    backward_rows(p, gradients, kept, result)
    return result.reshape(logits.shape)


def backward_rows(
    p: Problem, gradients: tuple[Tensor | None, Tensor | None], kept: tuple[Tensor, Tensor], result: Tensor
) -> None:
    """Write the gradient to `result` (rows, classes), which may be the logits themselves."""
    of_total, of_lse = gradients
    statistics, counts = kept
    rows, classes = p.z.shape
    tiles = triton.cdiv(classes, p.tile.classes)
    of_total = None if of_total is None else of_total.reshape(-1).contiguous()
    of_lse = None if of_lse is None else of_lse.reshape(-1).contiguous()
    if not result.numel():
        return
    with on_device(p.z):
        kernels.gradient[(triton.cdiv(rows, p.tile.R) * tiles,)](
            **p.arguments(),
            result=result,
            result_stride=result.stride(0),
            kept=statistics,
            counts=counts,
            of_total=p.z if of_total is None else of_total,
            of_lse=p.z if of_lse is None else of_lse,
            tiles=tiles,
            HAS_LOSS=of_total is not None,
            HAS_LSE=of_lse is not None,
            PER_ROW=p.options.reduction == "none",
            MEAN=p.options.reduction == "mean",
        )


_RULE = _autograd.Rule(formula, _forward, _backward, "cross_entropy", tensors=2)
