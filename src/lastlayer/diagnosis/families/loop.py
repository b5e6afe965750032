"""Family 5: the training loop and what its curve shows."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import fmean

import torch
from torch import Tensor, nn

from lastlayer.diagnosis.evidence import Batch, Curve, Model
from lastlayer.diagnosis.finding import Finding, found
from lastlayer.diagnosis.registry import check
from lastlayer.diagnosis.said import number

_BY_MODE = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm)
_FEWEST = 20  # steps or epochs that say nothing about flatness
_RISING = 3  # epochs in a row


@check("batch")
def argmax_in_training(batch: Batch) -> Iterator[Finding]:
    """LL503: a decision has no gradient."""
    given = batch.given
    if isinstance(given, Tensor) and not given.is_floating_point() and not given.is_complex():
        if batch.kind != "unknown" and not batch.from_graph:
            yield found("LL503", "integer", dtype=str(given.dtype).removeprefix("torch."))
    elif (
        isinstance(given, Tensor)
        and not batch.from_graph
        and given.requires_grad
        and isinstance(batch.value, Tensor)
        and not batch.value.requires_grad
    ):
        yield found("LL503", "lost")


@check("model")
def mode_of_the_model(model: Model) -> Iterator[Finding]:
    """LL502: dropout and batch norm behave otherwise in training."""
    module = model.module
    if model.grad_enabled or not isinstance(module, nn.Module):
        return
    active = [name for name, part in module.named_modules() if isinstance(part, _BY_MODE) and part.training]
    if active:
        kind = type(module.get_submodule(active[0])).__name__
        yield found("LL502", module=active[0] or type(module).__name__, kind=kind, count=len(active))


@check("model")
def loss_on_a_decision(model: Model) -> Iterator[Finding]:
    """LL503: parameters that learn, and an output that does not depend on them."""
    if not model.grad_enabled or not isinstance(model.module, nn.Module) or not isinstance(model.output, Tensor):
        return
    learns = any(parameter.requires_grad for parameter in model.module.parameters())
    if learns and not model.output.requires_grad:
        integer = not model.output.is_floating_point()
        dtype = str(model.output.dtype).removeprefix("torch.")
        yield found("LL503", "integer" if integer else "lost", dtype=dtype)


@check("curve")
def first_loss(curve: Curve) -> Iterator[Finding]:
    """LL504: a head that knows nothing pays ln C."""
    if curve.classes is None or curve.classes < 2 or not curve.loss:
        return
    nothing = math.log(curve.classes)
    if math.isfinite(curve.loss[0]) and curve.loss[0] > nothing + max(1.0, nothing / 2):
        yield found("LL504", first=curve.loss[0], nothing=nothing, classes=curve.classes)


@check("curve")
def growing_overconfidence(curve: Curve) -> Iterator[Finding]:
    """LL505: the validation loss rises while as many answers are right, and the training loss does not rise with it."""
    losses, accuracy = curve.validation_loss, curve.validation_accuracy
    if len(losses) < _RISING + 1 or len(accuracy) != len(losses) or not all(map(math.isfinite, losses)):
        return
    best = min(range(len(losses)), key=losses.__getitem__)
    after = losses[best:]
    rising = len(after) > _RISING and after[-1] > 1.1 * after[0] and _mostly_rising(after)
    if rising and accuracy[-1] >= accuracy[best] - 0.01 and not _rises_after(curve.loss, (best + 1) / len(losses)):
        yield found(
            "LL505",
            best=best + 1,
            least=losses[best],
            last=losses[-1],
            epochs=len(losses),
            before=number(100 * accuracy[best]),
            after=number(100 * accuracy[-1]),
        )


def _rises_after(losses: Sequence[float], share: float) -> bool:
    """Whether the training loss, too, is higher at the end than after such a share of the training."""
    part, then = max(len(losses) // 10, 1), round(share * len(losses))
    before = losses[max(then - part, 0) : then]
    return bool(before) and fmean(losses[-part:]) > 1.1 * fmean(before)


def _mostly_rising(values: Sequence[float]) -> bool:
    ups = sum(later > earlier for earlier, later in pairwise(values))
    return ups >= 0.7 * (len(values) - 1)


@check("curve")
def flat_loss(curve: Curve) -> Iterator[Finding]:
    """LL506: nothing is learnt beyond the class frequencies."""
    if curve.classes is None or curve.classes < 2 or len(curve.loss) < _FEWEST:
        return
    losses = torch.tensor(curve.loss, dtype=torch.float64)
    if not bool(losses.isfinite().all()):
        return
    part = max(len(losses) // 5, 4)
    begun, ended = float(losses[:part].mean()), float(losses[-part:].mean())
    levels = {"uniform": math.log(curve.classes)}
    if curve.prior_entropy is not None:
        levels["prior"] = curve.prior_entropy
    for variant, level in levels.items():
        if abs(ended - level) < 0.03 * level and ended > 0.9 * begun:
            yield found("LL506", variant, level=level, last=ended, classes=curve.classes, steps=len(losses))
            return
