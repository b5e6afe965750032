"""Family 0 in source files: what is handed to a loss."""

import ast
from collections.abc import Iterator

from lastlayer.diagnosis.finding import Finding
from lastlayer.diagnosis.registry import CERTAIN, LIKELY, check
from lastlayer.diagnosis.source import SourceFile
from lastlayer.diagnosis.source.flow import LossCall, Made
from lastlayer.diagnosis.source.names import constant, keyword

_CODES = {
    ("cross_entropy", "softmax"): "LL001",
    ("cross_entropy", "sigmoid"): "LL010",
    ("cross_entropy", "relu"): "LL008",
    ("cross_entropy", "log_softmax"): "LL009",
    ("bce_with_logits", "sigmoid"): "LL002",
    ("bce_with_logits", "softmax"): "LL002",
    ("bce_with_logits", "relu"): "LL008",
    ("nll", "softmax"): "LL003",
    ("nll", "sigmoid"): "LL003",
    ("nll", "linear"): "LL003",
}


@check("source")
def activation_before_loss(file: SourceFile) -> Iterator[Finding]:
    """LL001, LL002, LL003, LL008, LL009, LL010."""
    for loss in file.flow.losses:
        made = loss.given
        code = None if made is None else _CODES.get((loss.kind, made.by))
        if code is None or made is None:
            continue
        if code == "LL003" and made.by == "linear" and made.direct:
            continue  # a layer called on the spot: nobody names it so
        yield file.found(code, loss.call, confidence=CERTAIN if made.direct else LIKELY, diff=_diff(file, code, made))


def _diff(file: SourceFile, code: str, made: Made) -> str | None:
    """Take the activation away, or its logarithm."""
    origin = made.origin
    if not isinstance(origin, ast.Call) or made.by == "linear":
        return None
    if code == "LL003":
        name = file.source(origin.func)
        return (
            file.diff(origin.func, f"{name.removesuffix('softmax')}log_softmax") if name.endswith("softmax") else None
        )
    name = file.flow.names.of_library(origin.func)
    if name and not name[0].isupper() and origin.args:
        return file.diff(origin, file.source(origin.args[0]))
    if isinstance(origin.func, ast.Attribute) and not name:
        return file.diff(origin, file.source(origin.func.value))
    return None


@check("source")
def one_unit(file: SourceFile) -> Iterator[Finding]:
    """LL007: a layer of one unit before a softmax, or before cross-entropy."""
    for call, name, _ in file.flow.calls:
        if name != "Sequential" or len(call.args) < 2:
            continue
        last, before = call.args[-1], call.args[-2]
        if _is(file, last, "Softmax") and _units(file, before) == 1:
            yield file.found("LL007", last, confidence=LIKELY)
    for loss in file.flow.losses:
        if loss.kind == "cross_entropy" and _last_units(file, loss) == 1:
            yield file.found("LL007", loss.call, confidence=LIKELY)


def _last_units(file: SourceFile, loss: LossCall) -> object:
    """The units of the layer that made what a loss is given."""
    given = loss.given
    return None if given is None or given.by != "linear" or given.reshaped else _units(file, given.origin)


def _is(file: SourceFile, node: ast.expr, module: str) -> bool:
    return isinstance(node, ast.Call) and file.flow.names.of_library(node.func) == module


def _units(file: SourceFile, node: ast.expr) -> object:
    if not isinstance(node, ast.Call) or file.flow.names.of_library(node.func) not in ("Linear", "LazyLinear"):
        return None
    place = 0 if file.flow.names.of_library(node.func) == "LazyLinear" else 1
    return constant(node.args[place]) if len(node.args) > place else constant(keyword(node, "out_features"))
