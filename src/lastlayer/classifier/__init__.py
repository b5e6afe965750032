"""Labelled data in, run folder out."""

from lastlayer.classifier._classifier import Classifier
from lastlayer.classifier._preflight import Preflight, preflight

__all__ = ["Classifier", "Preflight", "preflight"]
