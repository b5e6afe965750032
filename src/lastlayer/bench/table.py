"""Results as plain lines for a terminal of 80 columns."""

import textwrap
from collections.abc import Sequence

from lastlayer.bench.cases import QUICK, Case
from lastlayer.bench.results import CaseResult, Entry
from lastlayer.bench.targets import Row

WIDTH = 80
_NAME = 23
_WORDS = {"wrong": "WRONG, so no time: ", "not measured": "– ", "measured": ""}
_MARKS = {True: "met", False: "MISSED", None: "–"}


def machine_lines(machine: dict[str, str | int]) -> list[str]:
    """The machine in a line or two."""
    parts = [str(machine["processor"]), f"{machine['cores']} cores", f"{machine['threads']} threads"]
    parts += [f"{machine['memory_gib']} GiB", *([str(machine["gpu"])] if "gpu" in machine else [])]
    parts += [f"Python {machine['python']}", f"torch {machine['torch']}"]
    return textwrap.wrap(", ".join(parts), WIDTH)


def case_lines(result: CaseResult) -> list[str]:
    """One case: a line per contender, fastest first; who has no time comes last and says why."""
    lines = [result.case.name, f"  {described(result.case)}"]
    if result.refused:
        return [*lines, *_wrapped("  ", result.refused)]
    timed = sorted(
        (entry for entry in result.entries if entry.seconds is not None),
        key=lambda entry: 0.0 if entry.seconds is None else entry.seconds.median,
    )
    if timed:
        share = f"of {result.limit}"
        lines.append(f"  {'':{_NAME}}{'median':>9}  {'quartiles':<17}{'vs torch':>8}{share:>12}{'extra':>7}")
        lines += [_timed(result, entry) for entry in timed]
        if result.limit_seconds is not None:
            lines.append(f"  {result.limit:<{_NAME}}{seconds(result.limit_seconds.median):>9}")
    for entry in result.entries:
        if entry.seconds is None:
            lines += _wrapped(f"  {entry.name:<{_NAME}}", f"{_WORDS[entry.status]}{entry.why}")
    return lines


def _timed(result: CaseResult, entry: Entry) -> str:
    assert entry.seconds is not None  # noqa: S101 - for the type checker: the caller chose them
    spread = f"{seconds(entry.seconds.low)}–{seconds(entry.seconds.high)}"
    torch, share = result.seconds("torch"), result.share(entry)
    faster = "" if torch is None else f"{torch / entry.seconds.median:.2f}×"
    part = "" if share is None else f"{share:.0%}"
    extra = "" if entry.extra_bytes is None else size(entry.extra_bytes)
    name = entry.name[: _NAME - 1]
    return f"  {name:<{_NAME}}{seconds(entry.seconds.median):>9}  {spread:<17}{faster:>8}{part:>12}{extra:>7}".rstrip()


def described(case: Case) -> str:
    """What a case is and costs: bytes moved and arithmetic at the least."""
    what = "forward" if case.forward_only else "forward and backward"
    kind = f"{case.dtype}, {what}{', into reused memory' if case.reused else ''}"
    return f"{kind}; at least {size(case.bytes)}, {_count(case.flops)}flop"


def list_lines(cases: Sequence[Case]) -> list[str]:
    """The names of cases, and what they are."""
    return [
        f"{case.name:<36}{'quick' if case.name in QUICK else '':<7}{size(case.bytes):>7} {case.dtype}" for case in cases
    ]


def target_lines(rows: Sequence[Row]) -> list[str]:
    """Target by target: met or missed."""
    lines = [f"{'case':<35}{'target':<31}{'measured':>8}"]
    for row in rows:
        measured = row.measured if row.met is not None else "–"
        lines.append(f"{row.case:<35}{row.target[:30]:<31}{measured[:8]:>7}{_MARKS[row.met]:>7}")
    met, missed = (sum(row.met is value for row in rows) for value in (True, False))
    return [*lines, f"{met} met, {missed} missed, {len(rows) - met - missed} not measured"]


def seconds(value: float) -> str:
    """Three digits and a unit.

    >>> [seconds(value) for value in (1.5e-6, 0.0123, 12.0)]
    ['1.5µs', '12.3ms', '12s']
    """
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= scale:
            return f"{value / scale:.3g}{unit}" if value / scale < 999.5 else f"{value / scale:.0f}{unit}"
    return f"{value * 1e9:.3g}ns"


def size(value: float) -> str:
    """Bytes in three digits and a unit.

    >>> [size(value) for value in (0, 2048, 262_144_000, 6 * 2**30)]
    ['0', '2K', '250M', '6G']
    """
    for unit, scale in (("G", 2**30), ("M", 2**20), ("K", 2**10)):
        if value >= scale:
            return f"{value / scale:.3g}{unit}" if value / scale < 999.5 else f"{value / scale:.0f}{unit}"
    return f"{value:.0f}"


def _count(value: float) -> str:
    for unit, scale in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value:.0f} "


def _wrapped(begin: str, text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=begin, subsequent_indent=" " * len(begin)) or [begin.rstrip()]
