"""The style sheets of a trace in HTML; each rule of `trace.css` stands under one class and changes nothing else."""

from functools import cache
from pathlib import Path


@cache
def sheet(name: str) -> str:
    """The text of `page.css` or `trace.css`, which stand beside this file."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
