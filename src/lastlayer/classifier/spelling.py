"""Costs, shares and weights given in Python, as the text that a flag or YAML would hold."""

from collections.abc import Mapping
from pathlib import Path


def as_text(value: object) -> object:
    """The text that says the same; a text stays as it is.

    >>> as_text([[0, 1], [5, 0]]), as_text({"spam": 0.01}), as_text({"spam": (1, 5)})
    ('0,1;5,0', 'spam=0.01', 'spam=1:5')
    """
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return ",".join(f"{quoted(str(name))}={number(each)}" for name, each in value.items())
    plain = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(plain, (list, tuple)) and plain and all(isinstance(row, (list, tuple)) for row in plain):
        return ";".join(",".join(map(number, row)) for row in plain)
    return number(plain) if isinstance(plain, (int, float)) and not isinstance(plain, bool) else plain


def number(value: object) -> str:
    """A number with all its digits; of several, with a colon between.

    >>> number(5.0), number(0.1), number((1, 2.5))
    ('5', '0.1', '1:2.5')
    """
    if isinstance(value, (list, tuple)):
        return ":".join(map(number, value))
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def quoted(name: str) -> str:
    """A name as it stands among others with commas between."""
    return f'"{name}"' if "," in name else name
