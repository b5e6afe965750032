"""Runs tests on a copy of the package, and tells a failed test from a copy that is broken."""

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]

# The copy is what is tested, or nothing is: another exit status than any of pytest's.
PROGRAM = """
import sys, pytest, lastlayer
copy, *arguments = sys.argv[1:]
if not lastlayer.__file__.startswith(copy):
    print(f"{lastlayer.__file__} was imported, not the copy in {copy}")
    sys.exit(99)
sys.exit(pytest.main(arguments))
"""
OPTIONS = ("-x", "-q", "-p", "no:cacheprovider", "-m", "not slow and not mutants")

PASSED, FAILED = 0, 1  # pytest's exit statuses; every other one means that nothing was judged
# What a mistake in the planted text itself raises: no test has then found the bug that was meant.
BROKEN = ("SyntaxError", "NameError", "UnboundLocalError", "ImportError", "ModuleNotFoundError")


class Outcome(NamedTuple):
    """How the tests ended."""

    passed: bool
    failures: list[str]  # the lines of pytest's summary
    output: str


def run(folder: Path, tests: tuple[str, ...], kernels: Path | None = None) -> Outcome:
    """Run `tests` on the package in `folder`; its compiled kernels are kept in `kernels` (None: where they always are).

    Raises:
        RuntimeError: the tests could not be run, or the package is broken.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {
        "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [environment.get("PYTHONPATH")])]),
        "PYTHONDONTWRITEBYTECODE": "1",  # two mutants of one second would share a compiled file
        "COLUMNS": "300",  # reasons are cut at the width of the terminal
    }
    if kernels is not None:
        environment |= {"XDG_CACHE_HOME": str(kernels), "HOME": str(kernels), "LOCALAPPDATA": str(kernels)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), *OPTIONS, *tests],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    output = done.stdout + done.stderr
    failures = [line for line in done.stdout.splitlines() if line.startswith("FAILED ")]
    broken = any(f" - {error}" in line for line in failures for error in BROKEN)
    if done.returncode not in (PASSED, FAILED) or (done.returncode == FAILED and not failures) or broken:
        raise RuntimeError(f"no test was judged (exit status {done.returncode}):\n{output[-4000:]}")
    return Outcome(done.returncode == PASSED, failures, output)
