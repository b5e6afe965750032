"""What the tests of the functions have in common: which backends there are, and when two results agree."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from torch import Tensor

from lastlayer import functional, kernels
from lastlayer.errors import OptionError
from tests import exact as in_mpmath

FLOATS = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
# What a result of each dtype may differ from the reference by: one rounding of its inputs and one of itself.
TOLERANCE = {torch.float64: 1e-13, torch.float32: 1e-6, torch.bfloat16: 1e-2, torch.float16: 2e-3}

EACH_BACKEND = pytest.mark.parametrize("backend", list(kernels.BACKENDS))

# Without a GPU the Triton kernels run in an interpreter, which takes every seventh combination of a grid: 7 shares
# no factor with the number of levels of any option, so each level still meets each other.
_STEP_WHERE_INTERPRETED = 7


def device(backend: str) -> str:
    return "cuda" if backend == "triton" and torch.cuda.is_available() else "cpu"


def combinations(backend: str, grid: Sequence[Any]) -> Sequence[Any]:
    """The combinations of `grid` that `backend` is tested with."""
    interpreted = backend == "triton" and not torch.cuda.is_available()
    return grid[::_STEP_WHERE_INTERPRETED] if interpreted else grid


def served_dtype(backend: str, name: str) -> torch.dtype:
    """The widest dtype in which `backend` serves the function `name`; skips the test where there is none."""
    dtype = _served_dtype(backend, name)
    if dtype is None:
        pytest.skip(f"{backend} does not serve {name}")
    return dtype


@cache
def _served_dtype(backend: str, name: str) -> torch.dtype | None:
    for dtype in (torch.float64, torch.float32):
        half = torch.full((2, 2), 0.5, dtype=dtype, device=device(backend))
        index = torch.tensor([0, 1], device=half.device)
        arguments: tuple[Any, ...] = {
            "cross_entropy": (half, index),
            "nll_loss": (half, index),
            "linear_cross_entropy": (half, half, index),
            "linear_binary_cross_entropy": (half, half, half),
            "kl_div": (half, half, None, None, "sum"),
            "softmax": (half, 1),
            "log_softmax": (half, 1),
            "softmin": (half, 1),
            "logsumexp": (half, 1),
        }.get(name, (half, half) if "binary" in name or name in ("kl_divergence", "cross_entropy_of") else (half,))
        try:
            getattr(functional, name)(*arguments, backend=backend)
        except OptionError:
            assert backend != "eager", f"eager serves everything, {name} in {dtype} too"
        else:
            return dtype
    return None


@contextlib.contextmanager
def naming(combination: object) -> Iterator[None]:
    """A failure inside names the combination that failed."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"combination: {combination}")
        raise


def upstream_of(result: Tensor) -> Tensor:
    """A gradient that differs from entry to entry: a constant one hides what is mixed up, or cancels."""
    return torch.linspace(0.5, 1.5, result.numel(), dtype=torch.float64).reshape(result.shape).to(result)


def gradients(call: Callable[..., Tensor], tensors: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """The result of `call`, and the derivative of its weighted sum in each of `tensors`."""
    leaves = [x.detach().clone().requires_grad_() for x in tensors]
    result = call(*leaves)
    result.backward(upstream_of(result))
    assert all(leaf.grad is not None for leaf in leaves), "a derivative is missing"
    return result.detach(), [leaf.grad for leaf in leaves]


def assert_loss_and_gradient(call, plain, logits, *others, tolerance):
    """`call` and `plain` agree on the loss and on every derivative that there is."""
    found, ours = gradients(call, (logits, *others))
    exact, theirs = gradients(plain, [x.double() for x in (logits, *others)])
    torch.testing.assert_close(found.double(), exact, rtol=tolerance, atol=tolerance)
    for our_gradient, their_gradient in zip(ours, theirs, strict=True):
        assert their_gradient.abs().max() > 0
        torch.testing.assert_close(our_gradient.double(), their_gradient, rtol=tolerance, atol=tolerance)


def assert_as_accurate_as(found: Tensor, plain: Tensor, exact: np.ndarray | mpmath.mpf, *, slack: float = 2.0) -> None:
    """Each entry of `found` errs at most `slack` times as much as PyTorch's, plus one unit in the last place.

    Per entry: a global maximum would hide the errors of small ones. `exact` holds mpmath numbers.
    """
    exact = np.asarray(exact, dtype=object)  # arithmetic on 0-dimensional arrays gives bare numbers
    assert found.shape == plain.shape == tuple(exact.shape)
    assert found.dtype is plain.dtype
    info = torch.finfo(found.dtype)
    ours, theirs = in_mpmath.lift(found), in_mpmath.lift(plain)
    for index in np.ndindex(exact.shape):
        truth = exact[index]
        unit = max(abs(truth), info.tiny) * info.eps
        error, their_error = abs(ours[index] - truth), abs(theirs[index] - truth)
        assert error <= slack * their_error + unit, (
            f"entry {index}: {float(ours[index])} is {float(error / unit):.3g} units from {float(truth)}, "
            f"PyTorch's {float(theirs[index])} is {float(their_error / unit):.3g}"
        )
