"""A function of few elements in one native call, the room for it made once; of a loss the gradient comes along.

A small call costs what its Python costs. So the words of a kernel, its sums and what it saves of each row live in a
workspace that later calls of the same shape and options take again, and only the addresses are written anew. Two
callers never share one: a workspace is taken out of the list before it is used.

Each function looks for its plan itself (`_early`): what they would share is a call in Python, as dear as the lookup.
"""

import ctypes
import sys
from typing import TypeVar

import torch
from torch import Tensor

from lastlayer.kernels.cpu import _threads
from lastlayer.kernels.cpu._compile import Kernel
from lastlayer.kernels.cpu._layout import PER_TASK
from lastlayer.kernels.eager._autograd import Guess

SMALL = PER_TASK  # elements: one task, worked on by the caller
UP_TO = 2**18  # elements: beyond, the Python of a call is nothing beside its kernel
MOST_ROWS = 2**12  # a workspace holds what is saved of each: 16 bytes
Value = TypeVar("Value")
_MOST = 256  # plans that are remembered


class Workspace:
    """Words of a kernel, and room behind them."""

    def __init__(self, words: bytes, room: int) -> None:
        self._bytes = bytearray(words) + bytearray(room)
        self._room = len(words)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._bytes))
        view = memoryview(self._bytes)
        self.integers, self.doubles = view.cast("q"), view.cast("d")

    def left(self, count: int) -> bytearray:
        """The first numbers of the room, in float64: what the tasks have left there."""
        return self._bytes[self._room : self._room + 8 * count]


class Plan:
    """What all calls of one shape, dtype, set of options and number of threads have in common."""

    def __init__(
        self, kernel: Kernel, words: bytes, room: int, places: dict[int, int], threads: int, alive: object = None
    ) -> None:
        """Word `index` becomes the address of byte `places[index]` of the room; other words point into `alive`."""
        self.guess = Guess()
        self.threads = threads
        self._kernel = kernel
        one_task = int.from_bytes(words[8:16], sys.byteorder) == 1
        # the interpreter's lock is let go for more than one task; for one that costs more than it is worth
        self._alone = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(kernel.address) if one_task else kernel.call
        self._words, self._room, self._places, self._alive = words, room, places, alive
        if threads > 1:  # the counters that they share
            self._places, self._room = {**places, 0: room}, room + 16
        self._counter = (len(words) + room) // 8
        self._free: list[Workspace] = []

    def run(self, workspace: Workspace) -> None:
        """Call the kernel with the words as they stand."""
        if self.threads == 1:
            self._alone(workspace.address)
        else:
            workspace.integers[self._counter] = workspace.integers[self._counter + 1] = 0
            _threads.together(self._kernel, workspace.address, self.threads)

    def take(self) -> Workspace:
        """A workspace that nobody else uses."""
        return self._free.pop() if self._free else self._made()

    def give_back(self, workspace: Workspace) -> None:
        """For the next call; there are as many as there were callers at one time."""
        self._free.append(workspace)

    def of(self, x: Tensor, given: int, made: int) -> Tensor:
        """What the kernel makes of `x`: words `given` and `made` are the addresses of x and of a result like it."""
        workspace, result = self.take(), torch.empty_like(x)
        words = workspace.integers
        words[given], words[made] = x.data_ptr(), result.data_ptr()
        self.run(workspace)
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
        """Remember and return it."""
        if len(self) >= _MOST:
            self.clear()
        self[key] = value
        return value


def saved_elsewhere() -> bool:
    """Whether hooks decide what becomes of tensors that are saved, as in a checkpoint that lets them go."""
    return _hooks is not None and _hooks(True) is not None


_hooks = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)
