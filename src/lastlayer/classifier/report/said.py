"""The words of a report in one language."""

from dataclasses import dataclass

from lastlayer import messages


@dataclass(frozen=True)
class Said:
    """Called with the id of a text, without its "report.", and what its placeholders stand for."""

    language: str = "en"

    def __call__(self, id: str, **values: object) -> str:
        """The text in this language."""
        return messages.text(f"report.{id}", self.language, **values)

    def text(self, id: str, **values: object) -> str:
        """A text that is not the report's alone, by its whole id."""
        return messages.text(id, self.language, **values)

    def score(self, name: str) -> str:
        """What a score is called."""
        return messages.text(f"score.{name}", self.language)

    def meaning(self, name: str) -> str:
        """What a score says."""
        return messages.text(f"score.{name}.about", self.language)
