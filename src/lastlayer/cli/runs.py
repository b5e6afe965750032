"""A run folder, opened to speak of it."""

from pathlib import Path
from typing import TYPE_CHECKING

from lastlayer.cli.language import spoken

if TYPE_CHECKING:
    from lastlayer.classifier import Classifier


def opened(run: Path, lang: str | None) -> tuple["Classifier", str]:
    """The classifier of a run and the language to speak in; a bad --lang is refused before anything is loaded."""
    from lastlayer.cli import console

    asked = spoken(lang, "")
    with console.loading():
        from lastlayer.classifier import Classifier
    model = Classifier.load(run)
    return model, asked or model.config.lang
