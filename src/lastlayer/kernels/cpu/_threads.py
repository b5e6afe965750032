"""Tasks of a kernel spread over threads: PyTorch's own team where it can be had, else a pool.

After an operation PyTorch's OpenMP workers spin for a while, and a second set of threads would fight them for the
cores. So a kernel runs on that same team, through the function that compiled OpenMP code calls. Which thread gets
which task is a matter of chance; no result depends on it.
"""

import ctypes
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from struct import Struct, unpack
from typing import Any

import numpy as np
import torch

from lastlayer.kernels.cpu._compile import Kernel

_forked = False


def count(tasks: int) -> int:
    """How many threads share `tasks`."""
    return max(1, min(torch.get_num_threads(), tasks))


def run(kernel: Kernel, layout: Struct, tasks: int, *words: Any, threads: int | None = None) -> None:
    """Run all `tasks`; `words` is what follows the counter of the tasks and their number.

    Who has made room for each thread names their number, since another thread may change it meanwhile.
    """
    threads = threads or count(tasks)
    if threads <= 1:
        kernel.call(layout.pack(0, tasks, *words))
        return
    counter = (ctypes.c_int64 * 2)()  # tasks taken, threads at work
    together(kernel, layout.pack(ctypes.addressof(counter), tasks, *words), threads)


def together(kernel: Kernel, words: bytes | int, threads: int) -> None:
    """Let `threads` work on the same words, given as they are or by their address."""
    _team()(kernel, words, threads)


def _team() -> Callable[[Kernel, bytes | int, int], None]:
    """OpenMP's workers do not survive a fork, and its child would wait for them for ever."""
    parallel = None if _forked else _openmp()
    return _on_pool if parallel is None else parallel


@cache
def _openmp() -> Callable[[Kernel, bytes | int, int], None] | None:
    """Look GOMP_parallel up in the library that PyTorch itself is linked with."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        function = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so")).GOMP_parallel
    except (OSError, AttributeError):
        return None
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    function.restype = None

    def run_on_team(kernel: Kernel, words: bytes | int, threads: int) -> None:
        function(kernel.address, words, threads, 0)

    return run_on_team


def _on_pool(kernel: Kernel, words: bytes | int, threads: int) -> None:
    """The caller works too, so that nothing waits for a thread that is busy elsewhere."""
    helpers = [_pool().submit(kernel.call, words) for _ in range(threads - 1)]
    kernel.call(words)
    for helper in helpers:
        if not helper.cancel():
            helper.result()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=os.cpu_count() or 1, thread_name_prefix="lastlayer")


def _in_child() -> None:
    global _forked
    _forked = True
    _pool.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def address_of(buffer: bytearray) -> int:
    """Where the bytes of `buffer` lie; it must outlive the use."""
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer)) if buffer else 0


def sums_of(partial: bytearray, columns: int) -> list[float]:
    """Add up what each task left: rows of `columns` float64, in the order of the tasks."""
    if len(partial) == 8 * columns:
        return list(unpack(f"{columns}d", partial))
    sums: list[float] = np.add.reduce(np.frombuffer(partial).reshape(-1, columns)).tolist()
    return sums
