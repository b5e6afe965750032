"""What was called on the way to a tensor, where the graph does not say: PyTorch's own functions, as they are called."""

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_NAMES = {"softmax": "softmax", "log_softmax": "log_softmax", "sigmoid": "sigmoid", "relu": "relu", "relu_": "relu"}


class Calls(TorchFunctionMode):
    """While it is entered, remembers which activation made each tensor.

    It sees through checkpoints, `torch.no_grad` and detached graphs, and not into compiled code. It changes nothing.

    >>> with Calls() as calls:
    ...     p = torch.zeros(1, 2).softmax(1)
    >>> calls.maker(p)
    'softmax'
    """

    def __init__(self) -> None:
        super().__init__()
        self._makers: dict[int, tuple[weakref.ref[Tensor], str]] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call `func`, and remember what it made."""
        result = func(*args, **(kwargs or {}))
        called = _NAMES.get(getattr(func, "__name__", ""))
        if called is not None and isinstance(result, Tensor) and not torch.compiler.is_compiling():
            self._makers[id(result)] = (weakref.ref(result), called)
        return result

    def maker(self, tensor: Any) -> str | None:
        """The activation that returned this very tensor; None where none did."""
        kept = self._makers.get(id(tensor))
        return kept[1] if kept is not None and kept[0]() is tensor else None
