"""Whether a contender is right: its results against float64, block by block, before its time is taken."""

from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from lastlayer.bench.cases import Case
from lastlayer.bench.work import Work

_BLOCK = 2**24  # elements of float64 held at once
_ALL_WITHIN = 10**12  # multiplications in float64; beyond, gradients are judged on a sample of rows and classes
_SAMPLE = 16
_NOTHING = 1e-300  # an entry all of whose terms are 0 has to be 0

# How far a contender may be off: of the loss (relative), of the worst entry (relative to itself and the typical entry;
# an entry that is a sum, to the sizes of its terms, which may cancel), of all entries (norm of the error over norm).
# Wide enough for what plain PyTorch makes of bfloat16 logits.
BOUNDS = {
    "float64": (1e-12, 1e-8, 1e-11),
    "float32": (1e-5, 1e-3, 1e-4),
    "bfloat16": (2e-2, 0.25, 0.03),
    "float16": (2e-3, 0.05, 0.01),
}


class Judgement(NamedTuple):
    """How far off a contender is."""

    loss: float
    worst: float
    norm: float

    def complaint(self, case: Case) -> str | None:
        """What is wrong and by how much; None if nothing."""
        names = ("loss", "worst entry", "norm")
        wrong = [
            f"{name} off by {error:.2g} (at most {bound:g})"
            for name, error, bound in zip(names, self, BOUNDS[case.dtype], strict=True)
            if not error <= bound
        ]
        return ", ".join(wrong) or None


class _Errors:
    """Collects the error of entries that come block by block."""

    def __init__(self) -> None:
        self.worst, self.squares, self.total = 0.0, 0.0, 0.0
        self.typical: Tensor | None = None

    def add(self, found: Tensor, exact: Tensor, terms: Tensor | None = None) -> None:
        """Compare one block; `terms` is the sum of the sizes of what each entry is the sum of."""
        if self.typical is None:
            self.typical = exact.abs().flatten()[:_BLOCK].median()
        error = (found.double() - exact).abs_()
        self.squares += float(error.square().sum())
        self.total += float(exact.square().sum())
        worst = float((error / (exact.abs() + self.typical if terms is None else terms.clamp(min=_NOTHING))).max())
        self.worst = worst if worst != worst else max(self.worst, worst)

    def norm(self) -> float:
        """Norm of the error over norm of the result."""
        return (self.squares / self.total) ** 0.5 if self.total else float(self.squares > 0)


class Judge:
    """Compares results of `step` with float64; what it has computed of the work serves every contender."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def __call__(self, found: tuple[Tensor, ...]) -> Judgement:
        """How far off they are; a wrong shape by infinity, a NaN by NaN: both fail every bound."""
        work = self.work
        gradients = [tuple(tensor.shape) for tensor in work.differentiable()]
        shapes = [tuple(work.input.shape)] if work.case.forward_only else [(), *gradients]
        if [tuple(tensor.shape) for tensor in found] != shapes:
            return Judgement(*(float("inf"),) * 3)
        found = tuple(each.detach() for each in found)
        with torch.no_grad():
            return _linear(work, found, *self._linear_loss) if work.case.features else _rows(work, found)

    @cached_property
    def _linear_loss(self) -> tuple[Tensor, float]:
        return _linear_loss(self.work)


def _rows(work: Work, found: tuple[Tensor, ...]) -> Judgement:
    errors, loss, results = _Errors(), 0.0, found[-1]
    for rows in _blocks(work.case.rows, work.case.classes):
        part, exact = _exact(work, rows)
        loss += part
        errors.add(results[rows], exact)
    off = 0.0 if work.case.forward_only else _relative(float(found[0]), loss)
    return Judgement(off, errors.worst, errors.norm())


def _exact(work: Work, rows: slice) -> tuple[float, Tensor]:
    """The part of the mean loss that `rows` make, and its gradient; or 0 and the values of a forward function."""
    z, case = work.input[rows].double(), work.case
    if case.operation == "sigmoid":
        return 0.0, z.sigmoid()
    if case.operation == "logit":
        return 0.0, z.log() - torch.log1p(-z)
    if case.operation == "binary_cross_entropy_with_logits":
        y, count = work.target[rows].double(), case.rows * case.classes
        return float(_softplus_minus(z, y).sum()) / count, (z.sigmoid() - y) / count
    log_p = z.log_softmax(1)
    if case.operation == "log_softmax":
        return 0.0, log_p
    if case.operation == "softmax":
        return 0.0, log_p.exp()
    y = work.target[rows, None]
    loss = -float(log_p.gather(1, y).sum()) / case.rows
    gradient = log_p.exp_()
    gradient.scatter_add_(1, y, torch.full_like(y, -1, dtype=gradient.dtype))
    return loss, gradient.div_(case.rows)


def _softplus_minus(z: Tensor, y: Tensor) -> Tensor:
    """Binary cross-entropy per element: log(1 + exp z) − y·z."""
    return z.clamp(min=0) + torch.log1p(torch.exp(-z.abs())) - y * z


def _linear(work: Work, found: tuple[Tensor, ...], lse: Tensor, loss: float) -> Judgement:
    """The gradients, no more than a block of logits at a time; `lse` is of each row, `loss` the loss."""
    case, x = work.case, work.input.double()
    cost = 3 * case.rows * case.classes * case.features
    classes = list(_blocks(case.classes, case.rows))
    rows = torch.arange(case.rows, device=x.device)
    judged = set(range(len(classes)))
    if cost > _ALL_WITHIN:
        rows, judged = rows[:: max(1, case.rows // _SAMPLE)], set(range(0, len(classes), max(1, len(classes) // 4)))
    of_input, of_weight = _Errors(), _Errors()
    x_gradient = torch.zeros(len(rows), case.features, dtype=torch.float64, device=x.device)
    x_terms = torch.zeros_like(x_gradient)
    for number, block in enumerate(classes):
        w = work.weight[block].double()
        if number in judged:
            every = _logits_gradient(work, x @ w.T, lse, block, slice(None))
            of_weight.add(found[2][block], every.T @ x, every.abs().T @ x.abs())
            gradient = every[rows]
        else:
            gradient = _logits_gradient(work, x[rows] @ w.T, lse, block, rows)
        x_gradient += gradient @ w
        x_terms += gradient.abs() @ w.abs()
    of_input.add(found[1][rows], x_gradient, x_terms)
    off = _relative(float(found[0]), loss)
    return Judgement(off, _larger(of_input.worst, of_weight.worst), _larger(of_input.norm(), of_weight.norm()))


def _linear_loss(work: Work) -> tuple[Tensor, float]:
    """The log-sum-exp of each row, and the loss."""
    case, x = work.case, work.input.double()
    lse, total = torch.full((case.rows,), -torch.inf, dtype=torch.float64, device=x.device), 0.0
    for block in _blocks(case.classes, case.rows):
        z = x @ work.weight[block].double().T
        if case.operation == "linear_binary_cross_entropy":
            total += float(_softplus_minus(z, _yes(work, block, slice(None))).sum())
        else:
            lse = torch.logaddexp(lse, z.logsumexp(1))
    if case.operation == "linear_binary_cross_entropy":
        return lse, total / (case.rows * case.classes)
    right = (x * work.weight[work.target].double()).sum(1)
    return lse, float((lse - right).mean())


def _logits_gradient(work: Work, z: Tensor, lse: Tensor, block: slice, rows: slice | Tensor) -> Tensor:
    case = work.case
    if case.operation == "linear_binary_cross_entropy":
        return (z.sigmoid() - _yes(work, block, rows)) / (case.rows * case.classes)
    return ((z - lse[rows, None]).exp() - _yes(work, block, rows)) / case.rows


def _yes(work: Work, block: slice, rows: slice | Tensor) -> Tensor:
    """The dense targets of a block of classes."""
    target = work.target[rows].reshape(-1, 1 if work.target.dim() == 1 else work.target.shape[1])
    inside = (target >= block.start) & (target < block.stop)
    dense = torch.zeros(len(target), block.stop - block.start, dtype=torch.float64, device=target.device)
    return dense.scatter_reduce_(1, (target - block.start).where(inside, 0), inside.double(), "amax")


def _blocks(count: int, across: int) -> Iterator[slice]:
    size = max(1, _BLOCK // max(across, 1))
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def _relative(found: float, exact: float) -> float:
    return abs(found - exact) / abs(exact)


def _larger(first: float, second: float) -> float:
    return first if first != first else second if second != second else max(first, second)
