"""How messages are kept in JSON: the English sentence, and beside it what any language needs."""

from typing import Any

from lastlayer.messages.texts import Message, has, placeholders

_KEYS = {"text", "id", "values"}


def packed(value: Any) -> Any:
    """The same with JSON's types only, every message in it as its text, its id and its values.

    >>> packed([Message("fold.begins", number=1, of=2, rows=30)])[0]["text"]
    'Fold 1 of 2: 30 rows to judge.'
    """
    if isinstance(value, Message):
        return {"text": str(value), "id": value.id, "values": packed(value.values)}
    if isinstance(value, dict):
        return {name: packed(each) for name, each in value.items()}
    return [packed(each) for each in value] if isinstance(value, (list, tuple)) else value


def unpacked(value: Any) -> Any:
    """Undo `packed`; a message that this version does not know, or knows otherwise, is its English text.

    >>> unpacked({"text": "Once said.", "id": "no.more", "values": {}})
    'Once said.'
    """
    if isinstance(value, dict):
        inner = {name: unpacked(each) for name, each in value.items()}
        return _message(inner) if value.keys() == _KEYS else inner
    return [unpacked(each) for each in value] if isinstance(value, list) else value


def _message(kept: dict[str, Any]) -> Any:
    english, name, values = kept["text"], kept["id"], kept["values"]
    if not (isinstance(english, str) and isinstance(name, str) and isinstance(values, dict)):
        return kept
    return Message.of(english, name, values) if has(name) and placeholders(name) <= values.keys() else english
