"""From logits to probabilities that compete: softmax, its logarithm, its mirror image and its normaliser."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Num
from torch import Tensor

from lastlayer import kernels
from lastlayer.functional import _checks, _options
from lastlayer.functional._options import Number


def softmax(
    input: Num[Tensor, "*shape"],
    dim: int,
    dtype: torch.dtype | None = None,
    *,
    temperature: Number = 1.0,
    backend: str = "auto",
) -> Float[Tensor, "*shape"]:
    r"""Probabilities that sum to 1: pⱼ = exp(zⱼ / T) / Σₖ exp(zₖ / T).

    Args:
        input: Logits, unnormalised scores. A row that is −inf throughout has no distribution and gives NaN.
        dim: The class axis.
        dtype: Convert `input` to this dtype first.
        temperature: T > 0; below 1 sharpens, above 1 flattens. The order of the classes never changes. It may be a
            tensor of one number, which gets its gradient.
        backend: "auto", or the name of one backend.

    Returns:
        Probabilities of the shape and dtype of `input`.

    Raises:
        DtypeError: `input` is not a floating tensor and `dtype` is None.
        ShapeError: there is no axis `dim`.
        OptionError: `temperature` is not positive.

    >>> softmax(torch.tensor([4.0, 2.0, -2.0]), dim=0)
    tensor([0.8789, 0.1189, 0.0022])

    Source: Bridle 1990.
    """
    z, dim, temperature = _ready("softmax", input, dim, dtype, temperature)
    result: Tensor = kernels.select("softmax", z, backend)(z, dim, temperature)
    return result


def log_softmax(
    input: Num[Tensor, "*shape"],
    dim: int,
    dtype: torch.dtype | None = None,
    *,
    temperature: Number = 1.0,
    backend: str = "auto",
) -> Float[Tensor, "*shape"]:
    r"""Log-probabilities in nats: log pⱼ = zⱼ / T − log Σₖ exp(zₖ / T).

    Never log(softmax(z)), which is −inf as soon as a probability underflows; and the log-probability of a class
    that dominates keeps its digits (−1e-30 is not rounded to 0).

    Args:
        input: Logits, unnormalised scores.
        dim: The class axis.
        dtype: Convert `input` to this dtype first.
        temperature: T > 0.
        backend: "auto", or the name of one backend.

    Returns:
        Log-probabilities ≤ 0 of the shape and dtype of `input`.

    Raises:
        DtypeError: `input` is not a floating tensor and `dtype` is None.
        ShapeError: there is no axis `dim`.
        OptionError: `temperature` is not positive.

    >>> log_softmax(torch.tensor([110.0, 0.0], dtype=torch.float64), dim=0)
    tensor([-1.6889e-48, -1.1000e+02], dtype=torch.float64)
    """
    z, dim, temperature = _ready("log_softmax", input, dim, dtype, temperature)
    result: Tensor = kernels.select("log_softmax", z, backend)(z, dim, temperature)
    return result


def softmin(
    input: Num[Tensor, "*shape"],
    dim: int,
    dtype: torch.dtype | None = None,
    *,
    temperature: Number = 1.0,
    backend: str = "auto",
) -> Float[Tensor, "*shape"]:
    r"""Softmax of −z: the smallest number gets the largest probability.

    Args:
        input: Costs or distances.
        dim: The axis along which the result sums to 1.
        dtype: Convert `input` to this dtype first.
        temperature: T > 0.
        backend: "auto", or the name of one backend.

    Returns:
        Probabilities of the shape and dtype of `input`.

    Raises:
        DtypeError: `input` is not a floating tensor and `dtype` is None.
        ShapeError: there is no axis `dim`.
        OptionError: `temperature` is not positive.

    >>> softmin(torch.tensor([1.0, 2.0]), dim=0)
    tensor([0.7311, 0.2689])
    """
    z, dim, temperature = _ready("softmin", input, dim, dtype, temperature)
    result: Tensor = kernels.select("softmax", z, backend)(-z, dim, temperature)
    return result


def logsumexp(
    input: Num[Tensor, "*shape"],
    dim: int | Sequence[int],
    keepdim: bool = False,
    *,
    temperature: Number = 1.0,
    backend: str = "auto",
) -> Float[Tensor, "..."]:
    r"""The soft maximum, and the normaliser of softmax: log Σⱼ exp(zⱼ / T), in nats.

    Args:
        input: Logits; integers are taken as PyTorch's default floating dtype.
        dim: One axis, or several that are summed over together.
        keepdim: Keep the summed axes with length 1.
        temperature: T > 0.
        backend: "auto", or the name of one backend.

    Returns:
        Numbers of the dtype of `input`; −inf where there is nothing to sum.

    Raises:
        DtypeError: `input` is not a tensor, or complex.
        ShapeError: there is no axis `dim`.
        OptionError: `temperature` is not positive.

    >>> logsumexp(torch.tensor([4.0, 2.0, -2.0]), dim=0)
    tensor(4.1291)
    """
    _checks.is_tensor("logsumexp", input=input)
    _checks.not_complex("logsumexp", input)
    temperature = _options.positive("temperature", temperature)
    z = input if input.is_floating_point() else input.to(torch.get_default_dtype())
    dims = tuple(_checks.dimension(z, axis) for axis in (dim if isinstance(dim, (tuple, list)) else (dim,)))
    result: Tensor = kernels.select("logsumexp", z, backend)(z, dims, keepdim, temperature)
    return result


def _ready(
    function: str, input: Tensor, dim: int, dtype: torch.dtype | None, temperature: Number
) -> tuple[Tensor, int, Number]:
    z = input
    if dtype is not None or not _checks.is_floating_tensor(input):
        _checks.is_tensor(function, input=input)
        z = input if dtype is None else input.to(dtype)
        _checks.is_floating(function, input=z)
    return z, _checks.dimension(z, dim), _options.positive("temperature", temperature)
