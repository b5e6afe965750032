"""Family 7 in source files."""

import ast
from collections.abc import Iterator

from lastlayer.diagnosis.finding import Finding
from lastlayer.diagnosis.registry import LIKELY, check
from lastlayer.diagnosis.source import SourceFile
from lastlayer.diagnosis.source.flow import number_in
from lastlayer.diagnosis.source.names import constant, dotted, keyword

_TINY = 1e-3


@check("source")
def end_of_text_masked(file: SourceFile) -> Iterator[Finding]:
    """LL702: pad = eos, and a collator that masks every pad."""
    collates = any(
        dotted(call.func).endswith("DataCollatorForLanguageModeling") and constant(keyword(call, "mlm")) is False
        for call, _, _ in file.flow.calls
    )
    for node in file.nodes:
        if not isinstance(node, ast.Assign) or not collates:
            continue
        targets = [dotted(target).rsplit(".", 1)[-1] for target in node.targets]
        value = dotted(node.value).rsplit(".", 1)[-1]
        if (targets[0], value) in (("pad_token", "eos_token"), ("pad_token_id", "eos_token_id")):
            yield file.found("LL702", node, confidence=LIKELY)


@check("source")
def perplexity_of_means(file: SourceFile) -> Iterator[Finding]:
    """LL703: exp of a sum of means divided by the number of batches."""
    assigned = {
        dotted(node.targets[0]): node.value
        for node in file.nodes
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and dotted(node.targets[0])
    }
    summed = {
        dotted(node.target)
        for node in file.nodes
        if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add) and _is_one_mean(file, node.value)
    }
    listed = {
        dotted(call.func.value)
        for call, _, _ in file.flow.calls
        if isinstance(call.func, ast.Attribute)
        and call.func.attr == "append"
        and call.args
        and _is_one_mean(file, call.args[0])
    }
    for call, _, _ in file.flow.calls:
        if dotted(call.func).rsplit(".", 1)[-1] != "exp" or len(call.args) != 1 or not _about_perplexity(file, call):
            continue
        given = assigned.get(dotted(call.args[0]), call.args[0])
        if _is_mean_of_means(given, summed) or _is_mean_of_list(given, listed):
            yield file.found("LL703", call, confidence=LIKELY)


def _is_one_mean(file: SourceFile, node: ast.expr) -> bool:
    """`loss.item()`, and not times a number of tokens."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("item", "detach"):
        node = node.func.value
    made = file.flow.made.get(node)
    return (made is not None and made.by == "loss") or dotted(node).rsplit(".", 1)[-1] in ("loss", "nll")


def _is_mean_of_means(node: ast.expr, summed: set[str]) -> bool:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        by_batches = isinstance(node.right, ast.Call) and dotted(node.right.func) == "len"
        name = dotted(node.right).lower()
        return dotted(node.left) in summed and (by_batches or any(word in name for word in ("batches", "steps")))
    return False


def _is_mean_of_list(node: ast.expr, listed: set[str]) -> bool:
    """`np.mean(losses)`, `sum(losses) / len(losses)`, `torch.stack(losses).mean()`."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        parts = (node.left, node.right)
        called = [dotted(part.func) for part in parts if isinstance(part, ast.Call)]
        return called == ["sum", "len"] and all(_holds(part, listed) for part in parts)
    if not isinstance(node, ast.Call):
        return False
    if isinstance(node.func, ast.Attribute) and node.func.attr == "mean":
        return _holds(node, listed) or (isinstance(node.func.value, ast.Call) and _holds(node.func.value, listed))
    return False


def _holds(node: ast.expr, listed: set[str]) -> bool:
    return isinstance(node, ast.Call) and bool(node.args) and dotted(node.args[0]) in listed


def _about_perplexity(file: SourceFile, call: ast.Call) -> bool:
    text = file.text.lower()
    return "perplexity" in text or "ppl" in text


@check("source")
def temperature_at_zero(file: SourceFile) -> Iterator[Finding]:
    """LL704."""
    constants = {
        dotted(node.targets[0]): number_in(node.value)
        for node in file.nodes
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.value, ast.Constant)
    }
    for node in file.nodes:
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) and "logit" in dotted(node.left).lower():
            name = dotted(node.right)
            value = number_in(node.right) if not name else constants.get(name)
            if value is not None and value < _TINY:
                yield file.found("LL704", node, confidence=LIKELY)
        elif isinstance(node, ast.Call) and dotted(node.func).endswith(".generate"):
            value = number_in(keyword(node, "temperature"))
            if value is not None and value < _TINY and constant(keyword(node, "do_sample")) is True:
                yield file.found("LL704", node, confidence=LIKELY)
