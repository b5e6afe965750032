"""lastlayer predict RUN INPUT...: one row per input, in order; what cannot be read keeps its place."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from lastlayer.cli.decisions import Abstain, Cost, DeployPrior, PerClass, SetCoverage, SetScore, ThresholdFor
from lastlayer.errors import DataError, printable


def command(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    inputs: Annotated[
        list[str], typer.Argument(help="Files, folders, tables, one row of a table (file.csv#12), or - for stdin.")
    ],
    top_k: Annotated[int, typer.Option(help="Show the k most probable classes.")] = 1,
    every_class: Annotated[bool, typer.Option("--all", help="Add a p(class) column for every class.")] = False,
    output: Annotated[
        Path | None, typer.Option(help="Write to FILE.csv, FILE.jsonl or FILE.parquet instead of showing.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per row.")] = False,
    threshold_for: ThresholdFor = None,
    cost: Cost = None,
    abstain: Abstain = None,
    coverage: SetCoverage = None,
    coverage_per_class: PerClass = None,
    set_score: SetScore = None,
    deploy_prior: DeployPrior = None,
) -> int:
    """Predict new data. Exit code 1 where a row could not be read; its error column says why."""
    from lastlayer.cli import console

    with console.loading():
        from lastlayer.classifier import Classifier
        from lastlayer.classifier.data.rows import examples, plural
        from lastlayer.classifier.prediction import as_csv, as_jsonl, check_format
        from lastlayer.cli.decisions import deciding
        from lastlayer.cli.scores import prediction_table

    if output is not None:
        check_format(output)
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
    found = model.predictions([_source(name) for name in inputs])
    code = 1 if found.problems else 0
    if found.left_out:
        names = examples([each.name for each in found.left_out])
        said = f"Left out, being no images by their names: {plural(len(found.left_out), 'file')} ({names})."
        console.err().print(printable(said))
    if output is not None:
        found.write(output, top_k=top_k, every_class=every_class)
        console.err().print(f"Wrote {plural(len(found), 'row')} to {output}; {len(found.problems):,} with an error.")
        return code
    rows = found.table(top_k=top_k, every_class=every_class)
    if as_json:
        sys.stdout.write(as_jsonl(rows))
    elif sys.stdout.isatty():
        screen = console.out()
        screen.print(prediction_table(rows, screen.width))
    else:
        sys.stdout.write(as_csv(rows))
    return code


def _source(name: str) -> str | bytes:
    if name != "-":
        return name
    if sys.stdin is None:
        raise DataError("standard input is closed: expected rows to predict. Name a file, or send one to it.")
    return sys.stdin.buffer.read()
