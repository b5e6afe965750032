"""What a run looks like: one HTML file and a model card."""

from lastlayer.classifier.report.pages import SCORES, Facts, card, report

__all__ = ["SCORES", "Facts", "card", "report"]
