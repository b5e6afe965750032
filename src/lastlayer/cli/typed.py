"""Numbers, names and settings as people type them."""

import re
from collections.abc import Sequence
from typing import Any

from lastlayer.errors import ConfigError, did_you_mean

_MINUS = str.maketrans("−–﹣－", "----")
_TYPES = {
    "temperature": float,
    "label_smoothing": float,
    "threshold": float,
    "learning_rate": float,
    "ignore_index": int,
}


def numbers(text: str, flag: str = "--logits") -> list[float]:
    """Read numbers with commas, semicolons or spaces between; a real minus sign is allowed.

    >>> numbers("4, 2 −2")
    [4.0, 2.0, -2.0]
    """
    words = [word for word in re.split(r"[,;\s]+", text.translate(_MINUS).strip("[]() ")) if word]
    try:
        return [float(word) for word in words]
    except ValueError as error:
        raise ConfigError(f"{flag} has to be numbers such as 4,2,-2: {error}.") from None


def rows(text: str, flag: str = "--logits") -> list[list[float]]:
    """Read rows of numbers with a slash between.

    >>> rows("4,2 / 1,0")
    [[4.0, 2.0], [1.0, 0.0]]
    """
    found = [numbers(part, flag) for part in text.split("/")]
    lengths = sorted({len(row) for row in found})
    if len(lengths) > 1:
        raise ConfigError(f"every row of {flag} needs as many numbers: got rows of {lengths[0]} and of {lengths[-1]}.")
    return found


def words(text: str | None) -> list[str] | None:
    """Read names with commas between."""
    return None if text is None else [word.strip() for word in text.split(",")]


def one_class(word: str, names: Sequence[str] | None) -> int | str:
    """A name, or a number that is no name."""
    word = word.translate(_MINUS) if word not in (names or ()) else word
    return int(word) if re.fullmatch(r"-?\d+", word) and word not in (names or ()) else word


def target(text: str | None, names: Sequence[str] | None, kind: str, count: int) -> Any:
    """Read what is true: a class, several labels, a class per row, or probabilities (all with a point in them)."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if kind == "multilabel":
        return [one_class(part, names) for part in parts]
    if count > 1:
        return [one_class(part, names) for part in parts]
    if len(parts) > 1 and all(re.fullmatch(r"[\d.eE+-]+", part) for part in parts):
        return [float(number) for number in numbers(text, "--target")]
    return one_class(text, names)


def settings(given: Sequence[str], known: Sequence[str]) -> dict[str, Any]:
    """Read NAME=VALUE.

    >>> settings(["dtype=float16", "temperature=2"], ["dtype", "temperature"])
    {'dtype': 'float16', 'temperature': 2.0}
    """
    found: dict[str, Any] = {}
    for one in given:
        name, sign, value = one.partition("=")
        name = name.strip().replace("-", "_")
        if not sign or name not in known:
            raise ConfigError(f"--against has to be NAME=VALUE, got {one!r}.{did_you_mean(name, known)}")
        try:
            found[name] = numbers(value) if name == "weight" else _TYPES.get(name, str)(value.strip())
        except ValueError:
            raise ConfigError(f"--against {name} has to be a number, got {value!r}.") from None
    return found
