"""A whole evaluation for a terminal: scores, what the loss means and which classes cost it, and the worst rows."""

import math

from rich.console import Console
from rich.table import Table

from lastlayer.classifier.evaluation import Evaluation, Example
from lastlayer.classifier.report import SCORES
from lastlayer.cli import scores
from lastlayer.cli.tables import plain
from lastlayer.errors import printable

_CLASSES = 20
_TRACED = 3


def show(found: Evaluation, screen: Console) -> None:
    """Print an evaluation."""
    screen.print(scores.score_table(found))
    for line in (loss_line(found), *undefined_lines(found)):
        screen.print(line)
    if found.decided is not None:
        screen.print(scores.decision_table(found.decided, found.classes))
        if found.decided.abstained is not None and found.decided.abstained.value:
            screen.print("What follows counts the answer that would be given if none were left undecided.")
    screen.print()
    matrix = scores.confusion_table(found)
    if matrix is not None:
        screen.print(matrix)
    for line in scores.confused_lines(found):
        screen.print(line)
    screen.print()
    screen.print(class_table(found))
    screen.print(scores.reliability_table(found))
    screen.print(risk_line(found))
    screen.print()
    screen.print(scores.worst_table(found))
    for example in found.worst[:_TRACED]:
        screen.print(traced(example))


def loss_line(found: Evaluation) -> str:
    """What the log-loss would be without knowledge, and what it means."""
    choices = round(math.exp(found.log_classes))
    return (
        f"Log-loss {found['log_loss']:.4f}: as if between {found.effective_choices:.2f} equally likely answers.\n"
        f"Knowing nothing costs ln {choices} = {found.log_classes:.4f}, only the frequencies {found.prior_entropy:.4f}."
    )


def undefined_lines(found: Evaluation) -> list[str]:
    """Why a score has no value, or leaves classes out."""
    return [printable(f"{SCORES[name][0]}: {reason}.") for name, reason in found.undefined.items()]


def class_table(found: Evaluation) -> Table:
    """Each class against the rest, the costliest first."""
    most = _CLASSES if len(found.by_class) > _CLASSES else len(found.by_class)
    title = "Each class, by its share of the loss"
    title += f" (the first {most} of {len(found.by_class)})" if most < len(found.by_class) else ""
    columns = (">rows", ">precision", ">recall", ">F1", ">AUROC", ">AP", ">nats", ">share")
    shown = plain(title, "", *columns)
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


def risk_line(found: Evaluation) -> str:
    """The share of errors among the rows that it is surest of."""
    kept = [min(found.risk, key=lambda point: abs(point[0] - share)) for share in (0.5, 0.8, 0.9, 1.0)]
    said = ", ".join(f"{coverage:.0%}: {risk:.1%}" for coverage, risk in kept)
    return f"Errors among the surest rows: {said}."


def traced(example: Example) -> str:
    """The main lines of one row's trace."""
    lines = [printable(f"{example.name}: loss {example.loss:.4f}")]
    for choice in example.choices:
        mark = "▸" if choice.holds else " "
        cost = "" if choice.loss is None else f"   costs {choice.loss:.4f}"
        lines.append(
            printable(f"  {mark} {choice.name[:20]:20} logit {choice.logit:9.4f}   p = {choice.probability:.4f}{cost}")
        )
    return "\n".join(lines)
