"""How tensors are told to a kernel: addresses, strides in bytes, and how much of them is one task."""

import torch
from torch import Tensor

NAMES = {torch.float32: "float32", torch.float64: "float64", torch.bfloat16: "bfloat16", torch.float16: "float16"}
# Elements per task: enough that taking a task costs nothing beside it, few enough that the threads end together.
PER_TASK = 2**14
_BLOCK = 1024  # as in native/rows.py


def rows_of(tensor: Tensor) -> Tensor:
    """(rows, columns) with the columns side by side; the rows may lie anywhere."""
    z = tensor if tensor.dim() == 2 else tensor.reshape(-1, tensor.shape[-1] if tensor.dim() else 1)
    z = z.resolve_neg() if z.is_neg() else z
    return z if z.stride(1) == 1 or z.shape[1] == 1 else z.contiguous()


def flat(tensor: Tensor) -> Tensor:
    """Contiguous, and holding its values as they are."""
    return (tensor.resolve_neg() if tensor.is_neg() else tensor).contiguous()


def rows_per_task(rows: int, columns: int) -> int:
    """A function of the shape alone: which rows are summed together must not depend on the threads."""
    if rows * columns <= PER_TASK:
        return max(1, rows)
    return max(8, PER_TASK // columns // 8 * 8) if columns < PER_TASK else 1


def room_per_row(columns: int, compute: str) -> int:
    """Bytes for what a kernel keeps of a row: its exponentials in whole vectors, and a number per block of them."""
    room = (columns + 16) * (8 if compute == "float64" else 4) + 8 * (columns // _BLOCK + 1)
    return -(-room // 64) * 64  # threads share no line of the caches


def row_stride(rows: Tensor) -> int:
    """Bytes from one row to the next."""
    return rows.stride(0) * rows.element_size()


def address(tensor: Tensor | None) -> int:
    """Where the first element lies, 0 for None. Never of a temporary: the caller keeps the tensor."""
    return 0 if tensor is None else tensor.data_ptr()


def computed_in(*dtypes: torch.dtype, wide: bool = False) -> str:
    """float64 if one of the tensors is, or where `wide` and one is float32; else float32."""
    doubles = torch.float64 in dtypes or (wide and torch.float32 in dtypes)
    return "float64" if doubles else "float32"
