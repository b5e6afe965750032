"""What a run looks like: one HTML file and a model card."""

from lastlayer.classifier.report.card import card
from lastlayer.classifier.report.pages import SCORES, Facts, report

__all__ = ["SCORES", "Facts", "card", "report"]
