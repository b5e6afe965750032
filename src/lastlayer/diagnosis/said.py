"""What rules say: messages whose numbers are short."""

from lastlayer.messages import Message


def say(id: str, **values: object) -> Message:
    """The text `id` with `values` filled in; numbers are shortened to four digits."""
    return Message(id, **{name: number(value) if isinstance(value, float) else value for name, value in values.items()})


def number(value: float) -> str:
    """A number as a person would write it.

    >>> number(1.50412), number(0.00001234), number(3.0)
    ('1.504', '1.234e-05', '3')
    """
    return f"{value:.4g}"
