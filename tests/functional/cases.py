"""Every function that PyTorch has too: both, the exact value, and arguments for any shape and dtype."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lastlayer import functional
from tests import exact

Arguments = tuple[tuple[Tensor, ...], dict[str, Any]]


class Case(NamedTuple):
    theirs: Callable[..., Tensor]
    exact: Callable[..., np.ndarray]
    arguments: Callable[[tuple[int, ...], torch.dtype], Arguments]  # tensors and options for a shape of the input
    # "numbers": any shape; "rows": needs a class axis; "features": (…, features)
    takes: str = "numbers"


def numbers(shape: tuple[int, ...], dtype: torch.dtype, *, seed: int = 0, scale: float = 3.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator, dtype=torch.float64) * scale).to(dtype)


def probabilities(shape: tuple[int, ...], dtype: torch.dtype, *, seed: int = 1) -> Tensor:
    """Inside (0, 1) after rounding to `dtype` too: the exact functions take finite logarithms only."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(shape, generator=generator, dtype=torch.float64) * 0.96 + 0.02).to(dtype)


def class_axis(shape: tuple[int, ...]) -> int:
    return min(1, len(shape) - 1)


def indices(shape: tuple[int, ...], *, seed: int = 2) -> Tensor:
    axis = class_axis(shape)
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, max(shape[axis], 1), (*shape[:axis], *shape[axis + 1 :]), generator=generator)


def distributions(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return probabilities(shape, torch.float64).softmax(class_axis(shape)).to(dtype)


def class_weights(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.linspace(0.5, 2.0, shape[class_axis(shape)], dtype=torch.float64).to(dtype)


def _alone(**options: Any) -> Callable[[tuple[int, ...], torch.dtype], Arguments]:
    return lambda shape, dtype: ((numbers(shape, dtype),), options)


def _along_classes(shape: tuple[int, ...], dtype: torch.dtype) -> Arguments:
    return (numbers(shape, dtype),), {"dim": class_axis(shape)}


def _with_indices(**options: Any) -> Callable[[tuple[int, ...], torch.dtype], Arguments]:
    return lambda shape, dtype: ((numbers(shape, dtype), indices(shape)), options)


def _with_some_ignored(shape: tuple[int, ...], dtype: torch.dtype) -> Arguments:
    target = indices(shape)
    if target.numel() > 1:
        target.view(-1)[::3] = -100
    return (numbers(shape, dtype), target), {"weight": class_weights(shape, dtype)}


def _with_distributions(shape: tuple[int, ...], dtype: torch.dtype) -> Arguments:
    options = {"weight": class_weights(shape, dtype), "label_smoothing": 0.1, "reduction": "sum"}
    return (numbers(shape, dtype), distributions(shape, dtype)), options


def _binary(shape: tuple[int, ...], dtype: torch.dtype) -> Arguments:
    weights = {
        "weight": probabilities(shape[-1:], dtype, seed=4),
        "pos_weight": 2 * probabilities(shape[-1:], dtype, seed=5),
    }
    return (numbers(shape, dtype), probabilities(shape, dtype)), weights


def _binary_of_probabilities(shape: tuple[int, ...], dtype: torch.dtype) -> Arguments:
    return (probabilities(shape, dtype, seed=3), probabilities(shape, dtype)), {"reduction": "none"}


def _divergence(log_target: bool) -> Callable[[tuple[int, ...], torch.dtype], Arguments]:
    def arguments(shape: tuple[int, ...], dtype: torch.dtype) -> Arguments:
        p = probabilities(shape, dtype)
        options = {"reduction": "none", "log_target": log_target}
        return (numbers(shape, dtype), p.log() if log_target else p), options

    return arguments


def _linear(**options: Any) -> Callable[[tuple[int, ...], torch.dtype], Arguments]:
    def arguments(shape: tuple[int, ...], dtype: torch.dtype) -> Arguments:
        generator = torch.Generator().manual_seed(6)
        weight = numbers((4, shape[-1]), dtype, seed=7, scale=0.5)
        target = torch.randint(0, 4, shape[:-1], generator=generator)
        return (numbers(shape, dtype, scale=0.5), weight, target), options

    return arguments


CASES = {
    "sigmoid": Case(torch.sigmoid, exact.sigmoid, _alone()),
    "logit": Case(torch.logit, exact.logit, lambda s, d: ((probabilities(s, d),), {})),
    "logit, eps": Case(torch.logit, exact.logit, lambda s, d: ((probabilities(s, d),), {"eps": 0.25})),
    "logsigmoid": Case(F.logsigmoid, exact.logsigmoid, _alone()),
    "softplus": Case(F.softplus, exact.softplus, _alone()),
    "softplus, beta": Case(F.softplus, exact.softplus, _alone(beta=2.0)),
    "softmax": Case(torch.softmax, exact.softmax, _along_classes, "rows"),
    "log_softmax": Case(torch.log_softmax, exact.log_softmax, _along_classes, "rows"),
    "softmin": Case(F.softmin, exact.softmin, _along_classes, "rows"),
    "logsumexp": Case(torch.logsumexp, exact.logsumexp, _along_classes, "rows"),
    "nll_loss": Case(F.nll_loss, exact.nll_loss, _with_some_ignored, "rows"),
    "cross_entropy": Case(F.cross_entropy, exact.cross_entropy, _with_indices(reduction="none"), "rows"),
    "cross_entropy, mean": Case(F.cross_entropy, exact.cross_entropy, _with_some_ignored, "rows"),
    "cross_entropy, smoothed": Case(F.cross_entropy, exact.cross_entropy, _with_indices(label_smoothing=0.1), "rows"),
    "cross_entropy, probabilities": Case(F.cross_entropy, exact.cross_entropy, _with_distributions, "rows"),
    "binary_cross_entropy": Case(F.binary_cross_entropy, exact.binary_cross_entropy, _binary_of_probabilities),
    "binary_cross_entropy_with_logits": Case(
        F.binary_cross_entropy_with_logits, exact.binary_cross_entropy_with_logits, _binary
    ),
    "kl_div": Case(F.kl_div, exact.kl_div, _divergence(log_target=False)),
    "kl_div, log": Case(F.kl_div, exact.kl_div, _divergence(log_target=True)),
}
if hasattr(F, "linear_cross_entropy"):  # from PyTorch 2.13 on
    CASES["linear_cross_entropy"] = Case(F.linear_cross_entropy, exact.linear_cross_entropy, _linear(), "features")

SHAPES = {
    "numbers": [(), (5,), (4, 5), (3, 5, 2), (0, 5), (3, 0)],
    "rows": [(5,), (4, 5), (3, 5, 2), (2, 5, 2, 3), (0, 5), (3, 5, 0), (4, 1)],
    "features": [(5,), (4, 5), (0, 5)],  # PyTorch takes no more axes
}


def ours(name: str) -> Callable[..., Tensor]:
    return getattr(functional, name.split(",")[0])
