"""Correct set-ups, of many kinds: none of them may get an error or a warning."""

from tests.diagnosis.zoo import libraries, losses, questions, sequences  # each adds its own
from tests.diagnosis.zoo.setups import ZOO, blamed

__all__ = ["ZOO", "blamed", "libraries", "losses", "questions", "sequences"]
