"""lastlayer evaluate RUN [DATA]: how good a classifier is, on its own test rows or on other labelled data."""

from pathlib import Path
from typing import Annotated

import typer

from lastlayer.cli.decisions import Abstain, Cost, DeployPrior, PerClass, SetCoverage, SetScore, ThresholdFor


def command(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    data: Annotated[str | None, typer.Argument(help="Labelled data; the run's own test rows.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    threshold_for: ThresholdFor = None,
    cost: Cost = None,
    abstain: Abstain = None,
    coverage: SetCoverage = None,
    coverage_per_class: PerClass = None,
    set_score: SetScore = None,
    deploy_prior: DeployPrior = None,
) -> int:
    """Show scores with intervals, the confusion matrix, reliability and the worst rows."""
    from lastlayer.cli import console

    with console.loading():
        from lastlayer.classifier import Classifier
        from lastlayer.cli import scores
        from lastlayer.cli.decisions import deciding

    model = deciding(
        Classifier.load(run),
        threshold_for=threshold_for,
        cost=cost,
        abstain=abstain,
        coverage=coverage,
        coverage_per_class=coverage_per_class,
        set_score=set_score,
        deploy_prior=deploy_prior,
    )
    found = model.evaluate(data)
    if as_json:
        console.print_json(found.to_dict())
        return 0
    screen = console.out()
    screen.print(scores.score_table(found))
    if found.decided is not None:
        screen.print(scores.decision_table(found.decided, found.classes))
    matrix = scores.confusion_table(found)
    if matrix is not None:
        screen.print(matrix)
    for line in scores.confused_lines(found):
        screen.print(line)
    screen.print(scores.reliability_table(found))
    screen.print(scores.worst_table(found))
    return 0
