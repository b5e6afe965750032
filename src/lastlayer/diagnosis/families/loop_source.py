"""Family 5 in source files: the order of a training loop."""

import ast
from collections.abc import Iterator

from lastlayer.diagnosis.finding import Finding
from lastlayer.diagnosis.registry import CERTAIN, LIKELY, check
from lastlayer.diagnosis.source import SourceFile
from lastlayer.diagnosis.source.names import dotted

_LOOPS = (ast.For, ast.While, ast.AsyncFor)
_BY_MODE = (
    "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout", "BatchNorm1d", "BatchNorm2d", "BatchNorm3d",
    "SyncBatchNorm", "TransformerEncoderLayer",
)  # fmt: skip


@check("source")
def zero_grad(file: SourceFile) -> Iterator[Finding]:
    """LL501: gradients that are never cleared, or cleared between backward and step."""
    for loop in (node for node in file.nodes if isinstance(node, _LOOPS)):
        step = _own_call(file, loop, "step")
        backward = _own_call(file, loop, "backward")
        if step is None or backward is None or not _is_optimizer(file, step):
            continue
        clears = [call for call in _calls(loop) if _method(call) == "zero_grad"]
        if not clears:
            if not _cleared_elsewhere(file, loop):
                yield file.found("LL501", step, confidence=LIKELY)
        elif _between(file, backward, clears, step):
            yield file.found("LL501", step, confidence=LIKELY)


def _calls(node: ast.AST) -> list[ast.Call]:
    return [part for part in ast.walk(node) if isinstance(part, ast.Call)]


def _method(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


def _own_call(file: SourceFile, loop: ast.AST, name: str) -> ast.Call | None:
    """A call of a method in this loop and in no loop inside it."""
    for call in _calls(loop):
        if _method(call) != name or (name == "step" and not _is_optimizer(file, call)):
            continue
        node: ast.AST = call
        while node in file.parents and not isinstance(node, _LOOPS):
            node = file.parents[node]
        if node is loop:
            return call
    return None


def _is_optimizer(file: SourceFile, step: ast.Call) -> bool:
    owner = dotted(step.func.value) if isinstance(step.func, ast.Attribute) else ""
    built = file.flow.constructed.get(file.scope(step), owner)
    if built is not None:
        name = file.flow.names.of_library(built.func)
        return name.startswith("optim.") and "lr_scheduler" not in name
    last = owner.rsplit(".", 1)[-1].lower()
    return last in ("optimizer", "optim", "opt", "scaler")


def _cleared_elsewhere(file: SourceFile, loop: ast.AST) -> bool:
    """`p.grad = None`, or a helper that the loop calls and that may clear the gradients."""
    for node in ast.walk(loop):
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(target, ast.Attribute) and target.attr == "grad" for target in targets):
            return True
    helpers = {dotted(call.func).rsplit(".", 1)[-1] for call in _calls(loop)}
    for node in file.nodes:
        is_helper = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name in helpers
        if is_helper and any(_method(call) == "zero_grad" for call in _calls(node)):
            return True
    return False


def _between(file: SourceFile, backward: ast.Call, clears: list[ast.Call], step: ast.Call) -> bool:
    """Whether all three stand in one block, and the gradients are cleared in the middle."""
    blocks = {id(_block(file, call)) for call in (backward, step, *clears)}
    if len(blocks) != 1 or len(clears) != 1:
        return False
    return backward.lineno < clears[0].lineno < step.lineno


def _block(file: SourceFile, node: ast.AST) -> ast.AST:
    """The statement that holds the statement of `node`."""
    while not isinstance(node, ast.stmt):
        node = file.parents[node]
    return file.parents[node]


@check("source")
def evaluation_mode(file: SourceFile) -> Iterator[Finding]:
    """LL502: judged in training mode, or trained in evaluation mode."""
    calls = [call for call, _, _ in file.flow.calls]
    by_mode = any(name in _BY_MODE for _, name, _ in file.flow.calls)
    evals = [call for call in calls if _method(call) == "eval" and not call.args]
    trains = [call for call in calls if _method(call) == "train"]
    if by_mode and not evals and not any(_is_false(call) for call in trains):
        for loss in file.flow.losses:
            place = _without_gradients(file, loss.call)
            if place is not None and any(_method(call) == "backward" for call in calls):
                yield file.found("LL502", loss.call, confidence=LIKELY)
                return
    if by_mode and evals and not trains:
        for call in evals:
            loop = _loop_around(file, call)
            if loop is not None and any(_method(other) == "backward" for other in _calls(loop)):
                yield file.found("LL502", call, confidence=LIKELY)
                return


def _is_false(call: ast.Call) -> bool:
    return bool(call.args) and isinstance(call.args[0], ast.Constant) and call.args[0].value is False


def _without_gradients(file: SourceFile, node: ast.AST) -> ast.AST | None:
    """The `with torch.no_grad()` or the decorated function around a node."""
    while node in file.parents:
        node = file.parents[node]
        marks: list[ast.expr] = []
        if isinstance(node, ast.With):
            marks = [item.context_expr for item in node.items]
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            marks = node.decorator_list
        for mark in marks:
            name = file.flow.names.full(mark.func if isinstance(mark, ast.Call) else mark)
            if name in ("torch.no_grad", "torch.inference_mode"):
                return node
    return None


def _loop_around(file: SourceFile, node: ast.AST) -> ast.AST | None:
    """The outermost loop around a node."""
    found = None
    while node in file.parents:
        node = file.parents[node]
        if isinstance(node, _LOOPS):
            found = node
    return found


@check("source")
def argmax_into_loss(file: SourceFile) -> Iterator[Finding]:
    """LL503."""
    for loss in file.flow.losses:
        if loss.given is not None and loss.given.by == "argmax":
            yield file.found("LL503", loss.call, confidence=CERTAIN if loss.given.direct else LIKELY)
