"""Memory for large results: on huge pages where the system has them, and taken again once it is given back.

The C library returns a large block to the system as soon as it is freed, and the next one comes as pages that the
system clears as they are first written: more time than the loss takes. A training step asks for a gradient of the
same size every time. So a block that its last tensor gave back is kept for the next one, and the system is told that
it may have the pages whenever it needs them (MADV_FREE): what is kept here is missing nowhere else.
"""

import ctypes
import math
import mmap
import sys
import threading
import weakref
from contextlib import suppress

import torch
from torch import Tensor

LARGE = 32 * 2**20  # bytes from which on the C library asks the system every time
MOST_KEPT = 2**30  # bytes of blocks that no tensor holds; the oldest go first
_HUGE_PAGE = 2 * 2**20
_CAN_KEEP = sys.platform.startswith("linux") and hasattr(mmap, "MADV_FREE")


def empty(like: Tensor, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
    """A contiguous tensor beside `like`, not initialised, of its dtype unless another is named."""
    dtype = dtype or like.dtype
    count = math.prod(shape)
    if _CAN_KEEP and like.is_cpu and count * dtype.itemsize >= LARGE:
        buffer = _kept.take(count * dtype.itemsize)
        if buffer is not None:
            return torch.frombuffer(buffer, dtype=dtype, count=count).view(shape)
    return like.new_empty(shape, dtype=dtype)


class Kept:
    """Blocks that no tensor holds."""

    def __init__(self) -> None:
        self._blocks: list[mmap.mmap] = []  # the oldest first
        self._lock = threading.RLock()  # reentrant: a collection may free a tensor while it is held

    def take(self, size: int) -> "ctypes.Array[ctypes.c_char] | None":
        """`size` bytes that begin at a huge page, or None where the system has none left."""
        needed = -(-size // _HUGE_PAGE) * _HUGE_PAGE + _HUGE_PAGE
        with self._lock:
            # a block that is somewhat too long is cheaper than a fresh one
            fits = [block for block in self._blocks if needed <= len(block) <= needed + needed // 8]
            block = min(fits, key=len, default=None)
            if block is not None:
                self._blocks.remove(block)
        if block is None:
            block = _fresh(needed)
        if block is None:
            self.clear()
            return None
        start = ctypes.addressof(ctypes.c_char.from_buffer(block))
        buffer = (ctypes.c_char * size).from_buffer(block, -start % _HUGE_PAGE)
        weakref.finalize(buffer, self._give_back, block).atexit = False
        return buffer

    def _give_back(self, block: mmap.mmap) -> None:
        with suppress(OSError):  # a system that cannot take the pages back while they are kept gets them at once
            block.madvise(mmap.MADV_FREE)
            with self._lock:
                self._blocks.append(block)
                while self.bytes > MOST_KEPT:
                    del self._blocks[0]

    @property
    def bytes(self) -> int:
        """How much is kept."""
        return sum(len(block) for block in self._blocks)

    def clear(self) -> None:
        """Give all of it back to the system."""
        with self._lock:
            self._blocks.clear()


def _fresh(length: int) -> mmap.mmap | None:
    try:
        block = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError:
        return None
    with suppress(OSError):  # small pages serve, too
        block.madvise(mmap.MADV_HUGEPAGE)
    return block


_kept = Kept()
