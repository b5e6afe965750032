"""A trace as JSON and back: every number exact, every formula as a tree and in words.

`titles`, `notes` and `formula_text` are there for readers; `from_text` reads the rest.
"""

import dataclasses
import json
import math
from typing import Any

import torch
from torch import Tensor

from lastlayer.errors import LastLayerError, TraceError
from lastlayer.explanation import plots, texts
from lastlayer.explanation.expressions import Symbol, from_plain, to_plain
from lastlayer.explanation.printing import numbers, symbols
from lastlayer.explanation.trace import Column, Invariant, Naive, Numerics, Step, Trace

FORMAT, VERSION = "lastlayer-trace", 2
_PLOTS = {"bars": plots.Bars, "curve": plots.Curve, "matrix": plots.Matrix, "arrows": plots.Arrows}
_NAMED = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


def as_dict(trace: Trace) -> dict[str, Any]:
    """Return the trace as plain lists and dictionaries. Infinities and NaN are the strings "inf", "-inf", "nan"."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "kind": trace.kind,
        "axes": {letter: list(names) for letter, names in trace.axes.items()},
        "target": trace.target if trace.target is None or isinstance(trace.target, int) else list(trace.target),
        "options": dict(trace.options),
        "context": dict(trace.context),
        "plot": None if trace.plot is None else _plot(trace.plot),
        "loss": None if trace.loss is None else _plain(trace.loss),
        "steps": [_step(step, trace) for step in trace.steps],
    }


def from_text(text: str) -> Trace:
    """Read what `Trace.to_json` wrote."""
    try:
        plain = json.loads(text)
    except json.JSONDecodeError as error:
        raise TraceError(f"expected a trace as JSON, got text that is no JSON: {error}.") from None
    found = plain.get("format") if isinstance(plain, dict) else None
    if found != FORMAT:
        raise TraceError(f'expected a JSON object with "format": "{FORMAT}", got {found!r}. Write one with to_json().')
    if plain.get("version") != VERSION:
        raise TraceError(
            f"this trace is of version {plain.get('version')!r}, this lastlayer reads version {VERSION}. "
            "Make it again with explain(), or read it with the lastlayer that wrote it."
        )
    try:
        target = plain["target"]
        return Trace(
            plain["kind"],
            tuple(_read_step(step) for step in plain["steps"]),
            {letter: tuple(names) for letter, names in plain["axes"].items()},
            target if target is None or isinstance(target, int) else tuple(target),
            dict(plain["options"]),
            dict(plain["context"]),
            None if plain["plot"] is None else _arrows(plain["plot"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, LastLayerError):
            raise TraceError(f"this trace is damaged: {error}") from None
        raise TraceError(f"this trace is damaged: {type(error).__name__}: {error}. Make it again.") from None


def _step(step: Step, trace: Trace) -> dict[str, Any]:
    return {
        "id": step.id,
        "title": texts.title(trace, step, "en"),
        "note": texts.note(trace, step, "en"),
        "symbol": to_plain(step.symbol),
        "formula": None if step.formula is None else to_plain(step.formula),
        "formula_text": None if step.formula is None else symbols(step.formula),
        "substituted": _substituted(step, trace),
        "inputs": list(step.inputs),
        "value": _plain(step.value.tolist()),
        "beside": {column.id: _plain(column.value.tolist()) for column in step.beside},
        "checks": [
            {"id": c.id, "holds": c.holds, "residual": _plain(c.residual), "tolerance": c.tolerance}
            for c in step.invariants
        ],
        "plot": None if step.plot is None else _plot(step.plot),
        "highlights": [list(place) for place in step.highlights],
        "numerics": None if step.numerics is None else _numerics(step.numerics),
        "facts": {name: _plain(fact) for name, fact in step.facts.items()},
    }


def _substituted(step: Step, trace: Trace) -> Any:
    """The formula with the numbers in it, for every entry of at most a hundred."""
    if step.formula is None or step.value.numel() > 100:
        return None
    letters = step.symbol.index

    def at(places: dict[str, int]) -> Any:
        depth = len(places)
        if depth == len(letters):
            return numbers(step.formula, trace.values, places)  # type: ignore[arg-type]  # there is one, above
        return [at({**places, letters[depth]: place}) for place in range(step.value.shape[depth])]

    return at({})


def _plot(plot: plots.Plot) -> dict[str, Any]:
    kind = next(name for name, shape in _PLOTS.items() if isinstance(plot, shape))
    return {"kind": kind, **{name: _plain(value) for name, value in dataclasses.asdict(plot).items()}}


def _numerics(numerics: Numerics) -> dict[str, Any]:
    naive = [
        {"formula": to_plain(n.formula), "dtype": n.dtype, "value": _plain(n.value.tolist())} for n in numerics.naive
    ]
    return {"dtype": numerics.dtype, "shift": _plain(numerics.shift), "naive": naive}


def _plain(value: Any) -> Any:
    """Infinities and NaN as words, which JSON has no numbers for."""
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _number(value: Any) -> Any:
    """Undo `_plain`."""
    if isinstance(value, list):
        return [_number(one) for one in value]
    return _NAMED[value] if isinstance(value, str) else value


def _tensor(value: Any) -> Tensor:
    return torch.tensor(_number(value), dtype=torch.float64)


def _read_step(plain: dict[str, Any]) -> Step:
    symbol = from_plain(plain["symbol"])
    if not isinstance(symbol, Symbol):
        raise TypeError(f"a step needs a symbol, got {plain['symbol']!r}")
    return Step(
        plain["id"],
        symbol,
        None if plain["formula"] is None else from_plain(plain["formula"]),
        _tensor(plain["value"]),
        tuple(Invariant(c["id"], _number(c["residual"]), c["tolerance"]) for c in plain["checks"]),
        tuple(Column(name, _tensor(value)) for name, value in plain["beside"].items()),
        None if plain["plot"] is None else _read_plot(plain["plot"]),
        tuple(tuple(place) for place in plain["highlights"]),
        None if plain["numerics"] is None else _read_numerics(plain["numerics"]),
        {name: _NAMED.get(fact, fact) for name, fact in plain["facts"].items()},
    )


def _read_plot(plain: dict[str, Any]) -> plots.Plot:
    fields = {name: value for name, value in plain.items() if name != "kind"}
    made: plots.Plot = _PLOTS[plain["kind"]](
        **{name: _tuples(_number(value)) if isinstance(value, list) and name != "stages" else
           tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    )  # fmt: skip
    return made


def _arrows(plain: dict[str, Any]) -> plots.Arrows:
    return plots.Arrows(tuple(plain["stages"]), tuple(plain["here"]))


def _tuples(value: Any) -> Any:
    return tuple(_tuples(one) for one in value) if isinstance(value, list) else value


def _read_numerics(plain: dict[str, Any]) -> Numerics:
    naive = (Naive(from_plain(n["formula"]), n["dtype"], _tensor(n["value"])) for n in plain["naive"])
    return Numerics(plain["dtype"], _number(plain["shift"]), tuple(naive))
