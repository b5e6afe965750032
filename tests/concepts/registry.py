"""The rows of the list of concepts: each is a check of numbers that it states."""

from collections.abc import Callable, Iterator
from typing import Any

import torch

CONCEPTS: dict[int, tuple[Callable[..., None], dict[str, Any]]] = {}


def concept(row: int, **stated: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a check as row `row`, with the numbers and words that the list states."""

    def keep(check: Callable[..., None]) -> Callable[..., None]:
        assert row not in CONCEPTS
        CONCEPTS[row] = (check, stated)
        return check

    return keep


def near(found: Any, stated: Any, within: float = 1e-4) -> None:
    """Numbers of any shape are what is stated, ∞ and their count included."""
    x = torch.as_tensor(found, dtype=torch.float64)
    y = torch.tensor(stated, dtype=torch.float64)
    assert x.shape == y.shape, (x.shape, y.shape)
    assert bool(((x == y) | ((x - y).abs() <= within)).all()), (x.tolist(), y.tolist())


def changed(stated: Any) -> Iterator[Any]:
    """The same with one number or word changed, for each of them in turn."""
    if isinstance(stated, dict):
        for name, value in stated.items():
            yield from ({**stated, name: other} for other in changed(value))
    elif isinstance(stated, (tuple, list)):
        for place, value in enumerate(stated):
            yield from ([*stated[:place], other, *stated[place + 1 :]] for other in changed(value))
    elif isinstance(stated, bool):
        yield not stated
    elif isinstance(stated, str):
        yield f"{stated}~"
    else:
        yield 1.0 if stated in (float("inf"), float("-inf")) else stated + (1 if isinstance(stated, int) else 0.01)
