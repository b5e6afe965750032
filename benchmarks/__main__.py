"""python -m benchmarks: print every number, the table of targets last; keep them under results."""

import argparse
import json
import platform
import sys
import time
from pathlib import Path

import torch

from benchmarks import speed, startup
from benchmarks.machine import about, machine
from lastlayer import Classifier

HERE = Path(__file__).parent


def digits() -> dict[str, float]:
    """The classifier of the demo, and how long it takes."""
    started = time.perf_counter()
    found = Classifier(verbose=False).fit("digits").evaluate()
    return {
        "digits, test accuracy (at least 0.97)": found["accuracy"],
        "digits, test log-loss (at most 0.12)": found["log_loss"],
        "digits, seconds to train and evaluate, imports included": time.perf_counter() - started,
    }


def main() -> int:
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(f"{machine()}; Python {platform.python_version()}, torch {torch.__version__}")
    numbers: dict[str, float] = {}
    for part in (startup.measure, digits):
        for name, value in part().items():
            numbers[name] = round(value, 4)
            print(f"{value:9.4f}  {name}", flush=True)
    results = HERE / "results" / f"{time.strftime('%Y-%m-%d')}.json"
    results.parent.mkdir(exist_ok=True)
    results.write_text(json.dumps({**about(), "numbers": numbers}, indent=2) + "\n")
    return speed.main()


if __name__ == "__main__":
    sys.exit(main())
