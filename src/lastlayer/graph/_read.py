"""The walk from a loss to its terms."""

from collections import deque
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lastlayer.errors import DtypeError
from lastlayer.graph.axes import Axis
from lastlayer.graph.descent import descend, hidden
from lastlayer.graph.losses import below_focal_factor, recognise, smoothing_of
from lastlayer.graph.nodes import LAYERS, OPERATIONS, Node, children, name
from lastlayer.graph.wiring import Term, Wiring

_MOST_NODES = 2_000  # a walk of a few milliseconds; the losses stand at the top


def read(loss: Any) -> Wiring:
    """Read what `loss` computes from its autograd graph.

    Args:
        loss: A tensor that a loss function returned, before its backward.

    Returns:
        Its terms, each with the operations between it and the logits; and an obstacle where something could not be
        read. Nothing is computed anew and nothing is changed.

    Raises:
        DtypeError: `loss` is no tensor.

    >>> z = torch.tensor([[2.0, 0.0]], requires_grad=True)
    >>> wiring = read(torch.nn.functional.cross_entropy(z.softmax(1), torch.tensor([0])))
    >>> wiring.kind, [op.name for op in wiring.terms[0].path]
    ('cross_entropy', ['softmax'])
    """
    if not isinstance(loss, Tensor):
        raise DtypeError(
            f"loss has to be a tensor, got {type(loss).__name__}. Pass what the loss function returned, not its "
            ".item()."
        )
    if loss.grad_fn is None:
        return Wiring((), "no_graph")
    try:
        with torch.no_grad():
            return _walk(loss.grad_fn)
    except RuntimeError as error:
        if "second time" not in str(error):
            raise
        return Wiring((), "freed")


class _Found:
    """Terms in the order in which they were met, and the node of the log-softmax that each rests on."""

    def __init__(self) -> None:
        self.terms: list[tuple[Term, Node | None]] = []
        self.tops: list[Node] = []
        self.focal: list[Node] = []
        self.obstacle: str | None = None
        self.detail = ""


def _walk(top: Node) -> Wiring:
    found, seen = _Found(), set()
    waiting: deque[tuple[Node, tuple[Node, ...]]] = deque([(top, ())])
    nodes = 0
    while waiting and nodes < _MOST_NODES:
        node, above = waiting.popleft()
        if node in seen:
            continue
        seen.add(node)
        nodes += 1
        if not _taken(node, above, found):
            waiting.extend((below, (*above[-30:], node)) for below in children(node))
    for place, ((term, own), top_node) in enumerate(zip(found.terms, found.tops, strict=True)):
        if any(top_node is base for base in found.focal):
            found.terms[place] = replace(term, focal=True), own
    terms = _merged(found.terms)
    obstacle = found.obstacle or (None if any(term.kind != "unknown" for term in terms) else "no_loss")
    return Wiring(tuple(terms), obstacle, nodes, found.detail)


def _taken(node: Node, above: tuple[Node, ...], found: _Found) -> bool:
    """Whether the walk ends here."""
    kind = name(node)
    if (why := hidden(node)) is not None:
        found.obstacle, found.detail = found.obstacle or why, found.detail or kind
        return True
    term = recognise(node, above)
    if term is not None:
        if kind.startswith("NllLoss") and (smoothing := smoothing_of(above)) is not None:
            term = replace(term, label_smoothing=smoothing)
        if term.end == "hidden":
            found.obstacle = found.obstacle or "checkpointed"
        found.terms.append((term, _own_log_softmax(node)))
        found.tops.append(node)
        return True
    if kind == "Pow" and (base := below_focal_factor(node)) is not None:
        found.focal.append(base)
    if kind in OPERATIONS and OPERATIONS[kind] in ("softmax", "log_softmax", "sigmoid", "logsigmoid", "log"):
        way = descend(node, Axis(None, None))
        names = tuple(map(name, above))
        found.terms.append((Term("unknown", path=way.path, end=way.end, above=names), node))
        found.tops.append(node)
        return True
    return kind in LAYERS or kind == "AccumulateGrad"


def _own_log_softmax(node: Node) -> Node | None:
    for _ in range(4):
        below = children(node)
        if not below:
            return None
        node = below[0]
        if name(node) == "LogSoftmax":
            return node
    return None


def _merged(found: list[tuple[Term, Node | None]]) -> list[Term]:
    """Two terms over one log-softmax are one smoothed loss; known terms stand first."""
    known = [(term, node) for term, node in found if term.kind in ("cross_entropy", "nll")]
    terms = []
    for term, node in found:
        if term.kind in ("soft_cross_entropy", "unknown") and node is not None:
            node = node if name(node) == "LogSoftmax" else _own_log_softmax(node)
            if any(node is other for _, other in known if other is not None):
                continue
        terms.append(term)
    return sorted(terms, key=lambda term: term.kind == "unknown")
