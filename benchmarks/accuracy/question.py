"""What is measured: one function on one family of inputs in one dtype."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.accuracy.exact import Exact

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)

EASY, HARD, ENTRIES, HALF = 3.0, 4.0, 8.0, 0.51


class Question(NamedTuple):
    """Inputs, how a library answers, and the exact answers in the order of the flattened result."""

    function: str
    family: str
    inputs: tuple[Tensor, ...]
    answer: Callable[..., Tensor]  # (functions of a library, *inputs) -> result
    exact: list[Exact]
    dtype: torch.dtype  # of the result
    bound: float | None  # in ULP; None where nothing is promised
    keep: list[int] | None = None  # places of the flattened result that `exact` speaks of; None for all
    never_negative: bool = False

    @property
    def name(self) -> str:
        return f"{self.function}, {self.family}"


def promise(dtype: torch.dtype, bound: float | None) -> float | None:
    """What is promised in `dtype` where float32 keeps `bound`.

    Half precision is rounded once, to the nearest; float64 has nothing wider to be computed in.
    """
    if bound is not None and dtype in (torch.float16, torch.bfloat16):
        return HALF
    return max(bound, HARD) if bound is not None and dtype is torch.float64 else bound


def gradient(of: int = 0) -> Callable[..., Callable[..., Tensor]]:
    """Turn `loss(functions, *inputs)` into the gradient of its sum with respect to input number `of`."""

    def decorate(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def answer(f: SimpleNamespace, *inputs: Tensor) -> Tensor:
            leaves = [x.detach().clone().requires_grad_(place == of) for place, x in enumerate(inputs)]
            loss(f, *leaves).backward()
            slope = leaves[of].grad
            assert slope is not None
            return slope

        return answer

    return decorate


def normal(values: list[Exact], dtype: torch.dtype) -> list[int]:
    """The places of the values that are no smaller than the smallest normal number of `dtype`."""
    return [place for place, value in enumerate(values) if abs(value) >= torch.finfo(dtype).tiny]
