"""Every text that a person reads as an explanation, by id, in English and Korean."""

from importlib import import_module
from string import Formatter

from lastlayer.errors import OptionError

LANGUAGES = ("en", "ko")


def text(id: str, language: str = "en", **values: object) -> str:
    """Return the text `id` in `language`, with `values` in its placeholders.

    >>> text("step.logits", "ko")
    '로짓'
    """
    return _texts(language)[id].format_map(values)


def has(id: str) -> bool:
    """Whether there is a text `id`."""
    return id in _texts("en")


def placeholders(id: str) -> set[str]:
    """The names that the text `id` has room for."""
    return {name for _, name, _, _ in Formatter().parse(_texts("en")[id]) if name}


def _texts(language: str) -> dict[str, str]:
    if language not in LANGUAGES:
        raise OptionError(f"language has to be one of {', '.join(LANGUAGES)}, got {language!r}.")
    texts: dict[str, str] = import_module(f"lastlayer.messages.{language}").TEXTS
    return texts
