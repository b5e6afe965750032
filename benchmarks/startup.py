"""What starting costs: importing lastlayer against importing torch, and `lastlayer --help`."""

import os
import statistics
import subprocess
import sys
import time

ROUNDS = 15


def seconds(*command: str) -> float:
    """Wall-clock seconds of one run of a command."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env=environment)
    return time.perf_counter() - started


def measure() -> dict[str, float]:
    """Medians of pairs taken in turn."""
    python = sys.executable
    ours, theirs, helps = [], [], []
    touch = "import lastlayer; lastlayer.cross_entropy"
    seconds(python, "-c", touch), seconds(python, "-m", "lastlayer", "--help")  # compiles what is not compiled yet
    for _ in range(ROUNDS):
        theirs.append(seconds(python, "-c", "import torch"))
        ours.append(seconds(python, "-c", touch))
        helps.append(seconds(python, "-m", "lastlayer", "--help"))
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    return {
        "import and touch cross_entropy / import torch (at most 1.1)": statistics.median(ratios),
        "lastlayer --help, seconds (at most 0.3)": statistics.median(helps),
    }
