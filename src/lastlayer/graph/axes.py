"""Where the class axis was before a view, a transposition or a slice."""

from typing import Any

from lastlayer.graph.nodes import Node, name, saved, signed


class Axis:
    """The shape of the tensor that is looked at on the way down, and which of its axes the classes are on.

    Args:
        shape: At the loss; None where it is not known.
        axis: The class axis, counted from the front; None where it is not known.
    """

    def __init__(self, shape: tuple[int, ...] | None, axis: int | None) -> None:
        self.shape, self.axis = shape, axis
        self.classes = None if shape is None or axis is None else shape[axis]
        self.moved = False
        self.views: list[tuple[tuple[int, ...], tuple[int, ...]]] = []

    def through(self, node: Node) -> None:
        """Go below `node`, one of `SAME_NUMBERS`."""
        kind = name(node)
        before = saved(node, "self_sym_sizes")
        if kind in ("Transpose", "Permute", "T", "Mt"):
            self.moved = True
            self._permuted(node, kind)
        elif before is not None:
            self._resized(tuple(int(size) for size in before), kind, node)
        elif kind == "Unsqueeze":
            self._dropped(signed(saved(node, "dim") or 0))

    def _permuted(self, node: Node, kind: str) -> None:
        if self.shape is None:
            return
        order = list(range(len(self.shape)))
        if kind == "Permute":
            order = [signed(dim) % len(order) for dim in saved(node, "dims")]
        elif len(order) > 1:
            first, second = (0, 1) if kind in ("T", "Mt") else (saved(node, "dim0"), saved(node, "dim1"))
            first, second = signed(first) % len(order), signed(second) % len(order)
            order[first], order[second] = order[second], order[first]
        if self.axis is not None:
            self.axis = order[self.axis]
        before = [0] * len(order)
        for after, place in enumerate(order):
            before[place] = self.shape[after]
        self.shape = tuple(before)

    def _resized(self, before: tuple[int, ...], kind: str, node: Node) -> None:
        after, axis = self.shape, self.axis
        self.shape = before
        if kind in ("View", "UnsafeView", "ReshapeAlias") and after is not None:
            self.views.append((before, after))
        if after is None or axis is None:
            return
        if len(before) == len(after) and (kind not in ("View", "ReshapeAlias") or before[axis] == after[axis]):
            return  # the same axes, fewer or more entries
        if kind == "Select":
            self.axis = axis + 1 if signed(saved(node, "dim")) % len(before) <= axis else axis
        elif axis == len(after) - 1 and before and before[-1] == after[-1]:
            self.axis = len(before) - 1
        elif before[: axis + 1] == after[: axis + 1]:
            pass  # what lies behind the class axis was folded
        else:
            self.axis = None

    def _dropped(self, dim: int) -> None:
        if self.shape is None:
            return
        dim %= len(self.shape)
        self.shape = self.shape[:dim] + self.shape[dim + 1 :]
        if self.axis is not None:
            self.axis = None if self.axis == dim else self.axis - (dim < self.axis)

    def is_class_axis(self, dim: int | None, shape: Any) -> bool | None:
        """Whether axis `dim` of a result of `shape` holds the classes."""
        if dim is None or self.classes is None:
            return None
        if self.axis is not None:
            return dim == self.axis
        # The axis was lost in a view: only a size that is not the classes' is proof.
        return None if shape is None or shape[dim] == self.classes else False
