"""A function of few elements in one native call, the room for it made once; of a loss the gradient comes along.

A small call costs what its Python costs. So the words of a kernel, its sums and what it saves of each row live in a
workspace that later calls of the same shape and options take again, and only the addresses are written anew. Two
threads never share one: a workspace is taken out of the list before it is used.
"""

import ctypes
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from lastlayer.kernels.cpu._compile import Kernel
from lastlayer.kernels.cpu._layout import PER_TASK
from lastlayer.kernels.eager._autograd import Guess

UP_TO = PER_TASK  # elements: one task, worked on by the caller
Value = TypeVar("Value")
_MOST = 256  # plans that are remembered, and workspaces of one


class Workspace:
    """Words of a kernel, and room behind them."""

    def __init__(self, words: bytes, room: int) -> None:
        self._bytes = bytearray(words) + bytearray(room)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._bytes))
        view = memoryview(self._bytes)
        self.integers, self.doubles = view.cast("q"), view.cast("d")


class Plan:
    """What all calls of one shape, dtype and set of options have in common."""

    def __init__(self, kernel: Kernel, words: bytes, room: int, places: dict[int, int], alive: object = None) -> None:
        """Word `index` becomes the address of byte `places[index]` of the room; other words point into `alive`."""
        self.guess = Guess()
        self.run: Callable[[int], None] = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(kernel.address)
        self._words, self._room, self._places, self._alive = words, room, places, alive
        self._free: list[Workspace] = []

    def take(self) -> Workspace:
        """A workspace that nobody else uses."""
        return self._free.pop() if self._free else self._made()

    def give_back(self, workspace: Workspace) -> None:
        """For the next call."""
        if len(self._free) < _MOST:
            self._free.append(workspace)

    def of(self, x: Tensor, given: int, made: int) -> Tensor:
        """What the kernel makes of `x`: words `given` and `made` are the addresses of x and of a result like it."""
        workspace, result = self.take(), torch.empty_like(x)
        words = workspace.integers
        words[given], words[made] = x.data_ptr(), result.data_ptr()
        self.run(workspace.address)
        self.give_back(workspace)
        return result

    def _made(self) -> Workspace:
        workspace = Workspace(self._words, self._room)
        for index, place in self._places.items():
            workspace.integers[index] = workspace.address + len(self._words) + place
        return workspace


class Table(dict[tuple[object, ...], Value]):
    """What is remembered of calls by what it depends on; too many different ones push all of them out."""

    def put(self, key: tuple[object, ...], value: Value) -> Value:
        """Remember and return it, unless the key holds a tensor: that equals itself, changed or not."""
        if len(self) >= _MOST:
            self.clear()
        if not any(isinstance(option, Tensor) for part in key if isinstance(part, tuple) for option in part):
            self[key] = value
        return value


def is_small(x: Tensor) -> bool:
    """Whether it is worked on by one native call as it lies in memory."""
    return 0 < x.numel() <= UP_TO and x.is_contiguous() and not x.is_neg()


def saved_elsewhere() -> bool:
    """Whether hooks decide what becomes of tensors that are saved, as in a checkpoint that lets them go."""
    return _hooks is not None and _hooks(True) is not None


_hooks = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
