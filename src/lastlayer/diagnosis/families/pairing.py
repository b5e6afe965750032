"""Family 0: an activation and a loss that do not belong together."""

from collections.abc import Iterator

from torch import nn

from lastlayer.diagnosis import recompute
from lastlayer.diagnosis.evidence import Batch, Model
from lastlayer.diagnosis.finding import Finding, found
from lastlayer.diagnosis.registry import CERTAIN, LIKELY, check
from lastlayer.diagnosis.said import number
from lastlayer.diagnosis.tensors import LEAST, is_one_hot, looks_like_probabilities, readable, rows_of
from lastlayer.graph import Op

_LOGIT_LOSSES = ("cross_entropy", "soft_cross_entropy", "bce_with_logits")
_CROSS_ENTROPY = ("cross_entropy", "soft_cross_entropy")
_LOGARITHMS = ("log", "log_softmax", "logsigmoid", "logsumexp", "logaddexp")
_FEWEST_ROWS = 16  # fewer one-hot rows may be an accident


def _over_classes(op: Op) -> bool:
    return op.on_classes is not False and (op.on_classes is True or op.dim != 0)


@check("term")
def activation_before_cross_entropy(batch: Batch) -> Iterator[Finding]:
    """LL001, LL009, LL010: cross-entropy has its log-softmax inside."""
    op = batch.term.first if batch.term else None
    if op is None or batch.kind not in _CROSS_ENTROPY:
        return
    if op.name == "softmax" and _over_classes(op):
        yield _softmax_before(batch, op)
    elif op.name == "log_softmax" and _over_classes(op):
        yield found("LL009")
    elif op.name in ("sigmoid", "logsigmoid"):
        now = recompute.cross_entropy(batch, batch.given) if readable(batch.given) else None
        yield found("LL010", "" if now is None else "proof", now=now)


def _softmax_before(batch: Batch, op: Op) -> Finding:
    classes = op.shape[op.dim] if op.shape and op.dim is not None else batch.classes
    floor = recompute.softmax_floor(classes, batch.loss.label_smoothing or 0.0)
    p = recompute.probabilities(batch, op)
    now = None if p is None else recompute.cross_entropy(batch, batch.given)
    without = None if p is None else recompute.cross_entropy(batch, recompute.logarithm(p))
    if now is None or without is None:
        return found("LL001", classes=classes, floor=floor)
    return found("LL001", "proof", now=now, without=without, classes=classes, floor=floor)


@check("batch")
def probabilities_into_cross_entropy(batch: Batch) -> Iterator[Finding]:
    """LL001, LL010 without a graph: the values tell, or the call that made them."""
    if batch.from_graph or batch.kind not in _CROSS_ENTROPY or not readable(batch.given):
        return
    if batch.term is not None and batch.term.end == "layer" and not batch.term.path:
        return  # the graph shows logits: the values are an accident
    if batch.maker == "softmax" or (batch.maker is None and looks_like_probabilities(batch.given, batch.axis)):
        now = recompute.cross_entropy(batch, batch.given)
        without = recompute.cross_entropy(batch, recompute.logarithm(batch.given.detach()))
        floor = recompute.softmax_floor(batch.classes, batch.loss.label_smoothing or 0.0)
        sure = CERTAIN if batch.maker else LIKELY
        how = "batch" if now is None or without is None else "batch.proof"
        yield found("LL001", how, confidence=sure, now=now, without=without, classes=batch.classes, floor=floor)
    elif batch.maker == "sigmoid" or _all_within(batch):
        yield found("LL010", "batch", confidence=CERTAIN if batch.maker else LIKELY)


def _all_within(batch: Batch) -> bool:
    """Every value lies strictly between 0 and 1, and there are enough of them."""
    if batch.maker is not None or batch.given.numel() < LEAST or not batch.given.is_floating_point():
        return False
    rows = rows_of(batch.given, batch.axis)
    return bool(((rows > 0) & (rows < 1)).all()) and bool((rows.sum(-1) - 1).abs().max() > 1e-2)


@check("term")
def activation_before_bce_with_logits(batch: Batch) -> Iterator[Finding]:
    """LL002: BCE with logits has its sigmoid inside."""
    op = batch.term.first if batch.term else None
    if op is None or batch.kind != "bce_with_logits" or op.name not in ("sigmoid", "softmax"):
        return
    now = recompute.binary(batch, batch.given, logits=True)
    without = recompute.binary(batch, batch.given, logits=False)
    variant = "softmax" if op.name == "softmax" else ("" if now is None or without is None else "proof")
    yield found("LL002", variant, now=now, without=without)


@check("batch")
def probabilities_into_bce_with_logits(batch: Batch) -> Iterator[Finding]:
    """LL002 without a graph."""
    if batch.from_graph or batch.kind != "bce_with_logits" or not readable(batch.given):
        return
    if batch.term is not None and batch.term.end == "layer" and not batch.term.path:
        return
    if batch.maker == "sigmoid" or _all_within(batch):
        count = batch.given.numel()
        yield found("LL002", "batch", confidence=CERTAIN if batch.maker else LIKELY, count=count)


@check("term")
def nll_of_unlogged(batch: Batch) -> Iterator[Finding]:
    """LL003: the negative log-likelihood takes log-probabilities."""
    term = batch.term
    if term is None or batch.kind != "nll":
        return
    op = term.first
    sure = CERTAIN if not term.by_hand or term.ours else LIKELY
    if op is not None and op.name in ("softmax", "sigmoid") and _over_classes(op):
        p = batch.given if batch.given is not None else op.result
        now = None if p is None else recompute.picked(batch, p)
        without = None if p is None else recompute.picked(batch, recompute.logarithm(p.detach()))
        proof = "" if now is None or without is None else "proof"
        yield found("LL003", proof, confidence=sure, activation=op.name, now=now, without=without)
    elif (op is None and term.end == "layer") or (op is not None and op.name in ("relu", "tanh", "gelu")):
        yield found("LL003", "raw", confidence=sure)


@check("batch")
def positive_log_probabilities(batch: Batch) -> Iterator[Finding]:
    """LL003 by values: a log-probability is never above 0."""
    if batch.kind != "nll" or not readable(batch.given) or not batch.given.is_floating_point():
        return
    op = batch.term.first if batch.term else None
    if op is not None and op.name in _LOGARITHMS and batch.from_graph:
        return
    largest = float(batch.given.detach().amax()) if batch.given.numel() else 0.0
    if largest > 1e-3:
        yield found("LL003", "batch", largest=largest)


@check("term")
def layer_before_bce(batch: Batch) -> Iterator[Finding]:
    """LL004: binary cross-entropy without "with logits" takes probabilities."""
    term = batch.term
    if term is not None and batch.kind == "bce" and not term.path and term.end == "layer":
        yield found("LL004")


@check("batch")
def logits_into_bce(batch: Batch) -> Iterator[Finding]:
    """LL004 by values."""
    if batch.kind != "bce" or not readable(batch.given) or not batch.given.numel():
        return
    low, high = (float(end) for end in batch.given.detach().aminmax())
    if low < 0 or high > 1:
        yield found("LL004", "batch", low=low, high=high)


@check("batch")
def softmax_for_multi_label(batch: Batch) -> Iterator[Finding]:
    """LL005: labels that may hold together do not compete."""
    if not batch.tensors or batch.given.shape != batch.target.shape or batch.given.dim() < 2 or batch.classes < 2:
        return
    op = batch.term.first if batch.term else None
    softmax = (op is not None and op.name == "softmax") or batch.maker == "softmax"
    into_binary = batch.kind in ("bce", "bce_with_logits") and (
        softmax or (batch.kind == "bce" and not batch.from_graph and looks_like_probabilities(batch.given, batch.axis))
    )
    if not into_binary and batch.kind != "soft_cross_entropy":
        return
    rows = rows_of(batch.target, batch.axis)
    several = ((rows == 0) | (rows == 1)).all(-1) & (rows.sum(-1) >= 2)
    if bool(several.any()):
        row = int(several.nonzero()[0, 0])
        total = int(rows.shape[0])
        yield found("LL005", count=int(several.sum()), rows=total, row=row, labels=int(rows[row].sum()))


@check("batch")
def binary_loss_of_exclusive_classes(batch: Batch) -> Iterator[Finding]:
    """LL006: every row names exactly one class."""
    if batch.kind not in ("bce", "bce_with_logits") or not batch.tensors or batch.target.dim() < 2:
        return
    if batch.target.shape != batch.given.shape or batch.classes < 3:
        return
    rows = batch.target.numel() // batch.classes
    if rows >= _FEWEST_ROWS and is_one_hot(batch.target, batch.axis):
        share = 1 - 1 / batch.classes
        yield found("LL006", rows=rows, classes=batch.classes, share=number(100 * share))


@check("batch")
def softmax_of_one_unit(batch: Batch) -> Iterator[Finding]:
    """LL007: one unit is certain of itself, whatever it says."""
    if not readable(batch.given) or not batch.given.dim():
        return
    if batch.kind in _CROSS_ENTROPY and batch.classes == 1 and batch.given.dim() > 1:
        yield found("LL007", shape=tuple(batch.given.shape))
    op = batch.term.first if batch.term else None
    if op is not None and op.name == "softmax" and op.shape and op.dim is not None and op.shape[op.dim] == 1:
        yield found("LL007", "softmax", shape=op.shape)


@check("term")
def relu_on_logits(batch: Batch) -> Iterator[Finding]:
    """LL008: a logit below 0 is how a class says no."""
    op = batch.term.first if batch.term else None
    if op is None or op.name != "relu" or batch.kind not in _LOGIT_LOSSES:
        return
    if readable(op.result) and op.result is not None and op.result.numel():
        share = 100 * float((op.result == 0).double().mean())
        yield found("LL008", "proof", share=number(share))
    else:
        yield found("LL008")


_LAST = {nn.Softmax: "softmax", nn.Sigmoid: "sigmoid", nn.ReLU: "relu"}
_MODULE_RULES = {
    ("softmax", "cross_entropy"): "LL001",
    ("sigmoid", "cross_entropy"): "LL010",
    ("sigmoid", "bce_with_logits"): "LL002",
    ("relu", "cross_entropy"): "LL008",
    ("relu", "bce_with_logits"): "LL008",
}


@check("model")
def last_module(model: Model) -> Iterator[Finding]:
    """LL001, LL002, LL008, LL010 from the modules of a model whose graph is hidden."""
    module = getattr(model.module, "_orig_mod", model.module)
    if not isinstance(module, nn.Module) or model.loss_fn is None:
        return
    last = module
    while isinstance(last, nn.Sequential) and len(last):
        last = last[-1]
    if last is module and list(module.children()):
        last = list(module.children())[-1]  # a hint only: modules are not called in this order by law
    activation = next((name for kind, name in _LAST.items() if isinstance(last, kind)), None)
    code = _MODULE_RULES.get((activation or "", model.loss_fn.kind))
    if code is not None:
        sequential = isinstance(module, nn.Sequential)
        yield found(code, "modules", confidence=CERTAIN if sequential else LIKELY, module=type(last).__name__)
