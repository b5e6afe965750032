"""How a formula is written: one walk over the tree, and a notation each for text, LaTeX and MathML."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import isinf, isnan

from torch import Tensor

from lastlayer.explanation.expressions import Binary, Call, Expr, Number, Over, Symbol, look_up, size_of

_STRENGTH = {"=": 0, "+": 1, "−": 1, "·": 2, "/": 2, "^": 3}
_ATOM = 4
SHOWN_TERMS = 3
Order = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Numbers:
    """What to write in place of symbols.

    Attributes:
        values: The value of each symbol.
        places: Where each free index stands.
        order: Per summed index, the places from which a sum is spelt out.
    """

    values: Mapping[str, Tensor]
    places: Mapping[str, int]
    order: Order


@dataclass(frozen=True)
class _Piece:
    text: str
    strength: int = _ATOM
    negative: bool = False


class Notation:
    """Unicode on one line."""

    fractions = False  # whether a division is drawn as a fraction, which needs no parentheses

    def number(self, value: float) -> str:
        """A number for reading."""
        return short(value)

    def symbol(self, name: str, index: Sequence[str]) -> str:
        """A name and its indices."""
        return name + "".join(_SUBSCRIPTS.get(part, part) for part in index)

    def operation(self, sign: str, left: str, right: str) -> str:
        """Two operands, parenthesised already."""
        return f"{left}{_SUPERSCRIPT[right]}" if (sign, right) in _SUPERSCRIPTS else f"{left} {sign} {right}"

    def negation(self, inner: str) -> str:
        """Minus something."""
        return f"−{inner}"

    def parentheses(self, inner: str) -> str:
        """Something in parentheses."""
        return f"({inner})"

    def bracket(self, inner: str) -> str:
        """1 where `inner` holds."""
        return f"[{inner}]"

    def call(self, function: str, inner: str, bare: bool) -> str:
        """A function; `bare` says that its argument needs no parentheses."""
        return f"{function} {inner}" if bare else f"{function}({inner})"

    def over(self, function: str, index: str, term: str) -> str:
        """A sum or a largest in symbols."""
        return f"{function}{_SUBSCRIPTS[index]} {term}"

    def listed(self, function: str, terms: list[str]) -> str:
        """A largest, spelt out."""
        return f"{function}({', '.join(terms)})"

    def added(self, terms: list[str]) -> str:
        """A sum, spelt out."""
        return " + ".join(terms)


class Latex(Notation):
    """LaTeX in mathematical mode."""

    fractions = True

    def number(self, value: float) -> str:
        """Powers of ten as such."""
        text = short(value).replace("−", "-").replace("∞", r"\infty").replace("NaN", r"\mathrm{NaN}")
        digits, ten, power = text.partition("e")
        return rf"{digits} \times 10^{{{int(power)}}}" if ten else text

    def symbol(self, name: str, index: Sequence[str]) -> str:
        bare = name.rstrip("′")
        base = _LATEX_NAMES.get(bare, bare) + "'" * (len(name) - len(bare))
        return f"{base}_{{{' '.join(index)}}}" if index else base

    def operation(self, sign: str, left: str, right: str) -> str:
        if sign == "/":
            return rf"\frac{{{left}}}{{{right}}}"
        return f"{left}^{{{right}}}" if sign == "^" else f"{left} {_LATEX_SIGNS.get(sign, sign)} {right}"

    def negation(self, inner: str) -> str:
        return f"-{inner}"

    def parentheses(self, inner: str) -> str:
        return rf"\left({inner}\right)"

    def bracket(self, inner: str) -> str:
        return rf"\left[{inner}\right]"

    def call(self, function: str, inner: str, bare: bool) -> str:
        name = _LATEX_FUNCTIONS.get(function) or rf"\operatorname{{{function}}}"
        return rf"{name} {inner}" if bare else rf"{name}\left({inner}\right)"

    def over(self, function: str, index: str, term: str) -> str:
        return rf"{_LATEX_OVER[function]}_{{{index}}} {term}"

    def listed(self, function: str, terms: list[str]) -> str:
        shown = ", ".join(r"\ldots" if term == "…" else term for term in terms)
        return rf"{_LATEX_OVER[function]}\left({shown}\right)"

    def added(self, terms: list[str]) -> str:
        return " + ".join(r"\cdots" if term == "…" else term for term in terms)


class MathML(Notation):
    """Presentation MathML."""

    fractions = True

    def number(self, value: float) -> str:
        text = short(value)
        if text.startswith("−"):
            return f"<mrow><mo>−</mo>{self.number(-value)}</mrow>"
        digits, ten, power = text.partition("e")
        if ten:
            tens = f"<msup><mn>10</mn><mn>{escape(str(int(power.replace('−', '-')))).replace('-', '−')}</mn></msup>"
            return f"<mrow><mn>{digits}</mn><mo>×</mo>{tens}</mrow>"
        return f"<mn>{text}</mn>"

    def symbol(self, name: str, index: Sequence[str]) -> str:
        # one letter is italic by default; longer names stand upright
        base = f"<mi>{escape(name)}</mi>"
        if not index:
            return base
        below = "".join(part if part.startswith("<") else f"<mi>{escape(part)}</mi>" for part in index)
        return f"<msub>{base}<mrow>{below}</mrow></msub>"

    def operation(self, sign: str, left: str, right: str) -> str:
        if sign == "/":
            return f"<mfrac><mrow>{left}</mrow><mrow>{right}</mrow></mfrac>"
        if sign == "^":
            return f"<msup><mrow>{left}</mrow><mrow>{right}</mrow></msup>"
        return f"<mrow>{left}<mo>{sign}</mo>{right}</mrow>"

    def negation(self, inner: str) -> str:
        return f"<mrow><mo>−</mo>{inner}</mrow>"

    def parentheses(self, inner: str) -> str:
        return f"<mrow><mo>(</mo>{inner}<mo>)</mo></mrow>"

    def bracket(self, inner: str) -> str:
        return f"<mrow><mo>[</mo>{inner}<mo>]</mo></mrow>"

    def call(self, function: str, inner: str, bare: bool) -> str:
        name = "<msub><mi>log</mi><mn>2</mn></msub>" if function == "log₂" else f"<mi>{escape(function)}</mi>"
        body = inner if bare else self.parentheses(inner)
        gap = '<mspace width="0.17em"/>' if bare else "<mo>&#x2061;</mo>"
        return f"<mrow>{name}{gap}{body}</mrow>"

    def over(self, function: str, index: str, term: str) -> str:
        sign = "<mo>∑</mo>" if function == "Σ" else f"<mo>{'arg max' if function == 'argmax' else function}</mo>"
        return f"<mrow><munder>{sign}<mi>{index}</mi></munder>{term}</mrow>"

    def listed(self, function: str, terms: list[str]) -> str:
        inner = "<mo>,</mo>".join(f"<mo>{term}</mo>" if term == "…" else term for term in terms)
        return f"<mrow><mi>{'arg max' if function == 'argmax' else function}</mi>{self.parentheses(inner)}</mrow>"

    def added(self, terms: list[str]) -> str:
        return f"<mrow>{'<mo>+</mo>'.join(f'<mo>{t}</mo>' if t == '…' else t for t in terms)}</mrow>"


TEXT, LATEX, MATHML = Notation(), Latex(), MathML()


def symbols(tree: Expr, notation: Notation = TEXT) -> str:
    r"""Write the tree with its symbols.

    >>> symbols(Call("exp", Symbol("z", "j") - Symbol("m")))
    'exp(zⱼ − m)'
    >>> symbols(1 / Symbol("S"), LATEX)
    '\\frac{1}{S}'
    """
    return _write(tree, notation, None).text


def numbers(
    tree: Expr,
    values: Mapping[str, Tensor],
    places: Mapping[str, int] | None = None,
    order: Order | None = None,
    notation: Notation = TEXT,
) -> str:
    """Write the tree with the numbers in it; a sum over many is spelt out for the first few of `order`.

    >>> import torch
    >>> numbers(Call("exp", Symbol("d", "j")), {"d": torch.tensor([0.0, -2.0])}, {"j": 1})
    'exp(−2)'
    >>> numbers(Over("Σ", "k", Symbol("e", "k")), {"e": torch.tensor([1.0, 0.5, 0.25, 0.125])})
    '1 + 0.5 + 0.25 + …'
    """
    return _write(tree, notation, Numbers(values, places or {}, order or {})).text


def short(value: float) -> str:
    """Write a number for reading: four decimals at most, a real minus sign, powers of ten where they are needed.

    >>> short(-2.0), short(0.11892), short(1.23456e-9), short(2073600.0)
    ('−2', '0.1189', '1.235e−09', '2073600')
    """
    if isnan(value):
        return "NaN"
    if isinf(value):
        return "∞" if value > 0 else "−∞"
    size = abs(value)
    if value == int(value) and size < 1e12:
        return str(int(value)).replace("-", "−")
    text = f"{value:.3e}" if size and not 1e-4 <= size < 1e6 else f"{value:.4f}".rstrip("0").rstrip(".")
    return text.replace("-", "−")


def _write(tree: Expr, notation: Notation, numbers: Numbers | None) -> _Piece:
    match tree:
        case Number(value):
            return _Piece(notation.number(value), negative=value < 0)
        case Symbol():
            return _symbol(tree, notation, numbers)
        case Call("−", argument):
            inner = _write(argument, notation, numbers)
            loose = inner.strength < 3 or inner.negative
            text = notation.parentheses(inner.text) if loose else inner.text
            return _Piece(notation.negation(text), 2, negative=True)
        case Call("[]", argument):
            return _Piece(notation.bracket(_write(argument, notation, numbers).text))
        case Call(function, argument):
            inner = _write(argument, notation, numbers)
            bare = isinstance(argument, (Symbol, Number)) and not inner.negative
            return _Piece(notation.call(function, inner.text, bare), 3)
        case Over():
            return _over(tree, notation, numbers)
        case Binary(sign, left, right):
            return _operation(sign, _write(left, notation, numbers), _write(right, notation, numbers), notation)
    raise TypeError(f"not an expression: {tree!r}")


def _symbol(tree: Symbol, notation: Notation, numbers: Numbers | None) -> _Piece:
    if numbers is not None:
        value = look_up(tree, numbers.values, numbers.places)
        return _Piece(notation.number(value), negative=value < 0)
    index = list(tree.index)
    if tree.at is not None:
        index.append(_symbol(tree.at, notation, None).text if notation is not TEXT else f"[{symbols(tree.at)}]")
    return _Piece(notation.symbol(tree.name, index))


def _operation(sign: str, left: _Piece, right: _Piece, notation: Notation) -> _Piece:
    strength = _STRENGTH[sign]
    if notation.fractions and sign == "/":
        return _Piece(notation.operation(sign, left.text, right.text), 3)
    first = left.text
    if left.strength < strength or (sign == "^" and (left.strength < _ATOM or left.negative)):
        first = notation.parentheses(first)
    second = right.text
    free = notation.fractions and sign == "^"  # a raised exponent needs no parentheses
    if not free and (right.negative or right.strength < strength + (sign in "−/^")):
        second = notation.parentheses(second)
    return _Piece(notation.operation(sign, first, second), strength, negative=left.negative and strength > 1)


def _over(tree: Over, notation: Notation, numbers: Numbers | None) -> _Piece:
    if numbers is None:
        term = _write(tree.term, notation, None)
        text = notation.parentheses(term.text) if term.strength < 2 or term.negative else term.text
        return _Piece(notation.over(tree.function, tree.index, text), 2)
    count = size_of(tree, numbers.values)
    places = list(numbers.order.get(tree.index, range(count)))[:SHOWN_TERMS]
    terms = []
    for place in places:
        term = _write(
            tree.term, notation, Numbers(numbers.values, {**numbers.places, tree.index: place}, numbers.order)
        )
        wrap = tree.function == "Σ" and (term.negative or term.strength < 1)
        terms.append(notation.parentheses(term.text) if wrap else term.text)
    if count > len(places):
        terms.append("…")
    if tree.function == "Σ":
        return _Piece(notation.added(terms), 1 if len(terms) > 1 else 2)
    return _Piece(notation.listed(tree.function, terms))


_SUBSCRIPTS = {"i": "ᵢ", "j": "ⱼ", "k": "ₖ", "n": "ₙ", "m": "ₘ"}
_SUPERSCRIPT = {"2": "²"}
_SUPERSCRIPTS = {("^", "2")}
_LATEX_SIGNS = {"−": "-", "·": r"\cdot"}
_LATEX_OVER = {"Σ": r"\sum", "max": r"\max", "argmax": r"\operatorname*{arg\,max}"}
_LATEX_FUNCTIONS = {"exp": r"\exp", "log": r"\log", "σ": r"\sigma", "log₂": r"\log_2"}
_LATEX_NAMES = {
    "η": r"\eta",
    "ε": r"\varepsilon",
    "Δ": r"\Delta",
    "σ": r"\sigma",
    "ℓ": r"\ell",
    "ỹ": r"\tilde{y}",
    "ŷ": r"\hat{y}",
}
