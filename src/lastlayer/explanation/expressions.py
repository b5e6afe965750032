"""Formulas as small trees: one tree prints with its symbols, or with the numbers in them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isinf, isnan

from torch import Tensor

_SUBSCRIPTS = {"j": "ⱼ", "k": "ₖ"}
_STRENGTH = {"+": 1, "−": 1, "·": 2, "/": 2}
_SHOWN_TERMS = 3


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

    def __truediv__(self, other: "Expr | float") -> "Binary":
        return Binary("/", self, expr(other))

    def __rtruediv__(self, other: float) -> "Binary":
        return Binary("/", expr(other), self)

    def __neg__(self) -> "Call":
        return Call("−", self)


@dataclass(frozen=True)
class Number(Expr):
    """A constant."""

    value: float


@dataclass(frozen=True)
class Symbol(Expr):
    """A named value: of the whole row, or with an index j (each class) or k (summed over)."""

    name: str
    index: str | None = None


@dataclass(frozen=True)
class Call(Expr):
    """A function of one argument; the name "−" is negation."""

    function: str
    argument: Expr


@dataclass(frozen=True)
class Binary(Expr):
    """Two operands."""

    operator: str
    left: Expr
    right: Expr


@dataclass(frozen=True)
class Sum(Expr):
    """The sum over k of `term`, or the largest (`function` "max")."""

    term: Expr
    function: str = "Σ"


def expr(value: Expr | float) -> Expr:
    """Return `value` as a tree."""
    return value if isinstance(value, Expr) else Number(value)


def symbols(tree: Expr) -> str:
    """Print the tree with its symbols.

    >>> symbols(Call("exp", Symbol("z", "j") - Symbol("m")))
    'exp(zⱼ − m)'
    """
    return _print(tree, lambda leaf: leaf.name + _SUBSCRIPTS.get(leaf.index or "", ""))


def numbers(tree: Expr, values: Mapping[str, Tensor], row: int = 0, order: Sequence[int] | None = None) -> str:
    """Print the tree with the numbers in it, those of class `row` where it has an index j.

    A sum over many classes is spelt out for the first few of `order`.

    >>> import torch
    >>> numbers(Call("exp", Symbol("d", "j")), {"d": torch.tensor([0.0, -2.0])}, row=1)
    'exp(−2)'
    >>> numbers(Sum(Symbol("e", "k")), {"e": torch.tensor([1.0, 0.5, 0.25, 0.125])})
    '1 + 0.5 + 0.25 + …'
    """

    def value_of(place: int) -> Callable[[Symbol], str]:
        def leaf(symbol: Symbol) -> str:
            value = values[symbol.name]
            return short(float(value if value.dim() == 0 else value[place]))

        return leaf

    def terms(term: Expr) -> list[str]:
        count = max((len(values[leaf.name]) for leaf in _leaves(term) if values[leaf.name].dim()), default=1)
        places = range(count) if order is None else order
        shown = [_print(term, value_of(place)) for place in places[:_SHOWN_TERMS]]
        return shown if count <= _SHOWN_TERMS else [*shown, "…"]

    return _print(tree, value_of(row), terms)


def short(value: float) -> str:
    """Print a number for reading: four decimals at most, a real minus sign, powers of ten where they are needed.

    >>> short(-2.0), short(0.11892), short(1.23456e-9)
    ('−2', '0.1189', '1.235e−09')
    """
    if isnan(value):
        return "NaN"
    if isinf(value):
        return "∞" if value > 0 else "−∞"
    size = abs(value)
    text = f"{value:.3e}" if size and not 1e-4 <= size < 1e6 else f"{value:.4f}".rstrip("0").rstrip(".")
    return text.replace("-", "−")


def _print(
    tree: Expr, leaf: Callable[[Symbol], str], terms: Callable[[Expr], list[str]] | None = None, above: int = 0
) -> str:
    """Print the tree; `above` is the strength of the operator around it, `terms` spells a sum out."""
    match tree:
        case Number(value):
            return short(value)
        case Symbol():
            return leaf(tree)
        case Call("−", argument):
            return f"−{_in_parentheses(_print(argument, leaf, terms, 3))}"
        case Call(function, argument):
            inner = _print(argument, leaf, terms)
            bare = isinstance(argument, Symbol) and not inner.startswith("−")
            return f"{function} {inner}" if bare else f"{function}({inner})"
        case Sum(term, "max"):
            return f"max({', '.join(terms(term))})" if terms else f"maxₖ {_print(term, leaf, terms, 3)}"
        case Sum(term):
            text = " + ".join(map(_in_parentheses, terms(term))) if terms else f"Σₖ {_print(term, leaf, terms, 2)}"
            return f"({text})" if terms and above > 1 else text
        case Binary(operator, left, right):
            strength = _STRENGTH[operator]
            first = _print(left, leaf, terms, strength)
            second = _in_parentheses(_print(right, leaf, terms, strength + (operator in "−/")))
            text = f"{first} {operator} {second}"
            return f"({text})" if strength < above else text
    raise TypeError(f"not an expression: {tree!r}")


def _in_parentheses(text: str) -> str:
    """A negative number behind an operator gets parentheses: 4 − (−2)."""
    return f"({text})" if text.startswith("−") else text


def _leaves(tree: Expr) -> list[Symbol]:
    match tree:
        case Symbol():
            return [tree]
        case Call(_, argument):
            return _leaves(argument)
        case Sum(term):
            return _leaves(term)
        case Binary(_, left, right):
            return _leaves(left) + _leaves(right)
    return []
