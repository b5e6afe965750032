"""Reads the autograd graph of a live loss and says what it computes: data, no words and no drawing."""

from lastlayer.graph._read import read
from lastlayer.graph.calls import Calls
from lastlayer.graph.wiring import Op, Term, Wiring

__all__ = ["Calls", "Op", "Term", "Wiring", "read"]
