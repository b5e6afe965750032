"""A whole evaluation for a terminal: scores, what the loss means and which classes cost it, and the worst rows."""

import math

from rich.console import Console
from rich.table import Table

from lastlayer.classifier.evaluation import Evaluation, Example
from lastlayer.cli import scores
from lastlayer.cli.tables import plain
from lastlayer.errors import printable
from lastlayer.messages import said, text

_CLASSES = 20
_TRACED = 3


def show(found: Evaluation, screen: Console, language: str = "en") -> None:
    """Print an evaluation."""
    screen.print(scores.score_table(found, language))
    for line in (*loss_lines(found, language), *undefined_lines(found, language)):
        screen.print(line)
    if found.decided is not None:
        screen.print(scores.decision_table(found.decided, found.classes, language))
        if found.decided.abstained is not None and found.decided.abstained.value:
            screen.print(text("evaluated.answer", language))
    screen.print()
    matrix = scores.confusion_table(found, language)
    if matrix is not None:
        screen.print(matrix)
    for line in scores.confused_lines(found, language):
        screen.print(line)
    screen.print()
    screen.print(class_table(found, language))
    screen.print(scores.reliability_table(found, language))
    screen.print(risk_line(found, language))
    screen.print()
    screen.print(scores.worst_table(found, language))
    for example in found.worst[:_TRACED]:
        screen.print(traced(example, language))


def loss_lines(found: Evaluation, language: str = "en") -> list[str]:
    """What the log-loss means, and what it would be without knowledge."""
    known = {"nothing": found.log_classes, "prior": found.prior_entropy}
    return [
        text("evaluated.choices", language, loss=found["log_loss"], choices=found.effective_choices),
        text("evaluated.nothing", language, choices=round(math.exp(found.log_classes)), **known),
    ]


def undefined_lines(found: Evaluation, language: str = "en") -> list[str]:
    """Why a score has no value, or leaves classes out."""
    return [
        printable(
            text("evaluated.undefined", language, score=text(f"score.{name}", language), reason=said(reason, language))
        )
        for name, reason in found.undefined.items()
    ]


def class_table(found: Evaluation, language: str = "en") -> Table:
    """Each class against the rest, the costliest first."""
    most = _CLASSES if len(found.by_class) > _CLASSES else len(found.by_class)
    title = text("evaluated.classes", language)
    if most < len(found.by_class):
        title = text("evaluated.some_classes", language, some=most, classes=len(found.by_class))
    heads = [text(f"report.head.{name}", language) for name in ("rows", "precision", "recall", "f1")]
    heads += [text(head, language) for head in ("score.auroc", "report.head.ap", "evaluated.nats", "report.head.share")]
    shown = plain(title, "", *(f">{head}" for head in heads))
    for each in found.costliest()[:most]:
        numbers = (each.precision, each.recall, each.f1, each.auroc, each.average_precision)
        shown.add_row(
            printable(each.name[:14]),
            f"{each.rows:,}",
            *("–" if score is None else f"{score:.3f}" for score in numbers),
            f"{each.nats:.2f}",
            f"{each.share:.1%}",
        )
    return shown


def risk_line(found: Evaluation, language: str = "en") -> str:
    """The share of errors among the rows that it is surest of."""
    kept = [min(found.risk, key=lambda point: abs(point[0] - share)) for share in (0.5, 0.8, 0.9, 1.0)]
    shares = ", ".join(f"{coverage:.0%}: {risk:.1%}" for coverage, risk in kept)
    return text("evaluated.risk", language, shares=shares)


def traced(example: Example, language: str = "en") -> str:
    """The main lines of one row's trace."""
    lines = [printable(text("evaluated.row", language, name=example.name, loss=example.loss))]
    logit = text("report.worst.logit", language)
    for choice in example.choices:
        mark = "▸" if choice.holds else " "
        cost = "" if choice.loss is None else f"   {text('evaluated.costs', language, loss=choice.loss)}"
        lines.append(
            printable(
                f"  {mark} {choice.name[:20]:20} {logit} {choice.logit:9.4f}   p = {choice.probability:.4f}{cost}"
            )
        )
    return "\n".join(lines)
