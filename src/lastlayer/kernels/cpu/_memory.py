"""Fresh memory for large results.

A tensor of hundreds of megabytes comes as pages of 4 KiB that the system clears one by one as they are first written:
more time than the loss takes. Asking for huge pages before the first write removes most of it.
"""

import ctypes
import mmap
import sys
from functools import cache
from typing import Any

import torch
from torch import Tensor

_HUGE_FROM = 32 * 2**20
_PAGE = mmap.PAGESIZE


def empty(like: Tensor, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
    """A contiguous tensor, not initialised, of the dtype of `like` unless another is named."""
    result = like.new_empty(shape, dtype=dtype or like.dtype)
    if result.nbytes >= _HUGE_FROM:
        ask_for_huge_pages(result)
    return result


def ask_for_huge_pages(tensor: Tensor) -> None:
    """Advise the system; where it cannot or will not, nothing happens."""
    advise = _madvise()
    if advise is not None:
        start = -(-tensor.data_ptr() // _PAGE) * _PAGE
        advise(start, tensor.data_ptr() + tensor.nbytes - start, mmap.MADV_HUGEPAGE)


@cache
def _madvise() -> Any:
    if not sys.platform.startswith("linux") or not hasattr(mmap, "MADV_HUGEPAGE"):
        return None
    try:
        function = ctypes.CDLL(None).madvise
    except (OSError, AttributeError):
        return None
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return function
