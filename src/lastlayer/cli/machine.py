"""lastlayer doctor --machine: which backend serves what here, and why."""

import os
import platform
from typing import Any

import torch

from lastlayer import kernels

_OPERATIONS = {
    "cross_entropy": "cross_entropy",
    "binary_cross_entropy_with_logits": "binary_cross_entropy_with_logits",
    "linear_cross_entropy": "cross_entropy_rows",
    "linear_binary_cross_entropy": "binary_cross_entropy_elements",
    **{name: name for name in ("softmax", "log_softmax", "logsumexp", "sigmoid", "logit", "kl_div", "entropy")},
}
_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def machine() -> dict[str, Any]:
    """The machine, its devices, and the backend of every operation on them."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "backends": list(kernels.BACKENDS),
        "devices": [_device(name) for name in ("cpu", "cuda", "mps")],
    }


def _device(name: str) -> dict[str, Any]:
    missing = _why_not(name)
    if missing is not None:
        return {"device": name, "here": False, "why": missing, "served": {}}
    served = {
        function: {str(dtype).removeprefix("torch."): _backend(operation, name, dtype) for dtype in _DTYPES}
        for function, operation in _OPERATIONS.items()
    }
    used = {backend for per_dtype in served.values() for backend in per_dtype.values()}
    others = [backend for backend in kernels.BACKENDS if backend not in used]
    why = "the fastest backend that serves each call"
    for backend in others:
        reason = kernels.why_not(backend) or "it serves other devices"
        why += f"; not {backend}: {reason}"
    return {"device": name, "here": True, "why": why, "served": served}


def _why_not(device: str) -> str | None:
    if device == "cuda" and not torch.cuda.is_available():
        built = torch.version.cuda or torch.version.hip
        return "no GPU that PyTorch can use" if built else "this PyTorch is built without CUDA or ROCm"
    if device == "mps" and not torch.backends.mps.is_available():
        return "no Apple GPU" if torch.backends.mps.is_built() else "this PyTorch is built without MPS"
    return None


def _backend(operation: str, device: str, dtype: torch.dtype) -> str:
    if device == "mps" and dtype == torch.float64:
        return "–"
    served = kernels.select(operation, torch.empty(1, 2, device=device, dtype=dtype))
    return next(name for name, backend in kernels.BACKENDS.items() if getattr(backend, operation, None) is served)


def lines(found: dict[str, Any]) -> list[str]:
    """The same, to read."""
    shown = [
        f"Python {found['python']}, torch {found['torch']}, {found['processor']}, {found['cores']} cores, "
        f"{found['threads']} threads",
    ]
    for device in found["devices"]:
        if not device["here"]:
            shown.append(f"{device['device']:5} not here: {device['why']}")
            continue
        shown.append(f"{device['device']:5} {device['why']}")
        for operation, per_dtype in device["served"].items():
            by_backend: dict[str, list[str]] = {}
            for dtype, backend in per_dtype.items():
                by_backend.setdefault(backend, []).append(dtype)
            told = "; ".join(f"{backend}: {', '.join(dtypes)}" for backend, dtypes in by_backend.items())
            shown.append(f"      {operation:33} {told}")
    return shown
