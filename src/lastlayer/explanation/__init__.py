"""A computation as data, step by step, and the renderers that show it."""

from lastlayer.explanation._doors import (
    contrast,
    explain_distributions,
    explain_features,
    explain_image,
    explain_log_odds,
    explain_next_token,
    explain_sensitivity,
    ratio,
)
from lastlayer.explanation._explain import explain
from lastlayer.explanation._live import explain_loss, explain_model
from lastlayer.explanation.advice import Advice, advise
from lastlayer.explanation.comparison import Comparison, Pair
from lastlayer.explanation.plots import Arrows, Bars, Curve, Matrix
from lastlayer.explanation.trace import Column, Invariant, Naive, Numerics, Step, Trace

__all__ = [
    "explain",
    "explain_distributions",
    "explain_features",
    "explain_loss",
    "explain_model",
    "explain_image",
    "explain_log_odds",
    "explain_next_token",
    "explain_sensitivity",
    "contrast",
    "ratio",
    "advise",
    "Advice",
    "Comparison",
    "Pair",
    "Trace",
    "Step",
    "Column",
    "Invariant",
    "Naive",
    "Numerics",
    "Arrows",
    "Bars",
    "Curve",
    "Matrix",
]
