"""Which machine a number was measured on, so that it is never read without it."""

import os
import platform
from pathlib import Path

import torch


def machine() -> str:
    """The processor and its cores."""
    names = [line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def about() -> dict[str, str]:
    """What a result file says about where it comes from."""
    return {"machine": machine(), "python": platform.python_version(), "torch": torch.__version__}


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
