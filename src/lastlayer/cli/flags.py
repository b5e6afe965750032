"""Flags that several verbs share, written once."""

import inspect
from collections.abc import Callable, Iterable


def with_flags(verb: Callable[..., int], flags: Iterable[inspect.Parameter]) -> Callable[..., int]:
    """Give a verb more flags, as if they stood in its signature; it gets them as keywords, by its `**` argument."""
    own = [each for each in inspect.signature(verb).parameters.values() if each.kind is not each.VAR_KEYWORD]
    more = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in flags]
    verb.__signature__ = inspect.Signature([*own, *more], return_annotation=int)  # type: ignore[attr-defined]
    return verb
