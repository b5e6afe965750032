"""Rows of an input in chunks: what a stream is made of."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import overload

from lastlayer.classifier.data.rows import LeftOut, Rows

BLOCK = 4 * 2**20  # bytes of a text table at a time: about 20,000 rows of 20 numbers
PICTURES = 256  # of a folder at a time; they are decoded batch by batch


@dataclass(frozen=True)
class Chunk:
    """Some rows of an input, in order.

    Attributes:
        names: What each row is called.
        rows: Those that could be read; None where none could.
        problems: Why the others could not, by their place among `names`.
        mark: Tells whether an input still holds what it held here: a digest of the bytes, or of file sizes and times.
        left_out: What stands among them and is no input, such as a text file in a folder of images.
        done: How far the source is read, as (so much, of so much); None where nobody knows.
    """

    names: list[str]
    rows: Rows | None
    problems: dict[int, str] = field(default_factory=dict)
    mark: bytes = b""
    left_out: tuple[LeftOut, ...] = ()
    done: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def readable(self) -> list[int]:
        """The places of `rows` among all."""
        return [place for place in range(len(self)) if place not in self.problems]

    def digest(self, before: bytes) -> bytes:
        """What identifies this chunk and all before it, given what identifies those before it."""
        return hashlib.sha256(
            before + f"{len(self)} {self.names[0] if self.names else ''} ".encode() + self.mark
        ).digest()


class Numbered(Sequence[str]):
    """Names that are numbers: stem#1, stem#2, …, made when somebody asks for one.

    >>> Numbered("row", 3)[1], len(Numbered("row", 3))
    ('row#2', 3)
    """

    def __init__(self, stem: str, count: int) -> None:
        self.stem, self.rows = stem, range(1, count + 1)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, row: int) -> str: ...

    @overload
    def __getitem__(self, row: slice) -> list[str]: ...

    def __getitem__(self, row: int | slice) -> str | list[str]:
        if isinstance(row, slice):
            return [f"{self.stem}#{number}" for number in self.rows[row]]
        return f"{self.stem}#{self.rows[row]}"


def of_rows(rows: Rows, size: int) -> Iterator[Chunk]:
    """Rows that are read already, `size` at a time."""
    for start in range(0, len(rows), size):
        part = rows.select(range(start, min(start + size, len(rows))))
        mark = hashlib.sha256("\n".join(part.names).encode()).digest()
        yield Chunk(
            part.names,
            part,
            mark=mark,
            left_out=rows.left_out if start == 0 else (),
            done=(start + len(part), len(rows)),
        )
