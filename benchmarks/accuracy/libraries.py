"""The same functions under the same names: lastlayer's, one set per backend, and PyTorch's own."""

from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace

import torch
from torch import Tensor
from torch.distributions import Categorical
from torch.nn import functional as F  # noqa: N812 - the field's name for it

from lastlayer import functional, kernels

Column = tuple[str, SimpleNamespace, str]  # a title, functions, and the device that they run on

NAMES = [name for name in functional.__all__ if callable(getattr(functional, name)) and name[0].islower()]


def ours(backend: str) -> SimpleNamespace:
    """lastlayer.functional with `backend` chosen by name, which never falls back."""
    contrast = ("one_hot", "hardmax")  # integers, computed by no backend
    return SimpleNamespace(
        **{name: partial(getattr(functional, name), backend=backend) for name in NAMES if name not in contrast}
    )


def columns() -> Iterator[Column]:
    """Every backend on every device of this machine: its title, its functions and the device."""
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for device in devices:
        for backend in kernels.BACKENDS:
            yield (backend if device == "cpu" else f"{backend} on {device}"), ours(backend), device


def _entropy(logits: Tensor, dim: int = -1) -> Tensor:
    return Categorical(logits=logits.movedim(dim, -1)).entropy()


def _kl_divergence(p_logits: Tensor, q_logits: Tensor, dim: int = -1) -> Tensor:
    p, q = (Categorical(logits=logits.movedim(dim, -1)) for logits in (p_logits, q_logits))
    return torch.distributions.kl_divergence(p, q)


def _linear_cross_entropy(input: Tensor, linear_weight: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    if hasattr(F, "linear_cross_entropy"):  # from PyTorch 2.13 on
        return F.linear_cross_entropy(input, linear_weight, target, reduction=reduction)
    return F.cross_entropy(F.linear(input, linear_weight), target, reduction=reduction)


def _linear_binary(input: Tensor, linear_weight: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    return F.binary_cross_entropy_with_logits(F.linear(input, linear_weight), target, reduction=reduction)


PYTORCH = SimpleNamespace(
    sigmoid=torch.sigmoid,
    logit=torch.logit,
    logsigmoid=F.logsigmoid,
    softplus=F.softplus,
    softmax=torch.softmax,
    log_softmax=torch.log_softmax,
    softmin=F.softmin,
    logsumexp=torch.logsumexp,
    cross_entropy=F.cross_entropy,
    nll_loss=F.nll_loss,
    binary_cross_entropy=F.binary_cross_entropy,
    binary_cross_entropy_with_logits=F.binary_cross_entropy_with_logits,
    linear_cross_entropy=_linear_cross_entropy,
    linear_binary_cross_entropy=_linear_binary,
    kl_div=F.kl_div,
    surprisal=lambda p: -torch.log(p),
    entropy=_entropy,
    cross_entropy_of=lambda p, q: -(p * torch.log(q)).sum(-1),
    kl_divergence=_kl_divergence,
)
