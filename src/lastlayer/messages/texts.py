"""Texts by id, and how values are written into them in each language."""

import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from string import Formatter
from typing import Any, Self

from lastlayer.errors import OptionError, did_you_mean

LANGUAGES = ("en", "ko")
_PARTICLES = re.compile(r"(?:(.+) )?([가-힣]+)/([가-힣]+)")  # after a consonant / after a vowel: 은/는, .4f 은/는
_CLOSED = set("013678lmnrLMNR")  # digits and letters whose Korean names end in a consonant
_RIEUL = set("178lrLR")  # of these, ㄹ: it takes 로 as vowels do
_SYLLABLES = range(ord("가"), ord("힣") + 1)


class Message(str):
    """A sentence that can be said in every language: it is its English text, and keeps its id and its values.

    A value may be a message itself, or a list of them.

    >>> said = Message("fold.begins", number=2, of=5, rows=1200)
    >>> said
    'Fold 2 of 5: 1,200 rows to judge.'
    >>> said.into("ko")
    '폴드 2/5: 판정할 행 1,200개.'
    """

    id: str
    values: dict[str, Any]

    def __new__(cls, id: str, /, **values: object) -> Self:
        """Write the English text; a value that it has no room for, or lacks, is a mistake of the caller."""
        plain = {name: _plain(value) for name, value in values.items()}
        return cls.of(text(id, **plain), id, plain)

    @classmethod
    def of(cls, english: str, id: str, values: dict[str, Any]) -> Self:
        """What was said before, by what was kept of it."""
        message = str.__new__(cls, english)
        message.id, message.values = id, values
        return message

    def into(self, language: str) -> str:
        """The sentence in a language."""
        return str(self) if language == "en" else text(self.id, language, **self.values)

    def by_language(self) -> dict[str, str]:
        """The sentence in every language."""
        return {language: self.into(language) for language in LANGUAGES}

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).of, (str(self), self.id, self.values)


def said(sentence: str, language: str) -> str:
    """A sentence in a language, where it can be said in several; else as it stands."""
    return sentence.into(language) if isinstance(sentence, Message) else sentence


def text(id: str, language: str = "en", **values: object) -> str:
    """Return the text `id` in `language`, with `values` in its placeholders.

    >>> text("step.logits", "ko")
    '로짓'
    """
    return _Written(language).vformat(_texts(language)[id], (), values)


def has(id: str) -> bool:
    """Whether there is a text `id`."""
    return id in _texts("en")


def placeholders(id: str) -> set[str]:
    """The names that the text `id` has room for."""
    return {name for _, name, _, _ in Formatter().parse(_texts("en")[id]) if name}


def few(names: Sequence[object], most: int = 3) -> Any:
    """Some of many names, as a value of a message.

    >>> text("columns.found", "ko", shown=few(["a", "b", "c", "d", "e"]))
    '열: a, b, c 외 2개.'
    """
    return list(names) if len(names) <= most else Message("list.more", shown=names[:most], more=len(names) - most)


def check_language(language: str, name: str = "language") -> None:
    """Refuse a language that there are no texts in; `name` is what the reader calls the setting.

    Raises:
        OptionError: it is not one of them.
    """
    if language not in LANGUAGES:
        near = did_you_mean(language, LANGUAGES)
        raise OptionError(f"{name} has to be one of {', '.join(LANGUAGES)}, got {language!r}.{near}")


class _Written(Formatter):
    """`str.format` with three more specifications, for texts that people read.

    `{rows:#row}` is a number with its noun (1 row, 2 rows; `#class|classes` where the plural is another word),
    `{rows:?has|have}` a word by the number, and `{name:은/는}` a name with the particle that its sound asks for.
    `{more:+}` puts a space before a sentence that may be empty.
    """

    def __init__(self, language: str) -> None:
        self.language = language

    def get_value(self, key: int | str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        return kwargs[str(key)]

    def format_field(self, value: Any, format_spec: str) -> str:
        if format_spec.startswith("#"):
            one, _, many = format_spec[1:].partition("|")
            return f"{value:,} {one if value == 1 else many or f'{one}s'}"
        if format_spec.startswith("?"):
            one, _, many = format_spec[1:].partition("|")
            return one if value == 1 else many
        if isinstance(value, (list, tuple)):
            value = ", ".join(self.format_field(each, "") for each in value)
        elif isinstance(value, Message):
            value = value.into(self.language)
        if found := _PARTICLES.fullmatch(format_spec):
            shown = format(value, found[1] or "")
            return f"{shown}{_particle(shown, found[2], found[3])}"
        if format_spec == "+" and isinstance(value, str):
            return value and f" {value}"
        return format(value, format_spec)


def _particle(word: str, closed: str, open_: str) -> str:
    """Which of two particles follows a word: by its last sound, quotes and brackets aside."""
    last = word.rstrip("'\")]}.,%–- ")[-1:] or "가"
    final = (ord(last) - _SYLLABLES.start) % 28 if ord(last) in _SYLLABLES else 1 if last in _CLOSED else 0
    if closed.startswith("으") and (final == 8 or last in _RIEUL):
        return open_
    return closed if final else open_


def _plain(value: object) -> Any:
    """A value that JSON can keep as it is."""
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    item = getattr(value, "item", None)  # of NumPy and PyTorch
    return str(value) if item is None else item()


def _texts(language: str) -> dict[str, str]:
    check_language(language)
    texts: dict[str, str] = import_module(f"lastlayer.messages.{language}").TEXTS
    return texts
