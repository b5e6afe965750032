"""How work is cut into programs, and how a kernel is started."""

import contextlib
from typing import NamedTuple

import torch
import triton
from torch import Tensor

# Bytes that one thread reads with one instruction, and elements that it holds at a time per flavour: half precision
# needs few registers per element, the exact flavours carry rounding errors beside each.
_BYTES_PER_READ = 16
_ELEMENTS_PER_THREAD = (32, 16, 8)
_THREADS_PER_WARP = 32
# Multiply and add in one instruction: Triton 3.10 does so only when asked. The digits do not depend on it.
FUSION = {"enable_fp_fusion": True}


class Tile(NamedTuple):
    """The shape (V, R, L) of a tile, as _rows.py describes it, and the warps that hold it."""

    V: int
    R: int
    L: int
    num_warps: int

    @property
    def classes(self) -> int:
        """Classes that a tile spans."""
        return self.V * self.L


def tile_for(classes: int, itemsize: int, kind: int) -> Tile:
    """The tile for rows of `classes` logits.

    Up to one read per lane and thread a warp takes several short rows; up to a thread's registers a warp takes one row;
    longer rows get 4 warps, and from 16 Ki classes on 8.
    """
    vector = max(1, _BYTES_PER_READ // itemsize)
    depth = max(1, _ELEMENTS_PER_THREAD[kind] // vector)
    warp = _THREADS_PER_WARP * vector
    width = triton.next_power_of_2(max(classes, 1))
    if width <= warp * depth:
        lanes = min(width, warp)
        return Tile(width // lanes, 4 * warp // lanes, lanes, 4)
    warps = 4 if width <= 2**14 else 8
    lanes = warp * warps
    return Tile(min(depth, max(1, width // lanes)), 1, lanes, warps)


def splits_for(rows: int, classes: int, tile: Tile, device: torch.device) -> int:
    """Programs that share a row, a power of two: more than one where whole rows would leave processors idle."""
    wanted = 2 * processors(device) // max(1, int(triton.cdiv(rows, tile.R)))
    useful = max(1, min(wanted, int(triton.cdiv(classes, 2 * tile.classes))))
    return 1 << (useful.bit_length() - 1)


def processors(device: torch.device) -> int:
    """Multiprocessors of a GPU; 1 for the interpreter."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


def on_device(tensor: Tensor) -> contextlib.AbstractContextManager[object]:
    """Triton starts kernels on the current device, which need not be the tensor's."""
    if tensor.device.type == "cuda" and tensor.device.index != torch.cuda.current_device():
        return torch.cuda.device(tensor.device)
    return contextlib.nullcontext()
