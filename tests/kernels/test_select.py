"""Which backend serves what, and that a named one never gives way to another."""

import subprocess
import sys

import pytest
import torch

from lastlayer import errors, functional, kernels
from lastlayer.kernels import cpu, eager

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("operation", cpu.__all__)
def test_the_compiled_kernels_serve_every_float_on_the_cpu(operation, dtype):
    tensor = torch.zeros(2, 3, dtype=dtype)
    assert kernels.select(operation, tensor) is getattr(cpu, operation)
    assert kernels.select(operation, tensor, "cpu") is getattr(cpu, operation)
    assert kernels.select(operation, tensor, "eager") is getattr(eager, operation)


@pytest.mark.parametrize("operation", sorted(set(eager.__all__) - set(cpu.__all__) - {"adjusted"}))
def test_what_has_no_kernel_is_served_by_eager_or_refused(operation):
    tensor = torch.zeros(2, 3)
    assert kernels.select(operation, tensor) is getattr(eager, operation)
    with pytest.raises(errors.OptionError, match=f"got {operation} on cpu"):
        kernels.select(operation, tensor, "cpu")


def test_another_device_is_served_by_eager_or_refused():
    tensor = torch.zeros(2, 3, device="meta")
    assert kernels.select("softmax", tensor) is eager.softmax
    with pytest.raises(errors.OptionError, match="got softmax on meta"):
        kernels.select("softmax", tensor, "cpu")


def test_an_unknown_backend_is_refused():
    with pytest.raises(errors.OptionError, match="eager"):
        kernels.select("softmax", torch.zeros(2), "cuda")


def test_every_kernel_stands_in_eager_too():
    assert set(cpu.__all__) <= set(eager.__all__)


def test_compiling_takes_the_formulas():
    compiled = torch.compile(functional.softmax, fullgraph=True, backend="aot_eager")
    z = torch.randn(2, 3)
    torch.testing.assert_close(compiled(z, 1), torch.softmax(z, 1))


def python(code: str, **environment: str) -> str:
    import os

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


BLOCKED = """
import sys, importlib.metadata as metadata
found = metadata.version
def version(name):
    if name == {name!r}:
        raise metadata.PackageNotFoundError(name)
    return found(name)
metadata.version = version
sys.modules[{name!r}] = None
import torch
from lastlayer import functional, kernels
z = torch.tensor([[1.0, 2.0]])
print(kernels.select("cross_entropy", z).__module__)
print(functional.cross_entropy(z, torch.tensor([0])).item())
try:
    functional.cross_entropy(z, torch.tensor([0]), backend="cpu")
except ValueError as error:
    print(error)
"""


@pytest.mark.parametrize("package", ["numba", "llvmlite"])
def test_without_the_compiler_eager_serves(package):
    module, loss, refusal = python(BLOCKED.format(name=package)).splitlines()
    assert ".eager." in module
    assert float(loss) == pytest.approx(1.3132617)
    assert refusal.startswith(f"backend 'cpu' cannot be had: {package} is not installed")


def test_an_unknown_processor_is_served_by_eager():
    code = """
import platform; platform.machine = lambda: "riscv64"
import torch
from lastlayer import kernels
print(kernels.select("softmax", torch.zeros(1)).__module__, kernels.cpu.why_not())
"""
    assert "eager" in python(code)
    assert "riscv64" in python(code)


def test_importing_and_loading_a_stored_kernel_import_no_numba():
    code = """
import sys, torch
import lastlayer.functional as F
assert not {"numba", "llvmlite"} & set(sys.modules)
F.softmax(torch.zeros(2, 3), 1)
print("numba" in sys.modules)
"""
    python(code)  # whatever it finds, it leaves a stored kernel
    assert python(code).strip() == "False"
