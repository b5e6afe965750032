"""Family 6: metrics and decisions."""

import ast
from collections.abc import Iterator

from lastlayer.diagnosis.finding import Finding
from lastlayer.diagnosis.registry import LIKELY, check
from lastlayer.diagnosis.source import SourceFile
from lastlayer.diagnosis.source.names import constant, dotted

_MEANS_LOGITS = ("logit",)


def _is_logits(file: SourceFile, node: ast.expr) -> bool:
    """Whether an expression is the raw output of a layer or model, or called so."""
    made = file.flow.made.get(node)
    if made is not None:
        return made.by == "linear" or (made.by == "output" and _only_logit_losses(file))
    name = dotted(node).rsplit(".", 1)[-1].lower()
    return any(word in name for word in _MEANS_LOGITS)


def _only_logit_losses(file: SourceFile) -> bool:
    """The model's output goes into a binary loss of logits in this file."""
    return any(loss.kind == "bce_with_logits" for loss in file.flow.losses)


@check("source")
def metric_of_logits(file: SourceFile) -> Iterator[Finding]:
    """LL601: torchmetrics' binary and multilabel metrics."""
    metrics = set()
    for node in file.nodes:
        value = node.value if isinstance(node, ast.Assign) and len(node.targets) == 1 else None
        if isinstance(node, ast.Assign) and isinstance(value, ast.Call) and _guesses(file, value):
            metrics.add(dotted(node.targets[0]))
    for call, _, _ in file.flow.calls:
        owner = dotted(call.func)
        owner = owner.removesuffix(".update")
        functional = _guesses(file, call) and bool(call.args) and ".functional" in file.flow.names.full(call.func)
        if (owner in metrics or functional) and call.args and _is_logits(file, call.args[0]):
            given = file.source(call.args[0])
            yield file.found("LL601", call, confidence=LIKELY, diff=file.diff(call.args[0], f"{given}.sigmoid()"))


def _guesses(file: SourceFile, call: ast.Call) -> bool:
    full = file.flow.names.full(call.func)
    if full.split(".")[0] != "torchmetrics":
        return False
    last = full.rsplit(".", 1)[-1]
    return last.startswith(("Binary", "Multilabel", "binary_", "multilabel_")) or any(
        constant(each.value) in ("binary", "multilabel") for each in call.keywords if each.arg == "task"
    )


@check("source")
def half_as_threshold(file: SourceFile) -> Iterator[Finding]:
    """LL602."""
    for node in file.nodes:
        if not isinstance(node, ast.Compare) or len(node.ops) != 1:
            continue
        if not isinstance(node.ops[0], (ast.Gt, ast.GtE, ast.Lt, ast.LtE)) or constant(node.comparators[0]) != 0.5:
            continue
        if _is_logits(file, node.left):
            yield file.found("LL602", node, confidence=LIKELY, diff=file.diff(node.comparators[0], "0"))
