"""lastlayer evaluate RUN [DATA]: how good a classifier is, on its own test rows or on other labelled data."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lastlayer.cli.decisions import deciding, with_decisions
from lastlayer.cli.language import LANG_OF_RUN
from lastlayer.cli.runs import opened


@with_decisions
def command(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    data: Annotated[str | None, typer.Argument(help="Labelled data; the run's own test rows.")] = None,
    against: Annotated[Path | None, typer.Option(help="Another run, to compare with on the same rows.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    lang: Annotated[str | None, typer.Option(help=LANG_OF_RUN)] = None,
    **decisions: Any,
) -> int:
    """Show scores with intervals, the confusion matrix, reliability and the worst rows.

    With --against RUN2, show which of the two is better at what, and which rows they answer differently.
    """
    model, language = opened(run, lang)
    from lastlayer.classifier import Classifier
    from lastlayer.cli import compared, console, evaluated

    model = deciding(model, language, **decisions)
    if against is not None:
        found = model.compare(Classifier.load(against), data, names=(str(run), str(against)))
        if as_json:
            console.print_json(found.to_dict())
        else:
            compared.show(found, console.out(), language)
        return 0
    evaluation = model.evaluate(data)
    if as_json:
        console.print_json(evaluation.to_dict())
    else:
        evaluated.show(evaluation, console.out(), language)
    return 0
