"""The way from what a loss was given down to the layer that made it."""

from dataclasses import dataclass
from typing import Any

import torch

from lastlayer.graph.axes import Axis
from lastlayer.graph.nodes import (
    LAYERS,
    OPERATIONS,
    SAME_NUMBERS,
    Node,
    children,
    is_python,
    name,
    number_of,
    saved,
    signed,
)
from lastlayer.graph.wiring import Op

_STEPS = 40  # nobody puts more than this between a layer and its loss
_SQUASHING = {"softmax", "log_softmax", "sigmoid", "logsigmoid", "log", "relu", "exp"}


@dataclass(frozen=True)
class Way:
    """Operations on the way down, how it ended, and whether axes were moved."""

    path: tuple[Op, ...]
    end: str
    moved: bool
    views: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]


def descend(node: Node | None, axis: Axis, leaf: bool = True) -> Way:
    """Follow the single way down from `node`."""
    path: list[Op] = []
    end = "constant"
    for _ in range(_STEPS):
        if node is None:
            break
        kind = name(node)
        if kind in SAME_NUMBERS:
            axis.through(node)
        elif (op := operation(node, axis)) is not None:
            path.append(op)
            if op.name == "log_softmax" and kind == "Sub":  # z − log Σ exp z: go on below z
                node = _below_shift(node)
        else:
            end = _ending(node)
            break
        below = [] if node is None else children(node)
        node = below[0] if below else None
    return Way(tuple(path), end, axis.moved, tuple(axis.views))


def operation(node: Node, axis: Axis) -> Op | None:
    """What a rule would call this node; None for a layer, a join, or what has no name here."""
    kind = name(node)
    if kind in OPERATIONS:
        return _named(node, OPERATIONS[kind], axis)
    if kind == "_ByHand":
        return _ours(node, axis)
    if kind in ("Mul", "Div", "Add", "Sub", "Rsub"):
        return _arithmetic(node, kind, axis)
    return None


def _ours(node: Node, axis: Axis) -> Op | None:
    """lastlayer's own functions carry the name of their rule and what they were called with."""
    called = str(getattr(node.rule, "name", ""))
    if called in ("softmax", "log_softmax"):
        x, *rest = node._forward_cls.arguments(node)
        dim = (rest[0] if len(rest) == 2 else -1) % x.dim()  # compiled kernels work along the last axis
        shape = tuple(x.shape)
        result = getattr(torch, called)(x.detach(), dim)
        return Op(called, result, dim, shape, axis.is_class_axis(dim, shape))
    return Op(called, shape=axis.shape) if called in ("sigmoid", "logsigmoid", "softplus", "logit") else None


def _named(node: Node, called: str, axis: Axis) -> Op:
    result = saved(node, "self" if called == "log" else "result")
    shape = axis.shape if result is None else tuple(result.shape)
    dim = saved(node, "dim") if called in ("softmax", "log_softmax") else None
    if isinstance(dim, int):
        dim = signed(dim)
        dim = dim % len(shape) if shape else dim
    number = None
    if called == "clamp":
        bound = saved(node, "min") if saved(node, "min") is not None else saved(node, "min_val")
        number = number_of(bound)
    return Op(called, result, dim, shape, axis.is_class_axis(dim, shape), number)


def _arithmetic(node: Node, kind: str, axis: Axis) -> Op | None:
    below = children(node)
    if len(below) == 1:
        if kind in ("Mul", "Div"):
            factor = number_of(saved(node, "other"))
            if factor is None and saved(node, "self") is not None:
                factor = number_of(saved(node, "self"))
            return None if factor is None else Op("scale", shape=axis.shape, number=factor)
        return Op({"Rsub": "subtract_from"}.get(kind, "add"), shape=axis.shape)
    if kind == "Sub" and len(below) == 2 and _is_normaliser(below[1]):
        return Op("log_softmax", shape=axis.shape, dim=axis.axis, on_classes=axis.axis is not None or None)
    return None


def _is_normaliser(node: Node) -> bool:
    """log Σ exp, or the log1p that lastlayer's own log-softmax subtracts."""
    for _ in range(4):
        if name(node) in ("Logsumexp", "Log1P"):
            return True
        below = children(node)
        if name(node) not in SAME_NUMBERS or not below:
            return False
        node = below[0]
    return False


def _below_shift(node: Node) -> Node:
    """The node whose first child is z: below z − max z there is another subtraction, of the same z."""
    inner = children(node)[0]
    return inner if name(inner) == "Sub" and len(children(inner)) == 2 else node


def _ending(node: Node) -> str:
    """How a way ends at a node that has no name here."""
    kind = name(node)
    if kind == "AccumulateGrad":
        return "leaf"
    if kind in LAYERS:
        return "layer"
    if hidden(node):
        return "hidden"
    return "unclear" if _activation_below(node, 6) else "join"


def _activation_below(node: Node, depth: int) -> bool:
    """Whether an activation, or something that may hide one, feeds `node` without a layer between."""
    for below in children(node):
        kind = name(below)
        if OPERATIONS.get(kind) in _SQUASHING or kind == "_ByHand" or hidden(below):
            return True
        if kind not in LAYERS and kind != "AccumulateGrad" and depth and _activation_below(below, depth - 1):
            return True
    return False


def hidden(node: Node) -> str | None:
    """Why what lies here cannot be read, or None where it can."""
    kind = name(node)
    if kind.startswith("CompiledFunction") or "AOTDispatch" in kind:
        return "compiled"
    if kind.startswith("CheckpointFunction"):
        return "checkpointed"
    return "custom" if is_python(node) and kind not in ("_ByHand", "_LinearByHand") else None


def tensor_shape(tensor: Any) -> tuple[int, ...] | None:
    """The shape of a saved tensor, where there is one."""
    return None if tensor is None else tuple(tensor.shape)
