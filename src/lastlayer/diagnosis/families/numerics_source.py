"""Families 3 and 4 in source files."""

import ast
from collections.abc import Iterator

from lastlayer.diagnosis.finding import Finding
from lastlayer.diagnosis.registry import CERTAIN, LIKELY, POSSIBLE, check
from lastlayer.diagnosis.source import SourceFile
from lastlayer.diagnosis.source.flow import LossCall, number_in
from lastlayer.diagnosis.source.names import constant, dotted, keyword

_VANISHES = 2.0**-25  # half of float16's smallest number: what is smaller rounds to 0


@check("source")
def bce_under_autocast(file: SourceFile) -> Iterator[Finding]:
    """LL301."""
    for loss in file.flow.losses:
        if loss.kind == "bce" and _under_autocast(file, loss.call):
            yield file.found("LL301", loss.call)


def _under_autocast(file: SourceFile, node: ast.AST) -> bool:
    while node in file.parents:
        node = file.parents[node]
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            return any(_is_autocast(file, decorator) for decorator in node.decorator_list)
        if isinstance(node, ast.With):
            calls = [item.context_expr for item in node.items]
            if any(_is_autocast(file, call) and not _switched_off(call) for call in calls):
                return True
            if any(_is_autocast(file, call) for call in calls):
                return False
    return False


def _is_autocast(file: SourceFile, node: ast.expr) -> bool:
    call = node.func if isinstance(node, ast.Call) else node
    if not file.flow.names.full(call).endswith("autocast") or not isinstance(node, ast.Call):
        return False
    return not (node.args and constant(node.args[0]) == "cpu")


def _switched_off(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and constant(keyword(node, "enabled")) is False


@check("source")
def log_of_softmax(file: SourceFile) -> Iterator[Finding]:
    """LL303, LL304."""
    for call, name, _ in file.flow.calls:
        method = isinstance(call.func, ast.Attribute) and call.func.attr == "log" and not call.args and not name
        if name != "log" and not method:
            continue
        if not method and not call.args:
            continue
        inside = call.func.value if method and isinstance(call.func, ast.Attribute) else call.args[0]
        kept, eps = _guarded(inside)
        if eps is not None and 0 < eps < _VANISHES and _is_half(file):
            yield file.found("LL304", call, confidence=LIKELY)
        made = file.flow.made.get(kept)
        if made is not None and made.by in ("softmax", "sigmoid"):
            better = "log_softmax" if made.by == "softmax" else "logsigmoid"
            diff = None
            if isinstance(kept, ast.Call) and kept is inside and made.origin is kept and made.by == "softmax":
                text = file.source(kept)
                function = file.source(kept.func)
                diff = file.diff(call, text.replace(function, f"{function.removesuffix('softmax')}log_softmax", 1))
            yield file.found("LL303", call, confidence=CERTAIN if made.direct else LIKELY, diff=diff, better=better)


def _guarded(node: ast.expr) -> tuple[ast.expr, float | None]:
    """The p of p + eps or p.clamp(min=eps), and eps."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        for one, other in ((node.left, node.right), (node.right, node.left)):
            if (eps := number_in(other)) is not None:
                return one, eps
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("clamp", "clamp_min"):
        bound = keyword(node, "min") or (node.args[0] if node.args else None)
        return node.func.value, number_in(bound)
    return node, None


def _is_half(file: SourceFile) -> bool:
    """Whether the file makes something float16; autocast computes logarithms in float32."""
    for call, _, _ in file.flow.calls:
        if isinstance(call.func, ast.Attribute) and call.func.attr == "half" and not call.args:
            return True
        given = [*call.args, *(each.value for each in call.keywords if each.arg in ("dtype", "torch_dtype"))]
        to = isinstance(call.func, ast.Attribute) and call.func.attr in ("to", "from_pretrained")
        if to and any(file.flow.names.full(each) in ("torch.float16", "torch.half") for each in given):
            return True
    return False


@check("source")
def gradient_accumulation(file: SourceFile) -> Iterator[Finding]:
    """LL401: a mean divided by a constant, where some targets are ignored."""
    ignoring = [loss for loss in file.flow.losses if loss.option("ignore_index") is not None]
    if not ignoring or not _steps_now_and_then(file):
        return
    for node in file.nodes:
        if not isinstance(node, ast.BinOp) or not isinstance(node.op, ast.Div):
            continue
        made = file.flow.made.get(node.left)
        if made is None or made.by != "loss" or constant(node.right) == 1:
            continue
        loss = next((each for each in ignoring if each.call is made.origin), None)
        if loss is not None and _reduction(loss) == "mean" and dotted(node.right) and not _is_count(node.right):
            yield file.found("LL401", node, confidence=LIKELY, counts="")


def _is_count(node: ast.expr) -> bool:
    words = ("token", "total", "valid", "count", "items", "numel", "num_labels")
    return any(word in dotted(node).lower() for word in words)


def _steps_now_and_then(file: SourceFile) -> bool:
    """Whether an optimizer step stands under `if ... % ...`."""
    for node in file.nodes:
        if isinstance(node, ast.If) and any(
            isinstance(part, ast.BinOp) and isinstance(part.op, ast.Mod) for part in ast.walk(node.test)
        ):
            for part in ast.walk(node):
                if isinstance(part, ast.Call) and isinstance(part.func, ast.Attribute) and part.func.attr == "step":
                    return True
    return False


def _reduction(loss: LossCall) -> object:
    given = loss.option("reduction")
    return "mean" if given is None else constant(given)


@check("source")
def focal_on_reduced_loss(file: SourceFile) -> Iterator[Finding]:
    """LL402: exp(−loss) of a loss that is reduced."""
    for call, name, _ in file.flow.calls:
        if name != "exp" or len(call.args) != 1:
            continue
        given = call.args[0]
        if not isinstance(given, ast.UnaryOp) or not isinstance(given.op, ast.USub):
            continue
        made = file.flow.made.get(given.operand)
        loss = next((each for each in file.flow.losses if made is not None and each.call is made.origin), None)
        if loss is None or _reduction(loss) not in ("mean", "sum") or loss.option("reduce") is not None:
            continue
        if _raised_to_a_power(file, call):
            yield file.found("LL402", call)


def _raised_to_a_power(file: SourceFile, call: ast.Call) -> bool:
    """Whether 1 − p of p = exp(−loss) is raised to a power somewhere in the same function."""
    scope: ast.AST = call
    names = set()
    while scope in file.parents and not isinstance(scope, (ast.FunctionDef, ast.AsyncFunctionDef)):
        scope = file.parents[scope]
        if isinstance(scope, ast.Assign):
            names = {dotted(target) for target in scope.targets}
    for node in ast.walk(scope):
        base = node.left if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow) else None
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "pow":
            base = node.args[0] if file.flow.names.of_library(node.func) and node.args else node.func.value
        if base is not None and any(
            part is call or dotted(part) in names for part in ast.walk(base) if part is not base
        ):
            return True
    return False


@check("source")
def weights(file: SourceFile) -> Iterator[Finding]:
    """LL404, LL405."""
    seen = set()
    for loss in file.flow.losses:
        if id(loss.options) in seen:
            continue
        seen.add(id(loss.options))
        weight, smoothing = loss.option("weight"), loss.option("label_smoothing")
        if loss.kind == "cross_entropy" and _given(weight) and (number_in(smoothing) or 0) > 0:
            yield file.found("LL404", loss.options, confidence=POSSIBLE)
        one = None if weight is None else number_in(weight)
        if loss.kind == "bce_with_logits" and one not in (None, 1.0) and loss.option("pos_weight") is None:
            yield file.found("LL405", loss.options, confidence=POSSIBLE)


def _given(node: ast.expr | None) -> bool:
    return node is not None and not (isinstance(node, ast.Constant) and node.value is None)


@check("source")
def kl_divergence(file: SourceFile) -> Iterator[Finding]:
    """LL406."""
    for loss in file.flow.losses:
        if loss.kind != "kl_div":
            continue
        if loss.given is not None and loss.given.by in ("softmax", "sigmoid"):
            sure = CERTAIN if loss.given.direct else LIKELY
            yield file.found("LL406", loss.call, confidence=sure)
        elif _reduction(loss) == "mean" and len(loss.call.args) <= 2 and loss.option("size_average") is None:
            given = keyword(loss.options, "reduction")
            diff = None if given is None else file.diff(given, '"batchmean"')
            yield file.found("LL406", loss.options, confidence=LIKELY, diff=diff, fix="mean")
