"""The GPU kernels, written in Triton. Importing this imports no Triton; asking for a function does.

Functions: cross_entropy, binary_cross_entropy_with_logits, softmax, log_softmax, with the arguments of kernels/eager,
and cross_entropy_in_place, the step between the products of a linear loss. README.md beside this file says how they
work.
"""

import functools
import importlib
import importlib.util
from typing import Any

import torch
from torch import Tensor

_HOMES = {
    "cross_entropy": "_cross_entropy",
    "cross_entropy_in_place": "_cross_entropy_in_place",
    "binary_cross_entropy_with_logits": "_binary_cross_entropy",
    "softmax": "_softmax",
    "log_softmax": "_softmax",
}
# What has the arguments of the function of that name in kernels/eager.
OPERATIONS = frozenset(_HOMES) - {"cross_entropy_in_place"}
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

__all__ = [*_HOMES, "OPERATIONS", "available", "serves"]


@functools.cache
def available() -> bool:
    """Whether Triton can be imported and a GPU that it compiles for is there."""
    return importlib.util.find_spec("triton") is not None and torch.cuda.is_available()


def serves(tensor: Tensor) -> bool:
    """Whether these kernels can work on `tensor`."""
    return tensor.device.type == "cuda" and tensor.dtype in DTYPES and available()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found
