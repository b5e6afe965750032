"""Which backend serves a call: one table of device, dtype and operation, read nowhere else.

The numbers behind it are in docs/decisions/007.
"""

from functools import lru_cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from lastlayer.errors import OptionError
from lastlayer.kernels import cpu, eager, triton

# Backends by name. What two of them offer under one name takes the same arguments and means the same.
BACKENDS: dict[str, ModuleType] = {"eager": eager, "cpu": cpu, "triton": triton}

_FLOATS = frozenset((torch.float16, torch.bfloat16, torch.float32, torch.float64))
# Besides eager, which serves everything: (device, operation) -> backend and the dtypes that it serves there.
_SERVED: dict[tuple[str, str], tuple[str, frozenset[torch.dtype]]] = {
    **{("cpu", operation): ("cpu", _FLOATS) for operation in cpu.__all__},
    **{("cuda", operation): ("triton", _FLOATS) for operation in triton.OPERATIONS},
}
# What torch.compile finds as operators, on the CPU. An exported program has to run without this package.
_TRACED = ("cross_entropy", "binary_cross_entropy_with_logits")
_is_compiling = torch.compiler.is_compiling
_WHY_NOT = {"cpu": cpu.why_not, "triton": triton.why_not}


def why_not(backend: str) -> str | None:
    """Why this machine cannot have `backend`; None if it can."""
    asked = _WHY_NOT.get(backend)
    return None if asked is None else asked()


def select(operation: str, tensor: Tensor, backend: str = "auto") -> Any:
    """Return what that computes `operation` of `tensor`.

    Args:
        operation: The name of a function of `lastlayer.kernels.eager`.
        tensor: The tensor whose device and dtype decide.
        backend: "auto" takes the best that serves the call; a name takes that one and never falls back.

    Raises:
        OptionError: `backend` names none of them, or one that does not serve the call.
    """
    if backend == "auto":
        if _is_compiling():  # follows formulas and compiles them itself; a loss is faster by a kernel
            traced = operation in _TRACED and tensor.device.type == "cpu" and not _is_exporting()
            return _function(cpu.traced if traced else eager, operation)
        return _function(BACKENDS[_best(operation, _device(tensor), tensor.dtype)], operation)
    if backend not in BACKENDS:
        raise OptionError(f"backend has to be one of {['auto', *BACKENDS]}, got {backend!r}.")
    if backend != "eager":
        _has_to_serve(backend, operation, tensor)
    return _function(BACKENDS[backend], operation)


@lru_cache
def _best(operation: str, device: str, dtype: torch.dtype) -> str:
    name, dtypes = _SERVED.get((device, operation), ("eager", _FLOATS))
    return name if dtype in dtypes and why_not(name) is None else "eager"


def reads_targets(operation: str, tensor: Tensor, backend: str) -> bool:
    """Whether what `select` returns for a plain tensor reads the targets itself: see `Options.read`."""
    return backend in ("auto", "cpu") and _best(operation, _device(tensor), tensor.dtype) == "cpu"


def _is_exporting() -> bool:
    # torch.compiler.is_exporting() returns this flag, but the Dynamo of PyTorch 2.11 takes it for True in every trace.
    return getattr(torch.compiler, "_is_exporting_flag", False)


def _device(tensor: Tensor) -> str:
    return "cpu" if tensor.is_cpu else tensor.device.type  # the first is asked for in a fifth of the time


def _function(module: ModuleType, operation: str) -> Any:
    return getattr(module, operation)


def _has_to_serve(backend: str, operation: str, tensor: Tensor) -> None:
    devices = sorted({device for (device, _), (name, _) in _SERVED.items() if name == backend})
    operations = sorted({named for (_, named), (name, _) in _SERVED.items() if name == backend})
    name, dtypes = _SERVED.get((tensor.device.type, operation), ("eager", _FLOATS))
    if name != backend or tensor.dtype not in dtypes:
        raise OptionError(
            f"backend {backend!r} serves {', '.join(operations)} on {', '.join(devices)} in float16, bfloat16, float32 "
            f"and float64; got {operation} on {tensor.device.type} in {tensor.dtype}. "
            "backend='auto' takes one that does."
        )
    if not _is_compiling() and (reason := why_not(backend)) is not None:
        raise OptionError(f"backend {backend!r} cannot be had: {reason}. backend='auto' takes one that can.")
