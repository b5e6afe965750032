"""Sigmoid, its inverse and its logarithm, element by element."""

import torch
from jaxtyping import Float, Num
from torch import Tensor

from lastlayer import kernels
from lastlayer.errors import OptionError
from lastlayer.functional import _checks


def sigmoid(input: Num[Tensor, "*shape"], *, backend: str = "auto") -> Float[Tensor, "*shape"]:
    r"""Probability of a logit: σ(z) = 1 / (1 + exp(−z)).

    Args:
        input: Logits (log-odds) of any shape; integers are taken as PyTorch's default floating dtype.
        backend: "auto", or the name of one backend (`lastlayer.kernels.BACKENDS`).

    Returns:
        Probabilities in [0, 1] of the shape and dtype of `input`.

    Raises:
        DtypeError: `input` is not a tensor, or complex.

    >>> sigmoid(torch.tensor([-4.0, 0.0, 4.0]))
    tensor([0.0180, 0.5000, 0.9820])

    Source: Verhulst 1845 (the logistic curve); Cox 1958.
    """
    x = _floating("sigmoid", input)
    result: Tensor = kernels.select("sigmoid", x, backend)(x)
    return result


def logit(input: Num[Tensor, "*shape"], eps: float | None = None, *, backend: str = "auto") -> Float[Tensor, "*shape"]:
    r"""Log-odds of a probability, the inverse of `sigmoid`: log(p / (1 − p)), in nats.

    Args:
        input: Probabilities; outside [0, 1] the result is NaN, at 0 and 1 it is −inf and inf.
        eps: Clamp `input` into [eps, 1 − eps] first.
        backend: "auto", or the name of one backend.

    Returns:
        Logits of the shape and dtype of `input`, correct near p = 0.5 too, where log p − log(1 − p) cancels.

    Raises:
        DtypeError: `input` is not a tensor, or complex.

    >>> logit(torch.tensor([0.0, 0.5, 0.9]))
    tensor([  -inf, 0.0000, 2.1972])

    Source: Berkson 1944.
    """
    p = _floating("logit", input)
    result: Tensor = kernels.select("logit", p, backend)(p, eps)
    return result


def logsigmoid(input: Float[Tensor, "*shape"], *, backend: str = "auto") -> Float[Tensor, "*shape"]:
    r"""Log-probability of a logit: log σ(z) = −log(1 + exp(−z)), in nats.

    Args:
        input: Logits of any shape.
        backend: "auto", or the name of one backend.

    Returns:
        Log-probabilities ≤ 0 of the shape and dtype of `input`.

    Raises:
        DtypeError: `input` is not a floating tensor.

    >>> logsigmoid(torch.tensor([0.0, -110.0]))
    tensor([  -0.6931, -110.0000])
    """
    _checks.is_floating("logsigmoid", input=input)
    result: Tensor = kernels.select("logsigmoid", input, backend)(input)
    return result


def softplus(
    input: Float[Tensor, "*shape"], beta: float = 1.0, threshold: float | None = None, *, backend: str = "auto"
) -> Float[Tensor, "*shape"]:
    r"""A smooth max(z, 0): log(1 + exp(βz)) / β, in nats.

    Args:
        input: Numbers of any shape.
        beta: How sharp the bend is.
        threshold: Return `input` itself where βz is above this, as PyTorch does above 20. None: never, the last
            digit is always that of the formula.
        backend: "auto", or the name of one backend.

    Returns:
        Numbers ≥ 0 of the shape and dtype of `input`.

    Raises:
        DtypeError: `input` is not a floating tensor.
        OptionError: `beta` is 0.

    >>> softplus(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([0.3133, 0.6931, 1.3133])
    """
    _checks.is_floating("softplus", input=input)
    if beta == 0:
        raise OptionError("beta must not be 0: the result is divided by it.")
    result: Tensor = kernels.select("softplus", input, backend)(input, beta, threshold)
    return result


def _floating(function: str, input: Tensor) -> Tensor:
    """Take integers as PyTorch's default floating dtype, as PyTorch does here."""
    if _checks.is_floating_tensor(input):
        return input
    _checks.is_tensor(function, input=input)
    _checks.not_complex(function, input)
    return input.to(torch.get_default_dtype())
