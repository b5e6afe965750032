"""A sentence in every language that the catalogue has."""

from dataclasses import dataclass

from lastlayer import messages


@dataclass(frozen=True)
class Said:
    """One text, in English and in Korean.

    >>> str(Said("yes", "예")), Said("yes", "예")["ko"]
    ('yes', '예')
    """

    en: str
    ko: str

    def __str__(self) -> str:
        return self.en

    def __getitem__(self, language: str) -> str:
        return self.to_dict()[language]

    def to_dict(self) -> dict[str, str]:
        """By language."""
        return {"en": self.en, "ko": self.ko}


def say(id: str, **values: object) -> Said:
    """The text `id` with `values` filled in; numbers are shortened to four digits."""
    shown = {name: number(value) if isinstance(value, float) else value for name, value in values.items()}
    said = {
        name: {"en": value.en, "ko": value.ko} if isinstance(value, Said) else None for name, value in shown.items()
    }
    texts = []
    for language in messages.LANGUAGES:
        own = {name: part[language] for name, part in said.items() if part is not None}
        texts.append(messages.text(id, language, **{**shown, **own}))
    return Said(*texts)


def number(value: float) -> str:
    """A number as a person would write it.

    >>> number(1.50412), number(0.00001234), number(3.0)
    ('1.504', '1.234e-05', '3')
    """
    return f"{value:.4g}"
