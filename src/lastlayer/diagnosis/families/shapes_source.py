"""Family 2 in source files."""

import ast
from collections.abc import Iterator

from lastlayer.diagnosis.finding import Finding
from lastlayer.diagnosis.registry import CERTAIN, LIKELY, POSSIBLE, check
from lastlayer.diagnosis.source import SourceFile
from lastlayer.diagnosis.source.names import dotted, keyword

_FUNCTIONS = ("softmax", "log_softmax", "softmin")
_MODULES = ("Softmax", "LogSoftmax", "Softmin")


@check("source")
def softmax_without_dim(file: SourceFile) -> Iterator[Finding]:
    """LL201."""
    for call, name, _ in file.flow.calls:
        starred = any(isinstance(part, ast.Starred) for part in call.args) or any(k.arg is None for k in call.keywords)
        if starred or keyword(call, "dim") is not None:
            continue
        full = file.flow.names.full(call.func)
        function = name in _FUNCTIONS and full.startswith("torch.nn.functional") and len(call.args) == 1
        if function or (name in _MODULES and not call.args):
            inside = ", ".join([*(file.source(part) for part in call.args), "dim=-1"])
            yield file.found("LL201", call, diff=file.diff(call, f"{file.source(call.func)}({inside})"))


@check("source")
def list_into_loss(file: SourceFile) -> Iterator[Finding]:
    """LL208."""
    for loss in file.flow.losses:
        for made, fix in ((loss.given, ""), (loss.target, "target")):
            if made is not None and made.by == "list":
                yield file.found("LL208", loss.call, confidence=CERTAIN if made.direct else LIKELY, fix=fix)


@check("source")
def view_for_permute(file: SourceFile) -> Iterator[Finding]:
    """LL204: the sizes of a shape that was just taken apart, in another order."""
    for function in (node for node in file.nodes if isinstance(node, (ast.FunctionDef, ast.Module))):
        yield from _views_of(file, function)


def _views_of(file: SourceFile, function: ast.FunctionDef | ast.Module) -> Iterator[Finding]:
    """In one function, line by line: once a name stands for another tensor its sizes are forgotten."""
    orders: dict[str, list[str]] = {}
    for statement in _statements(function.body):
        for call in (part for part in ast.walk(statement) if isinstance(part, ast.Call)):
            if not isinstance(call.func, ast.Attribute) or call.func.attr not in ("view", "reshape"):
                continue
            before = orders.get(dotted(call.func.value))
            after = [dotted(part) for part in call.args]
            if before is not None and sorted(before) == sorted(after) and before != after:
                yield file.found("LL204", call, confidence=POSSIBLE)
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target = statement.targets[0]
            names = [dotted(part) for part in target.elts] if isinstance(target, ast.Tuple) else []
            if (owner := _shape_of(statement.value)) and all(names) and len(names) >= 3:
                orders[owner] = names
            for name in names or [dotted(target)]:
                orders.pop(name, None)


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The simple statements of a function in order, those of its blocks included, those of functions in it not."""
    for statement in body:
        if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        inner = [part for part in ast.iter_child_nodes(statement) if isinstance(part, ast.stmt)]
        if inner:
            yield from _statements(inner)
        else:
            yield statement


def _shape_of(node: ast.expr) -> str:
    """The x of `x.shape` or `x.size()`."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "size":
        return dotted(node.func.value)
    return dotted(node.value) if isinstance(node, ast.Attribute) and node.attr == "shape" else ""
