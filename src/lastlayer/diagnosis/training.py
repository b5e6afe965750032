"""What a watched training did so far: losses, backwards, steps, and when gradients were cleared."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

_CAREFUL = 4  # steps of an optimizer whose gradients are looked at: reading them waits for the device
_MOST_COUNTED = 64  # losses whose ignored targets are counted
_LOOKED_AT = 8  # parameters of an optimizer
Site = tuple[str, int]


@dataclass
class _Steps:
    """What one optimizer did."""

    count: int = 0
    cleared: int = -1  # the moment of its last zero_grad
    last: int = -1  # the moment of its last step
    # after its last step: each gradient that it kept, and how often that was written to
    kept: list[tuple[Tensor, Tensor, int]] = field(default_factory=list)


class Training:
    """The order of events of one training, as far as its rules need it.

    Attributes:
        steps: Optimizer steps so far.
        judged_in_training: The dropout or batch norm that ran in training mode without gradients, if any did.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.judged_in_training = ""
        self._moment = 0  # counts backwards, steps and zero_grads
        self._backwards: list[int] = []  # their moments
        self._counts: list[tuple[Site, int]] = []  # rows of the means since the last step, and where from
        self._last_count: int | None = None
        self._counted = 0
        self._optimizers: dict[int, _Steps] = {}
        self._modes: set[bool] = set()  # of dropout and batch norm with gradients, since the last step
        self._was_training = False

    @property
    def optimizers(self) -> int:
        """How many made a step."""
        return len(self._optimizers)

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

    def mode(self, name: str, active: bool, with_gradients: bool) -> None:
        """Dropout or batch norm ran, in training mode or not."""
        if with_gradients:
            self._modes.add(active)
        elif active:
            self.judged_in_training = name

    def backward(self, site: Site) -> None:
        """A backward begins."""
        self._moment += 1
        self._backwards.append(self._moment)
        if self._last_count is not None:
            self._counts.append((site, self._last_count))

    def cleared(self, optimizer: torch.optim.Optimizer | None) -> None:
        """Gradients were cleared: of one optimizer, or of a module, which may be any's."""
        self._moment += 1
        for steps in [self._of(optimizer)] if optimizer is not None else self._optimizers.values():
            steps.cleared = self._moment

    def before_step(self, optimizer: torch.optim.Optimizer) -> str:
        """A step begins: "misplaced" where its gradients were cleared after the backward, "watch" where never."""
        steps = self._of(optimizer)
        since = [moment for moment in self._backwards if moment > steps.last]
        if not since:
            return ""
        if steps.cleared > since[-1] and steps.count + 1 <= _CAREFUL and not _has_gradient(optimizer):
            return "misplaced"
        if steps.cleared > steps.last or not 0 < steps.count <= _CAREFUL:
            return ""
        # The same tensors, written to by backwards alone: nothing has cleared them by hand either.
        added = [
            parameter.grad is gradient and 0 < gradient._version - version <= len(since)
            for parameter, gradient, version in steps.kept
        ]
        return "watch" if added and all(added) else ""

    def after_step(self, optimizer: torch.optim.Optimizer) -> tuple[str, bool]:
        """A step is over; the unequal counts of the means that it added up, and whether it forgot train()."""
        steps = self._of(optimizer)
        self.steps += 1
        self._moment += 1
        steps.count, steps.last = steps.count + 1, self._moment
        self._backwards = self._backwards[-256:]
        steps.kept = _gradients(optimizer) if steps.count <= _CAREFUL else []
        counts, self._counts = self._counts, []
        modes, self._modes = self._modes, set()
        forgotten = self._was_training and modes == {False}
        self._was_training = self._was_training or True in modes
        rows = [rows for _, rows in counts]
        one_place = len({site for site, _ in counts}) == 1
        unequal = len(rows) > 1 and one_place and max(rows) > 1.2 * min(rows)
        return ", ".join(map(str, rows[:8])) if unequal else "", forgotten

    def _of(self, optimizer: torch.optim.Optimizer) -> _Steps:
        return self._optimizers.setdefault(id(optimizer), _Steps())


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    found: list[Tensor] = [
        parameter
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.grad is not None and parameter.grad.layout == torch.strided
    ]
    return found[:_LOOKED_AT]


def _gradients(optimizer: torch.optim.Optimizer) -> list[tuple[Tensor, Tensor, int]]:
    return [(parameter, parameter.grad, parameter.grad._version) for parameter in _parameters(optimizer)]  # type: ignore[misc, union-attr]


def _has_gradient(optimizer: torch.optim.Optimizer) -> bool:
    """Whether one of the first parameters has a gradient that is not 0."""
    return any(
        bool(parameter.grad.count_nonzero()) for parameter in _parameters(optimizer) if parameter.grad is not None
    )
