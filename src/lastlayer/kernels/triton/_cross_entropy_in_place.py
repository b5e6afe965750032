"""Between the products of a linear cross-entropy: logits in, losses out, the gradient left in their place."""

import torch
import triton
from torch import Tensor

from lastlayer.kernels._options import Options, Rows
from lastlayer.kernels.triton import _cross_entropy_in_place_kernels as kernels
from lastlayer.kernels.triton._cross_entropy import Problem, backward_rows, forward_rows, problem
from lastlayer.kernels.triton._launch import on_device, splits_for


def cross_entropy_in_place(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    options: Options,
    *,
    of_loss: Tensor | None = None,
    of_penalty: Tensor | None = None,
    of_lse: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, share of the mean and log-sum-exp of each row; `logits` then hold the gradient.

    A chunk of a linear loss does not know the whole batch, so nothing is reduced here: the caller adds losses up and
    divides by the shares of all chunks, or passes that divisor along in `of_loss` and `of_penalty`.

    Args:
        logits: (rows, classes), classes side by side in memory, rows at any distance. Overwritten.
        target: int64 indices (rows), or probabilities (rows, classes).
        weight: (classes) or None.
        options: `reduction` and `empty` are not used; `dtype` decides between float32 and float64 arithmetic.
        of_loss: What the gradient of each row's loss is multiplied with, () or (rows); None: 1.
        of_penalty: The same for each row's z-loss; None: as `of_loss`.
        of_lse: What reaches each row's log-sum-exp, (rows); None: nothing.

    Returns:
        Three tensors (rows): the loss with its z-loss, as float64, each multiplied with `of_loss` and `of_penalty`, so
        that the sum over all chunks is the reduced loss; the share (1, the target's weight, or 0 for an ignored row);
        and the log-sum-exp.
    """
    if logits.stride(1) != 1 and logits.shape[1] > 1:
        raise ValueError("cross_entropy_in_place needs classes side by side in memory: logits.stride(1) == 1.")
    p = problem(logits, target, weight, options._replace(reduction="none"))
    of_penalty = of_loss if of_penalty is None else of_penalty
    if splits_for(p.z.shape[0], p.z.shape[1], p.tile, logits.device) > 1:
        return _few_long_rows(p, of_loss, of_penalty, of_lse)
    rows = len(p.z)
    loss = logits.new_empty(rows, dtype=torch.float64)
    share, lse = torch.empty_like(loss), logits.new_empty(rows, dtype=p.wide)
    with on_device(logits):
        if rows:
            kernels.loss_and_gradient[(triton.cdiv(rows, p.tile.R),)](
                **p.arguments(),
                loss=loss,
                share_of_row=share,
                lse=lse,
                of_loss=loss if of_loss is None else of_loss,
                of_loss_step=_step(of_loss),
                of_penalty=loss if of_penalty is None else of_penalty,
                of_penalty_step=_step(of_penalty),
                of_lse=loss if of_lse is None else of_lse.contiguous(),
                HAS_LOSS=of_loss is not None,
                HAS_LSE=of_lse is not None,
            )
    return loss, share, lse


def _few_long_rows(
    p: Problem, of_loss: Tensor | None, of_penalty: Tensor | None, of_lse: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Each row read by several programs, each tile written by its own: the two kernels of the dense loss."""
    rows, classes = p.z.shape
    z_loss = p.options.z_loss
    ones = p.z.new_ones(rows, dtype=torch.float64)
    p = p._replace(options=p.options._replace(z_loss=0.0, dtype=torch.float64))
    loss, lse, kept = forward_rows(p)
    counted, share = ones, ones
    if not p.soft:
        ignored = p.options.ignore_index
        counted = ones if ignored is None else (p.target != ignored).to(ones.dtype)
        share = counted if p.weight is None else counted * p.weight[p.target.clamp(0, classes - 1)]
    scale = ones if of_loss is None else of_loss.to(ones.dtype).expand(rows)
    scale_of_penalty = counted if of_penalty is None else counted * of_penalty
    # An ignored row may hold anything: 0 · NaN would be NaN.
    squared = torch.where(counted == 0, 0.0, lse.double())
    through = 2 * z_loss * squared * scale_of_penalty + (0 if of_lse is None else of_lse)
    backward_rows(p, (scale, through), kept, p.z)
    return loss * scale + z_loss * squared**2 * scale_of_penalty, share, lse


def _step(scale: Tensor | None) -> int:
    return 0 if scale is None or scale.dim() == 0 else scale.stride(0)


def _read(z: Tensor, target: Tensor, weight: Tensor | None, options: Options) -> tuple[Tensor, Tensor, None]:
    each = options._replace(reduction="none", dtype=torch.float64, z_loss=0.0, ignore_index=None)
    loss, lse, _ = forward_rows(problem(z, target, weight, each))
    return loss, lse, None


def _slope(
    z: Tensor,
    target: Tensor,
    weight: Tensor | None,
    options: Options,
    kept: None,
    of_loss: Tensor | None,
    of_lse: Tensor | None,
) -> None:
    each = options._replace(z_loss=0.0, ignore_index=None)
    of_loss = z.new_zeros(()) if of_loss is None else of_loss.reshape(of_loss.shape[:1])
    of_lse = None if of_lse is None else of_lse.reshape(-1)
    cross_entropy_in_place(z, target, weight, each, of_loss=of_loss, of_lse=of_lse)


cross_entropy_rows = Rows(_read, _slope)
