"""python -m benchmarks.gpu [--quick] [--output FILE]: the Triton kernels on this GPU, checked first, then timed.

Needs torch, NumPy and Triton. Without a GPU the checks run under Triton's interpreter, and nothing is timed.
"""

import argparse
import importlib
import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the field's name for it

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))

from lastlayer.kernels import BinaryOptions, Options  # noqa: E402 - a machine where nothing is installed
from lastlayer.kernels import triton as kernels  # noqa: E402

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
# Rows × classes: language models, an odd vocabulary, ImageNet, short rows, few long rows.
SHAPES = [(2048, 32_000), (512, 128_256), (4096, 128_256), (2048, 50_257), (8192, 1000), (65_536, 10), (64, 1_000_000)]
LINEAR = [
    (4096, 4096, 128_256),
    (8192, 2048, 32_000),
    (4096, 2048, 50_257),
    (2048, 512, 32_000),
]  # rows, features, classes
CHUNKS = (512, 1024, 2048, 4096)
Work = Callable[[], object]


# Right


def errors(device: str, rows: int, classes: int, dtype: torch.dtype) -> dict[str, float]:
    """The largest error of every kernel against float64, in units of the dtype's epsilon and of the largest entry."""
    g = torch.Generator().manual_seed(0)
    z = (torch.randn(rows, classes, generator=g) * 3).to(dtype).to(device)
    y = torch.randint(0, classes, (rows,), generator=g).to(device)
    q = torch.rand(rows, classes, generator=g).softmax(1).to(dtype).to(device)
    up = torch.randn(rows, classes, generator=g).to(dtype).to(device)
    bce = BinaryOptions(dtype)
    cases: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
        "cross_entropy": (
            lambda x: kernels.cross_entropy(x, y, None, Options(dtype))[0],
            lambda x: F.cross_entropy(x, y),
        ),
        "cross_entropy, smoothing and z-loss": (
            lambda x: kernels.cross_entropy(x, y, None, Options(dtype, label_smoothing=0.1, z_loss=0.1))[0],
            lambda x: F.cross_entropy(x, y, label_smoothing=0.1) + 0.1 * (x.logsumexp(1) ** 2).mean(),
        ),
        "cross_entropy, temperature and softcap": (
            lambda x: kernels.cross_entropy(x, y, None, Options(dtype, softcap=5.0, temperature=0.7))[0],
            lambda x: F.cross_entropy(5 * torch.tanh(x / 5) / 0.7, y),
        ),
        "cross_entropy, probabilities": (
            lambda x: kernels.cross_entropy(x, q, None, Options(dtype))[0],
            lambda x: F.cross_entropy(x, q.double()),
        ),
        "binary_cross_entropy_with_logits": (
            lambda x: kernels.binary_cross_entropy_with_logits(x, q, None, None, bce),
            lambda x: F.binary_cross_entropy_with_logits(x, q.double()),
        ),
        "softmax": (
            lambda x: (kernels.softmax(x, 1, 1.0).double() * up).sum(),
            lambda x: (x.softmax(1) * up).sum(),
        ),
        "log_softmax": (
            lambda x: (kernels.log_softmax(x, 1, 1.0).double() * up).mean(),
            lambda x: (x.log_softmax(1) * up).mean(),
        ),
    }
    found = {}
    for name, (ours, plain) in cases.items():
        leaf, exact = z.clone().requires_grad_(), z.clone().double().requires_grad_()
        loss, expected = ours(leaf), plain(exact)
        loss.backward()
        expected.backward()
        assert leaf.grad is not None
        assert exact.grad is not None
        found[name] = max(_error(loss, expected, dtype), _error(leaf.grad, exact.grad, dtype))
    buffer = z.clone()
    one = torch.tensor(1.0 / rows, device=device, dtype=torch.float64)
    kernels.cross_entropy_in_place(buffer, y, None, Options(dtype), of_loss=one)
    exact = z.clone().double().requires_grad_()
    F.cross_entropy(exact, y).backward()
    found["cross_entropy_in_place"] = _error(buffer, exact.grad, dtype)
    return found


def _error(found: Tensor, exact: Tensor | None, dtype: torch.dtype) -> float:
    assert exact is not None
    worst = (found.detach().double() - exact.detach()).abs().max() / exact.detach().abs().max() / torch.finfo(dtype).eps
    return float(worst) if worst == worst else float("inf")


def check(device: str, shapes: list[tuple[int, int]]) -> dict[str, float]:
    """Every kernel in every dtype and shape; a softmax's sum of products may err by what its terms round off."""
    worst: dict[str, float] = {}
    for rows, classes in shapes:
        for name, dtype in [*DTYPES.items(), ("float16", torch.float16), ("float64", torch.float64)]:
            for kernel, error in errors(device, rows, classes, dtype).items():
                key = f"{kernel}, {name}"
                worst[key] = max(worst.get(key, 0.0), error)
    return worst


# Fast


def seconds(works: dict[str, Work], repeats: int) -> dict[str, float]:
    """The median time of each, all of them in turn so that a clock that changes changes it for all."""
    for work in works.values():
        for _ in range(3):
            work()
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            work()
            end.record()
            end.synchronize()
            times[name].append(start.elapsed_time(end) / 1000)
    return {name: sorted(values)[len(values) // 2] for name, values in times.items()}


def both_ways(function: Callable[[Tensor], Tensor], z: Tensor) -> Work:
    """Forward and backward; the gradient is fresh each time, as in training."""
    leaf = z.detach().requires_grad_()

    def work() -> None:
        leaf.grad = None
        function(leaf).backward()

    return work


def dense(rows: int, classes: int, dtype: torch.dtype, repeats: int) -> dict[str, dict[str, float]]:
    """Seconds of each dense kernel beside eager, compiled, and one copy of the logits."""
    z = torch.randn(rows, classes, device="cuda", dtype=dtype)
    y = torch.randint(0, classes, (rows,), device="cuda")
    t = torch.rand(rows, classes, device="cuda", dtype=dtype)
    room = torch.empty_like(z)
    ce, bce = Options(dtype, ignore_index=-100), BinaryOptions(dtype)
    functions: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
        "cross_entropy": (lambda x: kernels.cross_entropy(x, y, None, ce)[0], lambda x: F.cross_entropy(x, y)),
        "binary_cross_entropy_with_logits": (
            lambda x: kernels.binary_cross_entropy_with_logits(x, t, None, None, bce),
            lambda x: F.binary_cross_entropy_with_logits(x, t),
        ),
    }
    found = {}
    for name, (ours, plain) in functions.items():
        works = {
            "copy": lambda: room.copy_(z),
            "ours": both_ways(ours, z),
            "eager": both_ways(plain, z),
            "compiled": both_ways(torch.compile(plain), z),
        }
        found[name] = seconds(works, repeats)
    forwards = [("softmax", kernels.softmax, torch.softmax), ("log_softmax", kernels.log_softmax, torch.log_softmax)]
    for name, ours, plain in forwards:
        works = {
            "copy": lambda: room.copy_(z),
            "ours": partial(ours, z, 1, 1.0),
            "eager": partial(plain, z, 1),
            "compiled": partial(torch.compile(plain), z, 1),
        }
        found[f"{name} forward"] = seconds(works, repeats)
    return found


def linear_by_chunks(x: Tensor, w: Tensor, y: Tensor, chunk: int, buffer: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Linear cross-entropy: products by torch, the kernel between; dW is added up in float32."""
    options, of_loss = Options(x.dtype), torch.full((), 1.0 / len(x), dtype=torch.float64, device=x.device)
    dx, dw = torch.empty_like(x), torch.zeros(w.shape, dtype=torch.float32, device=w.device)
    total = torch.zeros((), dtype=torch.float64, device=x.device)
    for start in range(0, len(x), chunk):
        part = slice(start, min(start + chunk, len(x)))
        logits = buffer[: part.stop - start, : len(w)]
        torch.mm(x[part], w.t(), out=logits)
        loss, _, _ = kernels.cross_entropy_in_place(logits, y[part], None, options, of_loss=of_loss)
        total += loss.sum()
        torch.mm(logits, w, out=dx[part])
        if dw.dtype == x.dtype:
            dw.addmm_(logits.t(), x[part])
        else:
            torch.addmm(dw, logits.t(), x[part], out_dtype=torch.float32, out=dw)
    return total.to(x.dtype), dx, dw.to(w.dtype)


def linear(rows: int, features: int, classes: int, dtype: torch.dtype, repeats: int) -> dict[str, Any]:
    """Seconds of linear cross-entropy with all gradients, ours at every chunk size, beside whatever can be imported."""
    x = torch.randn(rows, features, device="cuda", dtype=dtype) / features**0.5
    w = torch.randn(classes, features, device="cuda", dtype=dtype)
    y = torch.randint(0, classes, (rows,), device="cuda")
    # Rows of the buffer begin at multiples of 128 bytes, whatever the number of classes.
    width = -(-classes // 64) * 64
    works: dict[str, Work] = {"three products alone": lambda: _products(x, w, room)}
    room = torch.empty(rows, classes, device="cuda", dtype=dtype)
    for chunk in (c for c in CHUNKS if c <= rows):
        padded = torch.empty(chunk, width, device="cuda", dtype=dtype)
        works[f"ours, {chunk} rows"] = partial(linear_by_chunks, x, w, y, chunk, padded)
        if width != classes:
            tight = torch.empty(chunk, classes, device="cuda", dtype=dtype)
            works[f"ours, {chunk} rows, no padding"] = partial(linear_by_chunks, x, w, y, chunk, tight)

    def plain(a: Tensor, b: Tensor) -> Tensor:
        return F.cross_entropy((a @ b.t()).float(), y)

    works["PyTorch dense"] = _with_gradients(plain, x, w)
    works["PyTorch compiled"] = _with_gradients(torch.compile(plain), x, w)
    missing: dict[str, str] = {}
    for name, make in PEERS.items():
        try:
            work = _with_gradients(make(y), x, w)
            work()
            works[name] = work
        except (ImportError, AttributeError, TypeError, RuntimeError, ValueError) as error:
            missing[name] = f"not measured: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    _assert_right(x, w, y, plain, torch.empty(min(1024, rows), width, device="cuda", dtype=dtype))
    return {**seconds(works, repeats), **missing}


def _assert_right(x: Tensor, w: Tensor, y: Tensor, plain: Callable[[Tensor, Tensor], Tensor], buffer: Tensor) -> None:
    """Ours may err, against float32 products, by what half precision rounds off."""
    a, b = (t.detach().float().requires_grad_() for t in (x, w))
    plain(a, b).backward()
    _, dx, dw = linear_by_chunks(x, w, y, len(buffer), buffer)
    for found, exact in ((dx, a.grad), (dw, b.grad)):
        assert exact is not None
        error = float((found.float() - exact).norm() / exact.norm())
        assert error < 2e-2, f"linear cross-entropy is wrong: relative error {error}"


def _products(x: Tensor, w: Tensor, room: Tensor) -> None:
    torch.mm(x, w.t(), out=room)
    torch.mm(room, w)
    torch.mm(room.t(), x)


def _with_gradients(function: Callable[[Tensor, Tensor], Tensor], x: Tensor, w: Tensor) -> Work:
    a, b = x.detach().requires_grad_(), w.detach().requires_grad_()

    def work() -> None:
        a.grad = b.grad = None
        function(a, b).backward()

    return work


def _torch_chunked(y: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    function = F.linear_cross_entropy  # PyTorch 2.13
    return lambda a, b: function(a, b, y)


def _liger(y: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    loss = importlib.import_module("liger_kernel.transformers").LigerFusedLinearCrossEntropyLoss()
    return lambda a, b: loss(b, a, y)


def _cut(y: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    function = importlib.import_module("cut_cross_entropy").linear_cross_entropy
    return lambda a, b: function(a, b, y)


def _quack(y: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    function = importlib.import_module("quack.linear_cross_entropy").chunked_linear_cross_entropy
    return lambda a, b: function(a, b, y)


PEERS = {"PyTorch chunked": _torch_chunked, "Liger": _liger, "ml-cross-entropy": _cut, "Quack": _quack}


# Shown


def show(title: str, row: dict[str, Any]) -> None:
    """One line per case: milliseconds, and the share of a copy's bandwidth for the dense losses."""
    print(title)
    for name, value in row.items():
        print(f"    {value * 1e3:10.3f} ms  {name}" if isinstance(value, float) else f"    {value}  ({name})")
    if "copy" in row:
        # Three trips (two reads and a write) for a loss and its gradient, two for a forward alone.
        trips = 1.0 if title.endswith("forward") else 1.5
        print(f"    {row['ours'] / row['copy']:.2f} copies; {trips * row['copy'] / row['ours']:.0%} of copy bandwidth")
    print(flush=True)


def interpret() -> int:
    """The checks under the interpreter, in a process that sets its flag before Triton is imported."""
    print("No GPU here: nothing is timed. The checks run under Triton's interpreter.", flush=True)
    code = subprocess.run([sys.executable, __file__], env={**os.environ, "TRITON_INTERPRET": "1"}, check=False)
    return code.returncode


def report_of_checks(device: str, shapes: list[tuple[int, int]]) -> tuple[dict[str, float], bool]:
    worst = check(device, shapes)
    for name, error in worst.items():
        print(f"{error:8.2f} eps  {name}")
    # float64 is judged by float64, which errs as much; a sum over a softmax by the rounding of its terms.
    limits = {name: 64.0 if "float64" in name or "softmax" in name else 4.0 for name in worst}
    wrong = [name for name, error in worst.items() if not error <= limits[name]]
    print(f"wrong: {', '.join(wrong)}" if wrong else "every kernel agrees with float64", flush=True)
    return worst, not wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer shapes and repeats")
    parser.add_argument("--output", type=Path, help="JSON; benchmarks/results/gpu-<name>.json without it")
    options = parser.parse_args()
    if INTERPRETED:
        import numpy as np

        np.seterr(all="ignore")  # the interpreter computes with NumPy, the kernels meet −inf on purpose
        # The interpreter cuts bfloat16 where a GPU rounds: 1.9999 becomes 1.9922.
        DTYPES.pop("bfloat16")
        return 0 if report_of_checks("cpu", [(3, 10), (2, 1000)])[1] else 1
    if importlib.util.find_spec("triton") is None:
        print("Triton is not installed: nothing to check.")
        return 0
    if not torch.cuda.is_available():
        return interpret()
    gpu = torch.cuda.get_device_name()
    about = {"gpu": gpu, "python": platform.python_version(), "torch": torch.__version__, "date": time.strftime("%F")}
    about["triton"] = importlib.import_module("triton").__version__
    print(about, flush=True)
    worst, right = report_of_checks("cuda", [(64, 10), (33, 1000), (16, 50_257), (4, 300_001)])
    if not right:
        return 1
    repeats = 10 if options.quick else 30
    result: dict[str, Any] = {**about, "errors in eps": worst, "dense": {}, "linear": {}}
    for rows, classes in SHAPES[:2] if options.quick else SHAPES:
        for dtype in DTYPES.values():
            for name, times in dense(rows, classes, dtype, repeats).items():
                result["dense"][f"{rows}×{classes} {dtype} {name}"] = times
                show(f"{rows}×{classes} {dtype} {name}", times)
            torch.compiler.reset()
    for rows, features, classes in LINEAR[:1] if options.quick else LINEAR:
        times = linear(rows, features, classes, torch.bfloat16, max(5, repeats // 3))
        result["linear"][f"{rows}×{features}×{classes} bfloat16"] = times
        show(f"linear cross-entropy, {rows} rows × {features} features × {classes} classes, bfloat16", times)
    output = options.output or ROOT / "benchmarks" / "results" / f"gpu-{gpu.replace(' ', '-')}.json"
    output.parent.mkdir(exist_ok=True)
    output.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    print(f"written: {output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
