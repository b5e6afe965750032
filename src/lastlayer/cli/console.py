"""What the verbs show with: tables and colours in a terminal, plain lines in a pipe."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.text import Text


def out() -> Console:
    """Results go to standard output."""
    return _console(sys.stdout)


def err() -> Console:
    """What is said on the way goes to standard error."""
    return _console(sys.stderr)


def _console(file: Any) -> Console:
    # A pipe gets lines as long as they are; a terminal gets them wrapped at its width.
    return Console(file=file, highlight=False, emoji=False, markup=False, soft_wrap=not file.isatty())


@contextmanager
def loading() -> Iterator[None]:
    """Say in a terminal why nothing happens yet: PyTorch takes seconds to import."""
    console = err()
    if not console.is_terminal:
        yield
        return
    with console.status("Loading PyTorch", spinner="dots"):
        yield


def print_json(value: Any) -> None:
    """Print one JSON value, and nothing else, to standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")


def print_lines(console: Console, lines: Iterable[Sequence[tuple[str, str]]]) -> None:
    """Print lines made of (text, role) pieces."""
    for line in lines:
        text = Text(no_wrap=True, overflow="ignore")
        for piece, role in line:
            text.append(piece, style=STYLES.get(role, ""))
        text.rstrip()
        console.print(text, soft_wrap=True)


STYLES = {
    "title": "bold",
    "formula": "cyan",
    "bar": "blue",
    "negative": "red",
    "true": "bold green",
    "note": "bright_black",
    "good": "green",
    "bad": "bold red",
    "number": "",
}
