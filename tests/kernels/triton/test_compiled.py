"""Every kernel compiles for a GPU without one: no spilled registers, wide reads where rows are aligned.

The interpreter is more lenient than the compiler about types, so the tests under it do not show this.
"""

import importlib.util
import inspect
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None or os.environ.get("TRITON_INTERPRET") == "1",
    reason="Triton is not installed, or its interpreter is on",
)
TYPES = {
    "target": "*i64",
    **dict.fromkeys(["lse", "sums", "parts", "counts", "share_of_row", "of_loss", "of_penalty", "of_lse"], "*fp64"),
    **dict.fromkeys(["temperature_bits", "softcap_bits", "smoothing_bits", "z_loss_bits", "gamma_bits"], "i64"),
    **dict.fromkeys(["loss", "total", "of_total", "weight", "pos_weight"], "*fp32"),
    "kept": "*fp32",
}
TENSORS = {"logits", "result", "upstream"}
ALIGNED = {"row_stride", "result_stride", "upstream_stride", "target_stride", "classes", "share"}
CASES = [("fp32", 1, 4), ("bf16", 0, 2), ("fp64", 2, 8)]


def compiled(kernel, dtype, kind, num_warps, soft=False, **constants):
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = list(inspect.signature(kernel.fn).parameters)
    types = {**TYPES, **dict.fromkeys(TENSORS, f"*{dtype}")}
    if soft:
        types["target"] = f"*{dtype}"
    if kind == 2:
        types["kept"] = "*fp64"
    constants = {name: constants.get(name, False) for name in names if name.isupper()}
    if "KIND" in constants:
        constants["KIND"] = kind
    signature = {name: "constexpr" if name in constants else types.get(name, "i32") for name in names}
    aligned = {
        (i,): [["tt.divisibility", 16]]
        for i, name in enumerate(names)
        if signature[name].startswith("*") or name in ALIGNED
    }
    source = ASTSource(kernel, signature, {(names.index(k),): v for k, v in constants.items()}, aligned)
    return triton.compile(
        source, target=GPUTarget("cuda", 90, 32), options={"num_warps": num_warps, "enable_fp_fusion": True}
    )


def spilled(binary):
    """Bytes of stack per thread, as the tool that comes with Triton reads them off the machine code."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        report = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    return int(report.split("STACK:")[1].split()[0])


def check(found, wide_reads=True):
    assert spilled(found.asm["cubin"]) == 0
    if wide_reads:
        assert ".v4.b32" in found.asm["ptx"] or ".v2.b64" in found.asm["ptx"]


@pytest.fixture(autouse=True, scope="module")
def _own_cache(tmp_path_factory):
    before = os.environ.get("TRITON_CACHE_DIR")
    os.environ["TRITON_CACHE_DIR"] = str(tmp_path_factory.mktemp("triton"))
    yield
    if before is None:
        del os.environ["TRITON_CACHE_DIR"]
    else:
        os.environ["TRITON_CACHE_DIR"] = before


OPTIONS = {
    "plain": {},
    "soft": {"SOFT": True, "DENSE": True},
    "options": dict.fromkeys(["DENSE", "HAS_SMOOTHING", "HAS_WEIGHT", "HAS_Z_LOSS", "HAS_TEMPERATURE"], True),
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize(("dtype", "kind", "itemsize"), CASES, ids=[c[0] for c in CASES])
def test_cross_entropy_compiles(dtype, kind, itemsize, options):
    from lastlayer.kernels.triton import _cross_entropy_in_place_kernels as in_place
    from lastlayer.kernels.triton import _cross_entropy_kernels as kernels
    from lastlayer.kernels.triton._launch import tile_for

    if kind == 2:  # one of them is enough: with softcap, as float32 logits come here
        if "HAS_WEIGHT" not in options:
            pytest.skip("compiled with all options")
        options = {**options, "HAS_SOFTCAP": True}
    flags = {"HAS_IGNORE": not options.get("SOFT"), "HAS_LOSS": True, "MEAN": True, **options}
    soft = options.get("SOFT", False)
    for classes in (10, 128_256) if len(options) == 0 else (128_256,):
        tile = tile_for(classes, itemsize, kind)
        shape = {"V": tile.V, "R": tile.R, "L": tile.L}
        for kernel in (kernels.whole_rows, kernels.gradient, in_place.loss_and_gradient):
            check(compiled(kernel, dtype, kind, tile.num_warps, soft, **flags, **shape))
    check(compiled(kernels.parts_of_rows, dtype, kind, tile.num_warps, soft, **flags, **shape))
    check(compiled(kernels.joined_rows, dtype, kind, 4, soft, **flags, **shape, SPLITS=8), wide_reads=False)


def test_reduction_compiles():
    from lastlayer.kernels.triton import _cross_entropy_kernels as kernels

    check(compiled(kernels.reduce, "fp32", 1, 8, MEAN=True, HAS_Z_LOSS=True, BLOCK=4096), wide_reads=False)


@pytest.mark.parametrize("log", [False, True], ids=["softmax", "log_softmax"])
@pytest.mark.parametrize(("dtype", "kind", "itemsize"), CASES, ids=[c[0] for c in CASES])
def test_softmax_compiles(dtype, kind, itemsize, log):
    from lastlayer.kernels.triton import _softmax_kernels as kernels
    from lastlayer.kernels.triton._launch import tile_for

    TYPES["kept"] = "*fp64"  # here for every flavour
    try:
        tile = tile_for(32_000, itemsize, kind)
        flags = {"LOG": log, "HAS_TEMPERATURE": True, "V": tile.V, "R": tile.R, "L": tile.L}
        for kernel in (kernels.whole_rows, kernels.backward):
            check(compiled(kernel, dtype, kind, tile.num_warps, **flags))
        check(compiled(kernels.tiles_of_rows, dtype, kind, tile.num_warps, **flags, SPLITS=4))
    finally:
        TYPES["kept"] = "*fp32"


@pytest.mark.parametrize("gamma", [False, True], ids=["plain", "focal"])
@pytest.mark.parametrize(("dtype", "kind"), [c[:2] for c in CASES], ids=[c[0] for c in CASES])
def test_binary_cross_entropy_compiles(dtype, kind, gamma):
    from lastlayer.kernels.triton import _binary_cross_entropy as module
    from lastlayer.kernels.triton import _binary_cross_entropy_kernels as kernels

    before, TYPES["target"] = TYPES["target"], f"*{dtype}"
    try:
        flags = {"HAS_WEIGHT": True, "HAS_POS_WEIGHT": True, "HAS_SMOOTHING": True, "HAS_GAMMA": gamma, "MEAN": True}
        for kernel in (kernels.forward, kernels.backward):
            check(compiled(kernel, dtype, kind, 8, **flags, R=1, L=module.tile_of(kind)), wide_reads=False)
    finally:
        TYPES["target"] = before


def test_this_process_did_not_leave_the_interpreter_on():
    assert "TRITON_INTERPRET" not in os.environ
    assert sys.modules.get("triton") is None or not sys.modules["triton"].knobs.runtime.interpret
