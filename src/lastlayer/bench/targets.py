"""What this project promises of its speed, row by row, and whether a run kept it."""

from collections.abc import Callable
from typing import NamedTuple

from lastlayer.bench.cases import BYTES, FORWARD, Case
from lastlayer.bench.results import CaseResult, Report

_LARGE = 64 * 2**20  # bytes of logits from which a loss is about memory
_MIB = 2**20


class Row(NamedTuple):
    """One target in one case."""

    case: str
    target: str
    measured: str
    met: bool | None  # None: not measured


class _Target(NamedTuple):
    words: str
    bound: float
    value: Callable[[CaseResult], float | None]
    unit: str = "×"
    at_most: bool = False

    def row(self, result: CaseResult | None, case: Case) -> Row:
        value = None if result is None else self.value(result)
        words = f"{'≤' if self.at_most else '≥'} {self.bound:.3g}{self.unit} {self.words}".rstrip()
        if value is None:
            return Row(case.name, words, _why(result), None)
        met = value <= self.bound if self.at_most else value >= self.bound
        digits = f"{value:.3g}" if abs(value) < 999.5 else f"{value:.0f}"
        return Row(case.name, words, digits + self.unit, met)


def rows(report: Report, cases: list[Case]) -> list[Row]:
    """Every target of `cases`, in their order; what was not measured says so."""
    return [target.row(report.result(case.name), case) for case in cases for target in of(case)]


def of(case: Case) -> list[_Target]:
    """The targets of one case."""
    if case.features:
        return _linear(case)
    small = case.rows * case.classes
    if small <= 64 * 5:
        return [_Target("µs beyond torch", 5 if case.operation in FORWARD else 10, _beyond, "", at_most=True)]
    if case.operation in FORWARD:
        if case.logits_bytes < _LARGE:
            return [_Target("µs beyond torch", 5, _beyond, "", at_most=True)]
        if case.reused:
            return [_Target("copies", 2, _limits, "", at_most=True)]
        return [_Target("faster than torch", 2, _against("torch"))]
    if case.logits_bytes < _LARGE:
        return [_Target("as fast as torch", 1, _against("torch"))] if small > 1024 else []
    if case.operation == "cross_entropy":
        return [
            _Target("faster than torch", 6, _against("torch")),
            _Target("faster than torch.compile", 3, _against("torch.compile")),
            _Target("copies", 2.2, _limits, "", at_most=True),
            _Target("gradients of memory", 1.05, _gradients, "", at_most=True),  # and a few pages
        ]
    return [
        _Target("faster than torch", 10, _against("torch")),
        _Target("faster than torch.compile", 3, _against("torch.compile")),
    ]


def _linear(case: Case) -> list[_Target]:
    if case.classes >= 1_000_000:
        return [_Target("GiB resident", 5, _resident, "", at_most=True)]
    if case.operation == "linear_binary_cross_entropy":
        return [_Target("faster than torch", 1.2, _against("torch"))]
    if case.rows * case.classes * BYTES[case.dtype] < _LARGE:
        return []
    return [
        _Target("products", 1.10, _limits, "", at_most=True),
        _Target("faster than torch", 1.2, _against("torch")),
        _Target("faster than chunked", 2, _against("torch chunked", "torch chunked 512", "torch chunked 1024")),
        _Target("MiB of extra memory", max(64.0, 0.05 * case.logits_bytes / _MIB), _scratch, "", at_most=True),
    ]


def _against(*names: str) -> Callable[[CaseResult], float | None]:
    def value(result: CaseResult) -> float | None:
        ours = result.seconds("ours")
        theirs = [seconds for name in names if (seconds := result.seconds(name)) is not None]
        return None if ours is None or not theirs else min(theirs) / ours

    return value


def _limits(result: CaseResult) -> float | None:
    ours = result.seconds("ours")
    return None if ours is None or result.limit_seconds is None else ours / result.limit_seconds.median


def _beyond(result: CaseResult) -> float | None:
    ours, theirs = result.seconds("ours"), result.seconds("torch")
    return None if ours is None or theirs is None else (ours - theirs) * 1e6


def _gradients(result: CaseResult) -> float | None:
    extra = _extra(result)
    return None if extra is None else extra / result.case.logits_bytes


def _scratch(result: CaseResult) -> float | None:
    """Peak minus inputs, returned gradients, and one float32 accumulator of the weight's size."""
    case, extra = result.case, _extra(result)
    if extra is None:
        return None
    gradients = case.weight_bytes + case.rows * case.features * BYTES[case.dtype]
    accumulator = 4 * case.classes * case.features
    return max(extra - gradients - accumulator, 0) / _MIB


def _resident(result: CaseResult) -> float | None:
    """Of the whole process: inputs and what is taken beyond them, without PyTorch itself."""
    case, extra = result.case, _extra(result)
    inputs = case.weight_bytes + case.rows * case.features * BYTES[case.dtype]
    return None if extra is None else (extra + inputs) / 2**30


def _extra(result: CaseResult) -> int | None:
    entry = result.entry("ours")
    return None if entry is None else entry.extra_bytes


def _why(result: CaseResult | None) -> str:
    if result is None:
        return "not run"
    if result.refused:
        return "not measured"
    entry = result.entry("ours")
    return "ours is wrong" if entry is not None and entry.status == "wrong" else "not measured"
