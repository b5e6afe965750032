"""Formulas as small trees. One tree prints with its symbols or with the numbers in it, and can be worked out."""

import math
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lastlayer.errors import OptionError


class Expr:
    """A node; the operators build trees."""

    def __add__(self, other: "Expr | float") -> "Binary":
        return Binary("+", self, expr(other))

    def __sub__(self, other: "Expr | float") -> "Binary":
        return Binary("−", self, expr(other))

    def __rsub__(self, other: float) -> "Binary":
        return Binary("−", expr(other), self)

    def __radd__(self, other: float) -> "Binary":
        return Binary("+", expr(other), self)

    def __mul__(self, other: "Expr | float") -> "Binary":
        return Binary("·", self, expr(other))

    def __rmul__(self, other: float) -> "Binary":
        return Binary("·", expr(other), self)

    def __truediv__(self, other: "Expr | float") -> "Binary":
        return Binary("/", self, expr(other))

    def __rtruediv__(self, other: float) -> "Binary":
        return Binary("/", expr(other), self)

    def __pow__(self, other: "Expr | float") -> "Binary":
        return Binary("^", self, expr(other))

    def __rpow__(self, other: float) -> "Binary":
        return Binary("^", expr(other), self)

    def __neg__(self) -> "Call":
        return Call("−", self)


@dataclass(frozen=True)
class Number(Expr):
    """A constant."""

    value: float


@dataclass(frozen=True)
class Symbol(Expr):
    """A named value and the indices of its axes, a letter each: z of class j in row i is `Symbol("z", "ij")`.

    i counts rows, j classes, m features; k is a class and n a row that a sum runs over. `at` is a last index that is
    itself a value: `Symbol("p", "i", at=Symbol("y", "i"))` is the p of row i at class yᵢ.
    """

    name: str
    index: str = ""
    at: "Symbol | None" = None


@dataclass(frozen=True)
class Call(Expr):
    """A function of one argument; the name "−" is negation, "[]" is 1 where the argument holds and 0 elsewhere."""

    function: str
    argument: Expr


@dataclass(frozen=True)
class Binary(Expr):
    """Two operands."""

    operator: str
    left: Expr
    right: Expr


@dataclass(frozen=True)
class Over(Expr):
    """A function of `term` for every `index`: the sum ("Σ"), the largest ("max") or where it is ("argmax")."""

    function: str
    index: str
    term: Expr


def total(term: Expr, index: str = "k") -> Over:
    """The sum of `term` over `index`."""
    return Over("Σ", index, term)


def largest(term: Expr, index: str = "k") -> Over:
    """The largest `term`."""
    return Over("max", index, term)


def exp(argument: Expr) -> Call:
    """The exponential function."""
    return Call("exp", argument)


def log(argument: Expr) -> Call:
    """The natural logarithm."""
    return Call("log", argument)


def expr(value: Expr | float) -> Expr:
    """Return `value` as a tree."""
    return value if isinstance(value, Expr) else Number(value)


def leaves(tree: Expr) -> Iterator[Symbol]:
    """Every symbol of the tree, from left to right; those inside an index too."""
    match tree:
        case Symbol(at=at):
            yield tree
            if at is not None:
                yield at
        case Call(argument=inner) | Over(term=inner):
            yield from leaves(inner)
        case Binary(left=left, right=right):
            yield from leaves(left)
            yield from leaves(right)


def size_of(tree: Over, values: Mapping[str, Tensor]) -> int:
    """How many terms the tree runs over."""
    sizes = (values[s.name].shape[s.index.index(tree.index)] for s in leaves(tree.term) if tree.index in s.index)
    return next(sizes, 1)


def look_up(symbol: Symbol, values: Mapping[str, Tensor], places: Mapping[str, int]) -> float:
    """The number that a symbol stands for, with its indices at `places`."""
    index = [places[letter] for letter in symbol.index]
    if symbol.at is not None:
        index.append(int(look_up(symbol.at, values, places)))
    value = values[symbol.name]
    if any(not 0 <= place < size for place, size in zip(index, value.shape, strict=True)):
        return math.nan  # the index of a row that is ignored names no class
    return float(value[tuple(index)])


def worked_out(tree: Expr, values: Mapping[str, Tensor], places: Mapping[str, int] | None = None) -> float:
    """The number that comes of the tree, in float64 and as it is written: no shift, no care.

    >>> import torch
    >>> z = torch.tensor([4.0, 2.0, -2.0])
    >>> round(worked_out(log(total(exp(Symbol("z", "k")))) - Symbol("z", "j"), {"z": z}, {"j": 0}), 4)
    0.1291
    """
    places = places or {}
    match tree:
        case Number(value):
            return value
        case Symbol():
            return look_up(tree, values, places)
        case Call(function, argument):
            return _FUNCTIONS[function](worked_out(argument, values, places))
        case Binary("·", left, right):
            first = worked_out(left, values, places)
            return 0.0 if first == 0 else first * worked_out(right, values, places)  # 0 · log 0 is 0
        case Binary(sign, left, right):
            return _OPERATORS[sign](worked_out(left, values, places), worked_out(right, values, places))
        case Over(function, index, term):
            count = size_of(tree, values)
            found = [worked_out(term, values, {**places, index: place}) for place in range(count)]
            if function == "argmax":
                return float(max(range(count), key=found.__getitem__))
            return math.fsum(found) if function == "Σ" else max(found)
    raise TypeError(f"not an expression: {tree!r}")


def to_plain(tree: Expr) -> Any:
    """The tree as lists, strings and numbers, for JSON.

    >>> to_plain(exp(Symbol("z", "j")))
    ['exp', ['z', 'j']]
    """
    match tree:
        case Number(value):
            return value
        case Symbol(name, index, None):
            return [name, index]
        case Symbol(name, index, at):
            return [name, index, to_plain(expr(at))]  # type: ignore[arg-type]  # at is a symbol here
        case Call(function, argument):
            return [f"call:{function}" if function not in ("exp", "log") else function, to_plain(argument)]
        case Binary(sign, left, right):
            return [f"op:{sign}", to_plain(left), to_plain(right)]
        case Over(function, index, term):
            return [f"over:{function}", index, to_plain(term)]
    raise TypeError(f"not an expression: {tree!r}")


def from_plain(plain: Any) -> Expr:
    """Undo `to_plain`.

    >>> from_plain(["exp", ["z", "j"]])
    Call(function='exp', argument=Symbol(name='z', index='j', at=None))
    """
    match plain:
        case int() | float():
            return Number(plain)
        case ["exp" | "log" as function, [*argument]]:
            return Call(function, from_plain(argument))
        case ["exp" | "log" as function, int() | float() as argument]:
            return Call(function, Number(argument))
        case [str(word), argument] if word.startswith("call:"):
            return Call(word[5:], from_plain(argument))
        case [str(word), left, right] if word.startswith("op:"):
            return Binary(word[3:], from_plain(left), from_plain(right))
        case [str(word), str(index), term] if word.startswith("over:"):
            return Over(word[5:], index, from_plain(term))
        case [str(name), str(index)]:
            return Symbol(name, index)
        case [str(name), str(index), at]:
            return Symbol(name, index, from_plain(at))  # type: ignore[arg-type]  # an index is a symbol
    raise OptionError(f"expected an expression as nested lists, got {plain!r}.")


def _exp(x: float) -> float:
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf


def _divide(x: float, y: float) -> float:
    if y:
        return x / y
    return math.nan if x == 0 or math.isnan(x) else math.copysign(math.inf, x)


_FUNCTIONS: dict[str, Callable[[float], float]] = {
    "exp": _exp,
    "log": lambda x: math.log(x) if x > 0 else -math.inf if x == 0 else math.nan,
    "log₂": lambda x: math.log2(x) if x > 0 else -math.inf if x == 0 else math.nan,
    "−": operator.neg,
    "σ": lambda x: 1 / (1 + _exp(-x)),
    "[]": float,
}
_OPERATORS: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "−": operator.sub,
    "/": _divide,
    "^": operator.pow,
    "=": operator.eq,
}
