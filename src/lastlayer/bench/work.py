"""A case made concrete: its tensors, and one step of work on them."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lastlayer.bench.cases import Case

POSITIVES = 5  # right answers per row of the sparse multi-label targets

Function = Callable[["Work"], Tensor]


class Work(NamedTuple):
    """The tensors of a case; what is not part of it is an empty tensor."""

    case: Case
    input: Tensor  # logits, probabilities (of logit), or features
    weight: Tensor  # of the linear map
    target: Tensor  # class indices, (rows, POSITIVES) of them for linear binary losses, or probabilities of "yes"

    def differentiable(self) -> tuple[Tensor, ...]:
        """What gradients are taken of."""
        return (self.input, self.weight) if self.case.features else (self.input,)

    def own_copy(self) -> "Work":
        """For those who write into their inputs."""
        return self._replace(input=self.input.detach().clone().requires_grad_(self.input.requires_grad))


def make(case: Case, device: str = "cpu", *, seed: int = 0) -> Work:
    """Random tensors of the case, the same for the same seed and device."""
    generator = torch.Generator(device).manual_seed(seed)
    dtype = getattr(torch, case.dtype)
    width = case.features or case.classes
    values = torch.randn(case.rows, width, generator=generator, device=device, dtype=torch.float32)
    if case.operation == "logit":
        values = values.sigmoid_()
    weight = torch.empty(0, device=device)
    if case.features:
        weight = torch.empty(case.classes, case.features, device=device, dtype=dtype)
        weight.normal_(std=case.features**-0.5, generator=generator).requires_grad_()
    input = values.to(dtype)  # noqa: A001 - the name of the first argument of every function here
    return Work(case, input.requires_grad_(not case.forward_only), weight, _target(case, generator, device, dtype))


def _target(case: Case, generator: torch.Generator, device: str, dtype: torch.dtype) -> Tensor:
    if case.forward_only:
        return torch.empty(0, device=device)
    if case.operation == "binary_cross_entropy_with_logits":
        yes = torch.randint(2, (case.rows, case.classes), generator=generator, device=device, dtype=torch.uint8)
        return yes.to(dtype)
    many = (case.rows, POSITIVES) if case.operation == "linear_binary_cross_entropy" else (case.rows,)
    return torch.randint(case.classes, many, generator=generator, device=device)


def step(function: Function, work: Work) -> tuple[Tensor, ...]:
    """What is timed: the result alone, or the loss and its gradients, in memory that nobody holds yet."""
    if work.case.forward_only:
        with torch.no_grad():
            return (function(work),)
    loss = function(work)
    return (loss.detach(), *torch.autograd.grad(loss, work.differentiable()))


def synchronise(device: str) -> None:
    """Wait for the accelerator."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
