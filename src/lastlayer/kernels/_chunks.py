"""How much of the logits a linear loss holds at a time, and how its gradients are summed."""

import torch
from torch import Tensor

from lastlayer.kernels import _memory

_BUDGET = 64 * 2**20  # bytes of logits; more where a twentieth of the dense logits is more
_SHARE = 20

# Reading the weight once more for a chunk of rows takes as long as about this many rows of products. Where fewer rows
# fit, slices of the classes over all rows are faster, though their logits are computed twice.
_FEW_ROWS = 32
_ROWS_OF_SLICES = 2048


def plan(rows: int, classes: int, itemsize: int) -> tuple[int, int]:
    """(rows, classes) of a chunk: as many rows as fit the budget, or slices of classes where those are few."""
    budget = max(_BUDGET, rows * classes * itemsize // _SHARE)
    fitting = budget // max(classes * itemsize, 1)
    if fitting >= min(rows, _FEW_ROWS):
        chunks = -(-rows // max(fitting, 1))
        return max(1, -(-rows // max(chunks, 1))), classes
    rows = min(rows, _ROWS_OF_SLICES)
    return rows, max(1, _BUDGET // (rows * itemsize))


def plan_of_positions(rows: int, positions: int, classes: int, itemsize: int) -> tuple[int, int]:
    """(rows, positions) of a chunk: all rows of some positions, so that the weight is read once; else one position."""
    budget = max(_BUDGET, rows * positions * classes * itemsize // _SHARE)
    fitting = budget // max(rows * classes * itemsize, 1)
    if fitting >= 1:
        return max(rows, 1), min(max(positions, 1), fitting)
    return max(1, budget // (classes * itemsize)), 1


def pieces(total: int, step: int) -> list[slice]:
    """`total` in slices of at most `step`; one empty slice of nothing."""
    return [slice(start, min(start + step, total)) for start in range(0, max(total, 1), max(step, 1))]


def for_products(tensor: Tensor) -> Tensor:
    """Return `tensor` in the dtype that its products run in: on a CPU those of float16 run in float32."""
    slow = tensor.dtype is torch.float16 and tensor.device.type == "cpu"
    return tensor.float() if slow else tensor


class Sum:
    """A sum over chunks, in float32 or better, given back in the dtype of `like`."""

    def __init__(self, like: Tensor) -> None:
        self._like = like
        wide = torch.promote_types(like.dtype, torch.float32)
        self._total = _memory.empty(like, *like.shape, dtype=wide).zero_()

    def add_product(self, part: slice, a: Tensor, b: Tensor) -> None:
        """Add a·b to the rows `part`."""
        if a.dtype is self._total.dtype:
            self._total[part].addmm_(a, b)
            return
        # Half precision accumulates within a product and rounds its result; what is summed here is float32.
        for piece in pieces(a.shape[0], max(1, 2**19 // max(b.shape[1], 1))):
            self._total[part][piece].add_(a[piece] @ b)

    def add(self, part: slice, tensor: Tensor) -> None:
        """Add `tensor` to the entries `part`."""
        self._total[part].add_(tensor)

    def result(self) -> Tensor:
        """Return the sum."""
        if self._total.dtype is self._like.dtype:
            return self._total
        return _memory.empty(self._like, *self._like.shape).copy_(self._total)
