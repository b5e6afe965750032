"""How messages call a setting: by its flag where the command line runs, by its argument in Python."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager

_spoken = {"flags": False}


@contextmanager
def in_flags() -> Iterator[None]:
    """Speak of flags within: the command line does."""
    before = _spoken["flags"]
    _spoken["flags"] = True
    try:
        yield
    finally:
        _spoken["flags"] = before


def option(name: str, value: object = None) -> str:
    """A setting as the reader would type it; True is a bare flag.

    >>> option("task", "multiclass"), option("target")
    ("task='multiclass'", 'target')
    >>> with in_flags():
    ...     option("task", "multiclass"), option("drop_unlabelled", True)
    ('--task multiclass', '--drop-unlabelled')
    """
    if not _spoken["flags"]:
        return name if value is None else f"{name}={value!r}"
    flag = f"--{name.replace('_', '-')}"
    return flag if value is None or value is True else f"{flag} {shlex.quote(str(value))}"
