"""Compiled once per machine; a cache that is damaged, read-only or absent costs time and nothing else."""

import os
import shutil
import stat
from pathlib import Path

import pytest

from lastlayer.kernels.cpu import _compile
from tests.kernels.test_select import python

SOFTMAX = """
import sys, torch
from lastlayer.kernels.cpu import _compile
import lastlayer.functional as F
{first}
assert torch.allclose(F.softmax(torch.tensor([0.0, 1.0]), 0), torch.softmax(torch.tensor([0.0, 1.0]), 0))
print(_compile.folder(), "numba" in sys.modules)
"""


def run(cache: Path, first: str = "") -> list[str]:
    return python(SOFTMAX.format(first=first), XDG_CACHE_HOME=str(cache), LOCALAPPDATA=str(cache)).split()


@pytest.mark.skipif(os.name == "nt" or os.uname().sysname == "Darwin", reason="the folder follows XDG_CACHE_HOME")
def test_a_damaged_cache_is_compiled_again(tmp_path):
    folder, compiled = run(tmp_path)
    assert compiled == "True"
    assert Path(folder) == tmp_path / "lastlayer" / "kernels"
    assert run(tmp_path) == [folder, "False"]
    files = list(Path(folder).iterdir())
    assert len(files) == 1
    whole = files[0].read_bytes()
    for damaged in (b"", whole[:40], whole[:-1], whole[:50] + b"x" + whole[51:]):
        files[0].write_bytes(damaged)
        assert run(tmp_path) == [folder, "True"]
        assert files[0].read_bytes()[32:36] == b"\x7fELF"


def test_without_any_folder_to_write_to_kernels_are_compiled_and_not_kept(tmp_path):
    first = "_compile.folder.cache_clear(); _compile.folder = lambda: None"
    assert run(tmp_path, first) == ["None", "True"]
    assert not list(tmp_path.rglob("*.o"))


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_home_is_passed_over(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    folder, _ = run(tmp_path)
    assert not folder.startswith(str(tmp_path))


def test_nothing_is_printed_while_compiling(tmp_path):
    code = "import torch, lastlayer.functional as F; F.sigmoid(torch.zeros(3))"
    assert python(code, XDG_CACHE_HOME=str(tmp_path)) == ""


def test_a_kernel_that_calls_into_the_process_is_refused():
    code = """
import sys, types as python_types
from numba import njit
import math
module = python_types.ModuleType("lastlayer.kernels.cpu.native.calling")
def factory():
    from lastlayer.kernels.cpu.native.lanes import double_at, put_double
    def kernel(words):
        put_double(words, 0, math.erf(double_at(words, 0)))
    return kernel
module.factory = factory
sys.modules[module.__name__] = module
from lastlayer.kernels.cpu import _compile
try:
    _compile._compiled("calling.factory", (), "name")
except RuntimeError as error:
    print(error)
"""
    assert "erf" in python(code)


def test_a_kernel_is_stored_for_its_sources_and_its_processor(monkeypatch, tmp_path):
    import llvmlite.binding as llvm

    digest = _compile._digest.__wrapped__
    here = digest()
    assert digest() == here
    features = {"avx2": False, **llvm.get_host_cpu_features()}
    monkeypatch.setattr(
        llvm, "get_host_cpu_features", lambda: llvm.FeatureMap({**features, "avx2": not features["avx2"]})
    )
    assert digest() != here
    monkeypatch.undo()
    sources = tmp_path / "native"
    shutil.copytree(_compile._SOURCES, sources, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(_compile, "_SOURCES", sources)
    assert digest() == here
    with (sources / "math.py").open("a") as file:
        file.write("\n")
    assert digest() != here
