"""A computation as data, step by step, and the renderers that show it."""

from lastlayer.explanation._explain import explain
from lastlayer.explanation.trace import Column, Invariant, Step, Trace

__all__ = ["Column", "Invariant", "Step", "Trace", "explain"]
