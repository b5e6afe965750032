"""Starts the tests of the kernels under Triton's interpreter, each file in a process of its own."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
FILES = [
    "test_arithmetic.py",
    "test_cross_entropy.py",
    "test_cross_entropy_in_place.py",
    "test_binary_cross_entropy.py",
    "test_softmax.py",
]

needed = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None or os.environ.get("TRITON_INTERPRET") == "1",
    reason="Triton is not installed, or this process already is the inner one",
)


@needed
@pytest.mark.parametrize("file", FILES)
def test_kernels_under_the_interpreter(file):
    outer = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / file)]
    done = subprocess.run(
        command, cwd=HERE.parents[2], env={**outer, "TRITON_INTERPRET": "1"}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


@needed
def test_every_file_of_kernel_tests_is_started():
    others = {"test_interpreted.py", "test_compiled.py"}
    assert {path.name for path in HERE.glob("test_*.py")} - others == set(FILES)


def test_importing_the_backend_imports_no_triton():
    code = "import sys; from lastlayer.kernels import triton; print(triton.why_not() is None, 'triton' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    available, imported = done.stdout.split()
    if not torch.cuda.is_available():
        assert available == "False"
    assert imported == "False" or torch.cuda.is_available()
