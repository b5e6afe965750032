"""The GPU kernels, written in Triton. Importing this imports no Triton; asking for a function does.

Functions: cross_entropy, binary_cross_entropy_with_logits, softmax, log_softmax, with the arguments of kernels/eager;
cross_entropy_rows, for the linear losses, and cross_entropy_in_place, which does both of its steps at once. README.md
beside this file says how they work.
"""

import functools
import importlib
import importlib.util
from typing import Any

import torch

_HOMES = {
    "cross_entropy": "_cross_entropy",
    "cross_entropy_in_place": "_cross_entropy_in_place",
    "cross_entropy_rows": "_cross_entropy_in_place",
    "binary_cross_entropy_with_logits": "_binary_cross_entropy",
    "softmax": "_softmax",
    "log_softmax": "_softmax",
}
# What has the arguments of the function of that name in kernels/eager.
OPERATIONS = frozenset(_HOMES) - {"cross_entropy_in_place"}

__all__ = [*_HOMES, "OPERATIONS", "why_not"]


@functools.cache
def why_not() -> str | None:
    """Why this machine cannot have these kernels; None if it can."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed (it comes with PyTorch's builds for CUDA)"
    return None if torch.cuda.is_available() else "PyTorch sees no GPU"


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found
