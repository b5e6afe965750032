"""Labelled data in, run folder out."""

from lastlayer.classifier._classifier import Classifier

__all__ = ["Classifier"]
