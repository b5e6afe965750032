"""What a watched training did so far: losses, backwards, steps."""

from typing import Any

import torch
from torch import Tensor

_CAREFUL = 4  # steps whose gradients are looked at: reading them waits for the device
_MOST_COUNTED = 64  # losses whose ignored targets are counted


class Training:
    """The order of events of one training, as far as its rules need it.

    Attributes:
        steps: Optimizer steps so far.
        judged_in_training: The dropout or batch norm that ran in training mode without gradients, if any did.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.judged_in_training = ""
        self._counts: list[int] = []  # rows of the means since the last step
        self._last_count: int | None = None
        self._counted = 0
        self._backwards = 0
        self._optimizers: dict[int, torch.optim.Optimizer] = {}
        self._unequal = 0

    def loss(self, result: Any, args: tuple[Any, ...], kwargs: dict[str, Any], ignored: int | None) -> None:
        """A loss function returned."""
        self._last_count = None
        reduction = kwargs.get("reduction", "mean")
        if not isinstance(result, Tensor) or result.dim() or not result.requires_grad or reduction != "mean":
            return
        target = args[1] if len(args) > 1 else kwargs.get("target")
        if not isinstance(target, Tensor):
            return
        self._last_count = target.numel()
        ignored = kwargs.get("ignore_index", ignored)
        if ignored is not None and not target.is_floating_point() and self._counted < _MOST_COUNTED:
            self._counted += 1
            self._last_count = int((target != ignored).sum())

    def backward(self, loss: Tensor) -> bool:
        """A backward begins; whether gradients of the step before are still there."""
        self._backwards += 1
        if self._last_count is not None:
            self._counts.append(self._last_count)
        if self._backwards != 1 or not 0 < self.steps <= _CAREFUL:
            return False
        return any(_has_gradient(optimizer) for optimizer in self._optimizers.values())

    def before_step(self, optimizer: torch.optim.Optimizer) -> bool:
        """A step begins; whether its gradients were cleared after the backward."""
        if not self._backwards or self.steps > _CAREFUL:
            return False
        return not _has_gradient(optimizer)

    def after_step(self, optimizer: torch.optim.Optimizer) -> str:
        """A step is over; the unequal counts of the means that it added up, if any."""
        self._optimizers[id(optimizer)] = optimizer
        self.steps += 1
        counts, self._counts = self._counts, []
        several = self._backwards > 1
        self._backwards = 0
        if several and len(counts) > 1 and max(counts) > 1.2 * min(counts):
            return ", ".join(map(str, counts[:8]))
        return ""


def _has_gradient(optimizer: torch.optim.Optimizer) -> bool:
    """Whether one of the first parameters has a gradient that is not 0."""
    looked = 0
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None and parameter.grad.layout == torch.strided:
                looked += 1
                if bool(parameter.grad.count_nonzero()):
                    return True
            if looked >= 8:
                return False
    return False
