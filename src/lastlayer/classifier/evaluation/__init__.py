"""How good a classifier is on labelled rows, and which of two is better."""

from lastlayer.classifier.evaluation._evaluate import evaluate, evaluate_rows
from lastlayer.classifier.evaluation.comparison import LOWER_IS_BETTER, Comparison, compare
from lastlayer.classifier.evaluation.judged import JudgedRows
from lastlayer.classifier.evaluation.result import Choice, ClassScores, Evaluation, Example

__all__ = [
    "LOWER_IS_BETTER",
    "Choice",
    "ClassScores",
    "Comparison",
    "Evaluation",
    "Example",
    "JudgedRows",
    "compare",
    "evaluate",
    "evaluate_rows",
]
