"""A run: every case in turn; who is wrong gets no time."""

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import torch

from lastlayer.bench import _child
from lastlayer.bench._judge import Judge
from lastlayer.bench.cases import Case
from lastlayer.bench.contenders import Contender, NotMeasuredError, contenders
from lastlayer.bench.limits import limit
from lastlayer.bench.machine import about, memory_available
from lastlayer.bench.memory import extra_bytes
from lastlayer.bench.results import CaseResult, Entry, Report
from lastlayer.bench.timing import interleaved
from lastlayer.bench.work import Function, Work, make, step, synchronise
from lastlayer.errors import LastLayerError

_COMPILING = 20.0  # seconds that torch.compile may take; with fewer left it does not take part
_LARGE = 2**26  # bytes of logits from which the short run compiles
_A_CASE = 5.0
_WORTH_IT = 2**24  # bytes; the memory of smaller cases is rounding by pages
_GIB = 2**30


@dataclass
class Settings:
    """How a run is done."""

    device: str = "cpu"
    seconds: float = 10.0  # of timing per case
    least: int = 5  # rounds of timing in any case
    memory: bool = True
    backends: bool = True  # each of ours, not only the one that is chosen
    compiled: bool = True
    until: float | None = None  # time.monotonic() at which the run has to be over

    def left(self) -> float:
        """Seconds that are left."""
        return float("inf") if self.until is None else self.until - time.monotonic()


def quick(device: str = "cpu") -> Settings:
    """The settings of a run that takes at most a minute, its start included."""
    return Settings(device, seconds=1.5, least=3, memory=False, backends=False, until=time.monotonic() + 45)


def run(
    cases: Sequence[Case],
    settings: Settings,
    *,
    found: Callable[[CaseResult], None] = lambda result: None,
    begins: Callable[[Case], None] = lambda case: None,
) -> Report:
    """Measure `cases`; `begins` and `found` are told as it goes."""
    results = []
    for case in cases:
        begins(case)
        result = _guarded(case, settings)
        results.append(result)
        found(result)
    return Report(about(settings.device), settings.device, results)


def _guarded(case: Case, settings: Settings) -> CaseResult:
    if settings.left() < _A_CASE:
        return CaseResult(case, refused="not measured: out of time")
    needs, available = case.needs(holds_logits=False), memory_available(settings.device)
    if needs > available:
        return CaseResult(
            case, refused=f"needs about {needs / _GIB:.1f} GiB of memory, {available / _GIB:.1f} are available"
        )
    if not case.isolated:
        return measure(case, settings)
    order = {**_order("time", case, settings), "settings": asdict(replace(settings, until=None))}
    answer = _child.ask(order, settings=_child.REUSED if case.reused else None)
    return CaseResult(case, refused=answer["failed"]) if "failed" in answer else CaseResult.from_dict(answer)


def _order(do: str, case: Case, settings: Settings) -> dict[str, object]:
    return {"do": do, "case": case.to_dict(), "device": settings.device, "threads": torch.get_num_threads()}


def measure(case: Case, settings: Settings, who: Sequence[Contender] | None = None) -> CaseResult:
    """Measure one case in this process: first who is right, then how long each takes, in turn; then memory."""
    work = make(case, settings.device)
    taking_part = contenders(case, backends=settings.backends) if who is None else who
    entries, steps, judge = [], {}, Judge(work)
    for contender in taking_part:
        entry, function = _admitted(contender, judge, settings)
        entries.append(entry)
        if function is not None:
            steps[contender.name] = _step(function, work.own_copy() if contender.overwrites else work)
    result = CaseResult(case, entries=entries)
    if not steps:
        return result
    result.limit, alone = limit(work)
    alone()
    seconds = interleaved(
        {result.limit: alone, **steps}, settings.seconds, lambda: synchronise(settings.device), least=settings.least
    )
    result.limit_seconds = seconds.pop(result.limit)
    for entry in entries:
        entry.seconds = seconds.get(entry.name)
    del work, steps, alone, judge
    gc.collect()
    if settings.memory and not case.reused and max(case.logits_bytes, case.weight_bytes) >= _WORTH_IT:
        for contender, entry in zip(taking_part, entries, strict=True):
            if entry.status == "measured":
                entry.extra_bytes = _memory(case, contender, settings)
    return result


def _step(function: Function, work: Work) -> Callable[[], object]:
    return lambda: step(function, work)


def _admitted(contender: Contender, judge: Judge, settings: Settings) -> tuple[Entry, Function | None]:
    """Let a contender run once, and judge it. A refusal, a failure and an error are all an entry without a time."""
    work, name = judge.work, contender.name
    case = work.case
    reason = _kept_out(contender, case, settings)
    if reason:
        return Entry(name, "not measured", reason), None
    try:
        function = contender.build(case, settings.device)
        judgement = judge(step(function, work.own_copy() if contender.overwrites else work))
    except NotMeasuredError as error:
        return Entry(name, "not measured", str(error)), None
    except LastLayerError as error:  # a backend that does not serve this call
        return Entry(name, "not measured", _first_sentence(error)), None
    except Exception as error:  # noqa: BLE001 - other people's kernels fail in every way; the others go on
        return Entry(name, "not measured", f"failed: {type(error).__name__}: {_first_sentence(error)}"), None
    complaint = judgement.complaint(case)
    if complaint:
        return Entry(name, "wrong", complaint, judgement), None
    return Entry(name, "measured", errors=judgement), function


def _kept_out(contender: Contender, case: Case, settings: Settings) -> str:
    if contender.compiles and not settings.compiled:
        return "left out"
    if contender.compiles and (settings.left() < _COMPILING or (settings.until and case.logits_bytes < _LARGE)):
        return "left out of the short run"
    needs, available = case.needs(holds_logits=contender.holds_logits), memory_available(settings.device)
    if needs > available:
        return f"would need about {needs / _GIB:.0f} GiB of memory, {available / _GIB:.0f} are available"
    return ""


def _first_sentence(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return lines[0][:160]


def _memory(case: Case, contender: Contender, settings: Settings) -> int | None:
    if settings.device.startswith("cuda"):
        return extra_bytes(case, contender, settings.device)
    order = {**_order("memory", case, settings), "contender": contender.name}
    answer = _child.ask(order, settings=_child.RETURNED)
    found = answer.get("extra_bytes")
    return found if isinstance(found, int) else None
