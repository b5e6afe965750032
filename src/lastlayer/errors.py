"""Every exception that lastlayer raises on purpose.

Each says what was expected, what was found and what to do, and each is also the built-in exception that
PyTorch raises in the same place, so that code which already catches that keeps working::

    LastLayerError
    ├── ShapeError          (ValueError, RuntimeError)        sizes do not fit together
    ├── DtypeError          (TypeError, NotImplementedError)  a tensor or argument of the wrong type
    ├── DeviceError         (RuntimeError)                    tensors that are on different devices
    ├── TargetError         (IndexError)                      a class index that names no class
    ├── ProbabilityError    (ValueError, RuntimeError)        a probability outside [0, 1]
    ├── OptionError         (ValueError, RuntimeError)        an option has a value that it cannot take
    ├── TraceError          (ValueError)                      an explanation that was saved and cannot be read
    ├── MissingExtraError   (ImportError)                     an optional package is not installed
    ├── ConfigError         (ValueError)                      an unknown or unusable configuration key
    ├── DataError           (ValueError)                      labelled data that cannot be used as it is
    │   ├── DataNotFoundError   (FileNotFoundError)           no such path
    │   └── ColumnError         (KeyError)                    a column that the table does not have
    └── RunError            (ValueError)                      a run folder that cannot be read
        └── SaveError           (OSError)                     a run folder that cannot be written
"""

from collections.abc import Iterable


class LastLayerError(Exception):
    """The base of them all: ``except LastLayerError`` catches whatever lastlayer raises on purpose."""

    def __str__(self) -> str:
        # KeyError prints its argument's repr; every message here is a sentence and is printed as one.
        return str(self.args[0]) if self.args else ""


class ShapeError(LastLayerError, ValueError, RuntimeError):
    """Sizes do not fit together."""


class DtypeError(LastLayerError, TypeError, NotImplementedError):
    """A tensor has a dtype, or an argument a type, that the function does not take."""


class DeviceError(LastLayerError, RuntimeError):
    """Tensors that are used together are on different devices."""


class TargetError(LastLayerError, IndexError):
    """A class index names no class."""


class ProbabilityError(LastLayerError, ValueError, RuntimeError):
    """A value that has to be a probability lies outside [0, 1]."""


class OptionError(LastLayerError, ValueError, RuntimeError):
    """An option has a value that it cannot take, or two options exclude each other."""


class TraceError(LastLayerError, ValueError):
    """A saved explanation is damaged, or of another version."""


class MissingExtraError(LastLayerError, ImportError):
    """An optional package is not installed; the message holds the command that installs it."""


class ConfigError(LastLayerError, ValueError):
    """A configuration has an unknown key or a value of the wrong kind."""


class DataError(LastLayerError, ValueError):
    """Labelled data cannot be used as it is."""


class DataNotFoundError(DataError, FileNotFoundError):
    """There is nothing at the path that was given."""


class ColumnError(DataError, KeyError):
    """A table lacks a column that is needed."""


class RunError(LastLayerError, ValueError):
    """A run folder is incomplete, changed or of another format."""


class SaveError(RunError, OSError):
    """A run folder could not be written: no space, no permission, or something is there already."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the closest known word, or an empty string.

    >>> did_you_mean("specis", ["species", "island"])
    " Did you mean 'species'?"
    >>> did_you_mean("colour", ["species", "island"])
    ''
    """
    from difflib import get_close_matches

    lowered = {name.lower().strip(): name for name in known}
    close = get_close_matches(word.lower().strip(), lowered, n=1)
    return f" Did you mean '{lowered[close[0]]}'?" if close else ""


def printable(text: str, *, keep: str = "") -> str:
    r"""Text for a terminal: what would move the cursor or change colours is spelt out, but for characters to `keep`.

    >>> print(printable("a\x1b[31mb\nc"))
    a\x1b[31mb\nc
    """
    return "".join(
        letter if letter in keep or (letter.isprintable() or letter == "\xa0") else ascii(letter)[1:-1]
        for letter in text
    )
