"""Text that stands in columns: its width in a terminal, padding, cutting, wrapping, and numbers of one form."""

import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from lastlayer.explanation.printing import short


class Piece(NamedTuple):
    """Some text of a line and its role: title, formula, number, bar, negative, true, note, good or bad."""

    text: str
    role: str = ""


def number(value: float) -> str:
    """A number with four decimals, so that decimal points stand under each other.

    >>> number(-0.5), number(1e-9), number(float("nan"))
    ('−0.5000', '1.000e−09', 'NaN')
    """
    if value == 0 or 1e-4 <= abs(value) < 99_999.5:
        return f"{value + 0.0:.4f}".replace("-", "−")
    return short(value)


def display_width(text: str) -> int:
    """Columns of a terminal: Korean letters take two, combining marks none."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def padded(text: str, width: int) -> str:
    """`text` with spaces behind it."""
    return text + " " * (width - display_width(text))


def padded_left(text: str, width: int) -> str:
    """`text` with spaces in front of it."""
    return " " * (width - display_width(text)) + text


def cut(text: str, width: int) -> str:
    """`text`, shortened to `width` if it is longer."""
    if display_width(text) <= width:
        return text
    while text and display_width(text) > width - 1:
        text = text[:-1]
    return f"{text}…"


def wrapped(text: str, width: int) -> Iterator[str]:
    """Lines of at most `width`; a longer word is broken."""
    line = ""
    for word in text.split():
        while display_width(word) > width:
            if line:
                yield line
                line = ""
            head = cut(word, width + 1).removesuffix("…")[:width]
            yield head
            word = word[len(head) :]
        if line and display_width(line) + 1 + display_width(word) > width:
            yield line
            line = ""
        line = f"{line} {word}" if line else word
    yield line
