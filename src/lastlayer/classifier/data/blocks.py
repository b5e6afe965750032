"""Bytes as they come, and the whole lines in them."""

import codecs
import re
import time
from collections.abc import Iterator
from pathlib import Path
from select import select
from typing import Any, BinaryIO

from lastlayer.classifier.data.chunks import BLOCK
from lastlayer.errors import DataError

_LONGEST = 64 * 2**20  # bytes of a line; what is longer is no table
_SILENCE, _PATIENCE = 0.01, 0.05  # seconds: how long a pause ends a block, and how long the first byte waits at most
_MARK = "lastlayer.mark"
_BASE = 0xDC00
_MARKS = (b"\xff\xfe", b"\xfe\xff")  # how UTF-16 begins
_BAD = re.compile("[\udc00-\udcff]")


def _marked(error: UnicodeError) -> tuple[str, int]:
    """A byte that is no text becomes a code point that no text holds, and is found in its row later."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(_BASE + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error(_MARK, _marked)


def bad_byte(text: str) -> int | None:
    """The first byte in a text that was none (a zero byte counts), or None."""
    found = _BAD.search(text)
    return None if found is None else ord(found[0]) - _BASE


def of_file(path: Path) -> Iterator[tuple[bytes, int]]:
    """The blocks of a file, with the number of bytes read so far."""
    read = 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            read += len(block)
            yield block, read


def as_they_come(file: Any) -> Iterator[bytes]:
    """The bytes of a pipe as soon as there are any: what comes without a pause is one block."""
    if not hasattr(file, "read1"):
        content = file.read()
        if content:
            yield content
        return
    while first := file.read1(BLOCK):
        parts, size, until = [first], len(first), time.monotonic() + _PATIENCE
        while size < BLOCK and time.monotonic() < until and _more(file):
            part = file.read1(BLOCK - size)
            if not part:
                break
            parts.append(part)
            size += len(part)
        yield b"".join(parts)


def _more(file: BinaryIO) -> bool:
    """Whether more bytes are there, or come at once; False where the system cannot tell."""
    try:
        return bool(select([file.fileno()], [], [], _SILENCE)[0])
    except (OSError, ValueError, AttributeError):
        return False


class WholeLines:
    """Blocks in, whole lines out, in UTF-8 whatever they were written in.

    Args:
        name: Of the source, for messages.
        encoding: Of its bytes.
        returns: Whether a lone carriage return ends a line, too.
    """

    def __init__(self, name: str, encoding: str, *, returns: bool = True) -> None:
        self.name, self.encoding, self.returns = name, encoding, returns
        try:
            utf8 = codecs.lookup(encoding).name in ("utf-8", "utf-8-sig", "ascii")
            self.decoder = None if utf8 else codecs.getincrementaldecoder(encoding)(_MARK)
        except LookupError as error:
            raise DataError(f"there is no encoding {encoding!r} of text. Try utf-8, cp949 or latin-1.") from error
        self.held = b""
        self.begun = False

    def feed(self, block: bytes, last: bool) -> bytes:
        """Return the lines that are whole now; all that is left where this is the `last` block."""
        if self.decoder is not None:
            block = self.decoder.decode(block, last).encode("utf-8", "surrogatepass")
        content = self.held + block
        # The last byte may be half of \r\n.
        lone = content.rfind(b"\r", 0, -1) if self.returns else -1
        end = len(content) if last else max(content.rfind(b"\n"), lone) + 1
        self.held, whole = content[end:], content[:end]
        if len(self.held) > _LONGEST:
            raise DataError(
                f"{self.name} has a line of more than {_LONGEST >> 20} MiB: it is no table of text. Is it another "
                "kind of file?"
            )
        if whole and not self.begun:
            self.begun = True
            whole = whole.removeprefix(codecs.BOM_UTF8)  # Excel begins UTF-8 with it
        return whole

    def text(self, lines: bytes) -> str:
        """Lines as text, in which `bad_byte` finds what was none."""
        text = lines.decode("utf-8", _MARK if self.decoder is None else "surrogatepass")
        return text.replace("\0", chr(_BASE)) if "\0" in text else text

    def says(self, byte: int) -> str:
        """What is wrong with a row that holds a byte that is no text."""
        if byte == 0:
            return "it holds a zero byte: expected text"
        return f"it holds the byte {byte:#04x}, which is not {self.encoding}"


def begins_as_utf16(content: bytes) -> bool:
    """Whether the first two bytes are those of UTF-16."""
    return content.startswith(_MARKS)
