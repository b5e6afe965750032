"""What a run looks like: one HTML file and a model card."""

from lastlayer.classifier.report.card import card
from lastlayer.classifier.report.pages import LOWER_IS_BETTER, SCORES, Facts, report

__all__ = ["LOWER_IS_BETTER", "SCORES", "Facts", "card", "report"]
