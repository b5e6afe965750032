"""Every text that a person reads as an explanation, by id, in English and Korean."""

from lastlayer.messages.texts import LANGUAGES, Message, check_language, few, has, placeholders, said, text

__all__ = ["LANGUAGES", "Message", "check_language", "few", "has", "placeholders", "said", "text"]
