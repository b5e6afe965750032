"""The nodes that are losses, and what each was told."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from lastlayer.graph.axes import Axis
from lastlayer.graph.descent import Way, descend, tensor_shape
from lastlayer.graph.nodes import REDUCTIONS, SAME_NUMBERS, Node, children, name, number_of, saved, signed
from lastlayer.graph.wiring import Op, Term

_REDUCTION = ("none", "mean", "sum")


def recognise(node: Node, above: Sequence[Node]) -> Term | None:
    """The term that `node` is the top of; `above` are the nodes between the loss and it, from the loss down."""
    reader = _READERS.get(name(node))
    term = None if reader is None else reader(node, above)
    return None if term is None else replace(term, above=tuple(map(name, above)))


def below_focal_factor(node: Node) -> Node | None:
    """The x of a (1 − exp(−x))^γ whose top is `node`."""
    for expected in ("Pow", "Rsub", "Exp", "Neg"):
        while name(node) in SAME_NUMBERS and children(node):
            node = children(node)[0]
        below = children(node)
        if name(node) != expected or not below:
            return None
        node = below[0]
    return node


def _reduction(node: Node) -> str | None:
    number = saved(node, "reduction")
    return _REDUCTION[number] if isinstance(number, int) and 0 <= number < 3 else None


def _filled(term: Term, way: Way) -> Term:
    return replace(term, path=way.path, end=way.end, moved=way.moved, views=way.views)


def _index_loss(node: Node, above: Sequence[Node]) -> Term:
    given, target = saved(node, "self"), saved(node, "target")
    weight = saved(node, "weight")
    shape = tensor_shape(given)
    axis = None if shape is None else min(1, len(shape) - 1)
    term = Term(
        "nll",
        given=given,
        target=target,
        axis=axis,
        reduction=_reduction(node),
        weight=weight,
        ignore_index=signed(saved(node, "ignore_index")),
        label_smoothing=0.0,
    )
    below = children(node)
    way = descend(below[0] if below else None, Axis(shape, axis))
    return _with_own_log_softmax(_filled(term, way), way)


def _with_own_log_softmax(term: Term, way: Way) -> Term:
    """Log-softmax and the picking of the true class are cross-entropy, whoever wrote them."""
    first = way.path[0] if way.path else None
    if first is None or first.name != "log_softmax" or first.on_classes is False:
        return term
    return replace(term, kind="cross_entropy", path=way.path[1:])


def _picked(node: Node, above: Sequence[Node]) -> Term | None:
    """−log p picked with gather or with an index: lastlayer's `nll_loss`, and many a loss written by hand."""
    names = [name(parent) for parent in above]
    index = saved(node, "index") if name(node) == "Gather" else _pair_of_indices(node)
    if "Neg" not in names or not isinstance(index, Tensor):
        return None
    given = saved(node, "self") if name(node) == "Gather" else None
    sizes = tensor_shape(given) or saved(node, "self_sym_sizes")
    shape = None if sizes is None else tuple(int(size) for size in sizes)
    if shape is None:
        return None
    axis = signed(saved(node, "dim")) % len(shape) if name(node) == "Gather" else 1
    ours = names[-3:] == ["Neg", "ToCopy", "Squeeze"] or names[-2:] == ["Neg", "ToCopy"]
    plain = all(kind in SAME_NUMBERS | REDUCTIONS | {"Neg", "Div"} for kind in names)
    below = children(node)
    way = descend(below[0] if below else None, Axis(shape, axis))
    target = index.squeeze(axis) if name(node) == "Gather" and index.dim() == len(shape) else index
    term = Term("nll", given=given, target=target, axis=axis, ours=ours and plain, by_hand=True)
    term = _with_own_log_softmax(_filled(term, way), way)
    first = way.path[0] if way.path else None
    if term.kind == "nll" and not (plain and first is not None and first.name in ("softmax", "log")) and not term.ours:
        return None
    return term


def _pair_of_indices(node: Node) -> Tensor | None:
    """The classes of `log_p[rows, classes]`."""
    indices = saved(node, "indices")
    sizes = saved(node, "self_sym_sizes")
    if not indices or len(indices) != 2 or any(part is None for part in indices) or len(sizes or ()) != 2:
        return None
    last = indices[1]
    return last if isinstance(last, Tensor) and not last.is_floating_point() and last.dim() == 1 else None


def _binary(kind: str) -> Any:
    def reader(node: Node, above: Sequence[Node]) -> Term:
        given = saved(node, "self")
        shape = tensor_shape(given)
        term = Term(
            kind,
            given=given,
            target=saved(node, "target"),
            axis=1 if shape is not None and len(shape) > 1 else None,
            reduction=_reduction(node),
            weight=saved(node, "weight"),
            pos_weight=saved(node, "pos_weight"),
            label_smoothing=0.0,
        )
        below = children(node)
        return _filled(term, descend(below[0] if below else None, Axis(shape, term.axis)))

    return reader


def _product(node: Node, above: Sequence[Node]) -> Term | None:
    """Soft-target cross-entropy, −Σ q · log p, and PyTorch's KL divergence."""
    below = children(node)
    if len(below) != 1:
        return None
    factor = saved(node, "other") if saved(node, "other") is not None else saved(node, "self")
    if not isinstance(factor, Tensor) or not factor.is_floating_point() or factor.numel() == 1:
        return None
    parent = above[-1] if above else None
    if parent is not None and name(parent) == "Sub" and _is_xlogy_minus(parent, node):
        return _divergence(below[0], factor, False, above[:-1])
    if name(below[0]) == "Sub" and below[0].next_functions[0][0] is None and len(children(below[0])) == 1:
        return _divergence(children(below[0])[0], factor, True, above)
    if "Neg" not in map(name, above):
        return None
    way = descend(below[0], Axis(tuple(factor.shape), None))
    first = way.path[0] if way.path else None
    if first is None or first.name != "log_softmax" or first.shape != tuple(factor.shape):
        return None
    return _soft(first, factor, below[0], above)


def _soft(first: Op, target: Tensor, below: Node, above: Sequence[Node]) -> Term:
    way = descend(below, Axis(first.shape, first.dim))
    names = list(map(name, above))
    head = [kind for kind in names if kind not in SAME_NUMBERS]
    reduction = {("Div", "Neg", "Sum"): "mean", ("Neg", "Sum"): "sum"}.get(tuple(head[-3:]))
    if reduction is None and head[-2:] == ["Neg", "Sum"]:
        reduction = "none" if saved(above[-1], "dim") is not None else "sum"
    return Term(
        "soft_cross_entropy",
        path=way.path[1:],
        end=way.end,
        given=first.result,
        target=target,
        axis=first.dim,
        reduction=reduction,
        moved=way.moved,
        views=way.views,
    )


def _is_xlogy_minus(parent: Node, node: Node) -> bool:
    left, right = (edge[0] for edge in parent.next_functions[:2])
    return right is not None and right is node and (left is None or name(left) == "Xlogy")


def _divergence(below: Node, target: Tensor, log_target: bool, above: Sequence[Node]) -> Term:
    names = [kind for kind in map(name, above) if kind not in SAME_NUMBERS]
    reduction = "none"
    if names[-1:] == ["Mean"]:
        reduction = "mean"
    elif names[-1:] == ["Sum"]:
        reduction = "batchmean" if names[-2:-1] == ["Div"] else "sum"
    axis = target.dim() - 1
    way = descend(below, Axis(tuple(target.shape), axis))
    return _filled(Term("kl_div", target=target.log() if log_target else target, axis=axis, reduction=reduction), way)


def _by_hand(node: Node, above: Sequence[Node]) -> Term | None:
    """lastlayer's own losses carry the name of their rule, their tensors and their options."""
    called = str(getattr(node.rule, "name", ""))
    if called not in ("cross_entropy", "bce_with_logits"):
        return None
    x, *rest = node._forward_cls.arguments(node)
    options = rest[-1]
    below = children(node)
    axis = x.dim() - 1 if called == "cross_entropy" else (1 if x.dim() > 1 else None)
    way = descend(below[0] if below else None, Axis(tuple(x.shape), axis))
    common = {"given": x, "target": rest[0], "axis": axis, "reduction": options.reduction, "ours": True}
    if called == "bce_with_logits":
        pos_weight = rest[2]
        smoothing = options.label_smoothing
        term = Term("bce_with_logits", weight=rest[1], pos_weight=pos_weight, label_smoothing=smoothing, **common)
    else:
        kind = "soft_cross_entropy" if rest[0].is_floating_point() else "cross_entropy"
        # None says that the indices were read and none is ignored.
        ignored = -100 if options.ignore_index is None else options.ignore_index
        term = Term(
            kind,
            weight=rest[1],
            ignore_index=ignored,
            label_smoothing=options.label_smoothing,
            empty=options.empty,
            **common,
        )
    return _filled(term, way)


def _linear_by_hand(node: Node, above: Sequence[Node]) -> Term:
    """lastlayer's linear losses: the layer is part of them, so nothing can stand between it and the loss."""
    target, weight, *rest = node._forward_cls.arguments(node)
    options = next(value for value in rest if hasattr(value, "reduction"))
    kept = target if isinstance(target, Tensor) else None
    common = {"end": "layer", "target": kept, "weight": weight, "reduction": options.reduction, "ours": True}
    smoothing = options.label_smoothing
    if node.loss.name == "bce_with_logits":
        pos_weight = rest[0] if isinstance(rest[0], Tensor) else None
        return Term("bce_with_logits", pos_weight=pos_weight, label_smoothing=smoothing, **common)
    soft = kept is not None and kept.is_floating_point()
    ignored = -100 if options.ignore_index is None else options.ignore_index
    kind = "soft_cross_entropy" if soft else "cross_entropy"
    return Term(kind, ignore_index=ignored, label_smoothing=smoothing, empty=options.empty, **common)


def smoothing_of(above: Sequence[Node]) -> float | None:
    """ε of the (1 − ε) that a smoothed index loss is multiplied by."""
    if len(above) >= 2 and name(above[-1]) == "Mul" and name(above[-2]) == "Add":
        factor = number_of(saved(above[-1], "other"))
        return None if factor is None else round(1 - factor, 12)
    return None


_READERS: dict[str, Any] = {
    "NllLoss": _index_loss,
    "NllLoss2D": _index_loss,
    "BinaryCrossEntropy": _binary("bce"),
    "BinaryCrossEntropyWithLogits": _binary("bce_with_logits"),
    "MseLoss": _binary("mse"),
    "Mul": _product,
    "Gather": _picked,
    "Index": _picked,
    "_ByHand": _by_hand,
    "_LinearByHand": _linear_by_hand,
}
