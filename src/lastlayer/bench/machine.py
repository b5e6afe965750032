"""Which machine a number was measured on, without saying whose it is."""

import os
import platform
from pathlib import Path

import torch


def about(device: str = "cpu") -> dict[str, str | int]:
    """Processor, cores, threads, memory and versions; no host name and no path."""
    found: dict[str, str | int] = {
        "processor": processor(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "memory_gib": round(memory_total() / 2**30),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if device.startswith("cuda"):
        found["gpu"] = torch.cuda.get_device_name()
    return found


def processor() -> str:
    """Its name as the system gives it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def memory_total() -> int:
    """Bytes of memory, of the machine or of the container that this runs in."""
    return min(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), _limit())


def memory_available(device: str = "cpu") -> int:
    """Bytes that can be taken without pushing anybody out."""
    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info()[0])
    used = Path("/sys/fs/cgroup/memory.current")
    limit = _limit()
    left = limit - int(used.read_text()) if limit < _UNKNOWN and used.exists() else _UNKNOWN
    return min(_meminfo("MemAvailable"), left)


_UNKNOWN = 2**62


def _meminfo(name: str) -> int:
    path = Path("/proc/meminfo")
    lines = path.read_text().splitlines() if path.exists() else []
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":")]
    return found[0] if found else _UNKNOWN


def _limit() -> int:
    path = Path("/sys/fs/cgroup/memory.max")
    text = path.read_text().strip() if path.exists() else "max"
    return int(text) if text.isdecimal() else _UNKNOWN
