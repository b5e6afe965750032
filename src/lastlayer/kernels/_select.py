"""Which backend serves a call: one table, read nowhere else."""

from types import ModuleType

from torch import Tensor

from lastlayer.errors import OptionError
from lastlayer.kernels import eager

# Backends by name. Every one offers the same functions with the same arguments (see kernels/eager/__init__.py).
BACKENDS: dict[str, ModuleType] = {"eager": eager}


def select(tensor: Tensor, backend: str = "auto") -> ModuleType:
    """Return the kernels that serve `tensor`.

    Args:
        tensor: The tensor whose device and dtype decide.
        backend: "auto" takes the best that serves `tensor`; a name takes that one and never falls back.

    Raises:
        OptionError: `backend` names none of them.
    """
    if backend == "auto":
        return eager
    if backend not in BACKENDS:
        raise OptionError(f"backend has to be one of {['auto', *BACKENDS]}, got {backend!r}.")
    return BACKENDS[backend]
