"""Peak memory of one step, measured: resident memory of a fresh process on the CPU, the allocator's peak on CUDA."""

import gc
from dataclasses import replace
from pathlib import Path

import torch

from lastlayer.bench.cases import Case
from lastlayer.bench.contenders import Contender
from lastlayer.bench.work import make, step

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def extra_bytes(case: Case, contender: Contender, device: str) -> int | None:
    """Peak memory of a step beyond the inputs, results included; None where the system does not tell.

    On the CPU this has to be a fresh process: memory that was used before hides what is taken now.
    """
    if device.startswith("cuda"):
        return _on_cuda(case, contender, device)
    if not _RESET.exists():
        return None
    # Load what the contender loads and compiles. A compiler's own memory has to be taken at the true shape; all
    # others are warmed on a few numbers, so that what they keep for this shape is counted.
    few = case if contender.compiles else replace(case, rows=min(case.rows, 4), classes=min(case.classes, 16))
    work = make(few, device)
    step(contender.build(few, device), work)
    del work
    work = make(case, device)
    function = contender.build(case, device)
    if contender.compiles:
        step(function, work)
    gc.collect()
    before = _resident("VmRSS")
    _RESET.write_text("5")  # the peak begins anew
    step(function, work)
    return max(_resident("VmHWM") - before, 0)


def _resident(name: str) -> int:
    lines = _STATUS.read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":"))


def _on_cuda(case: Case, contender: Contender, device: str) -> int:
    work, function = make(case, device), contender.build(case, device)
    if contender.overwrites:
        work = work.own_copy()
    step(function, work)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step(function, work)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before
