"""Source files as the rules see them: parsed, never run."""

from lastlayer.diagnosis.source.files import SourceFile, examine

__all__ = ["SourceFile", "examine"]
