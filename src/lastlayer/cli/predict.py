"""lastlayer predict RUN INPUT...: one row per input, in order, as they come; what cannot be read keeps its place."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from lastlayer.cli.decisions import deciding, with_decisions
from lastlayer.cli.language import LANG_OF_RUN
from lastlayer.cli.runs import opened
from lastlayer.errors import ConfigError, DataError, printable
from lastlayer.messages import few, text

if TYPE_CHECKING:
    from lastlayer.classifier import Classifier
    from lastlayer.classifier.predicting.streaming import Options, Part

_READING, _WRITING, _WORK = "Reading", "Writing", "Work"
_NO_RESUME = (
    "--resume goes on with an --output that was stopped, from files that can be read again: name both, and no standard "
    "input."
)


@with_decisions
def command(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    inputs: Annotated[
        list[str], typer.Argument(help="Files, folders, tables, one row of a table (file.csv#12), or - for stdin.")
    ],
    top_k: Annotated[int, typer.Option(help="Show the k most probable classes.", rich_help_panel=_WRITING)] = 1,
    every_class: Annotated[
        bool, typer.Option("--all", help="Add a p(class) column for every class.", rich_help_panel=_WRITING)
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Write to FILE.csv, FILE.jsonl or FILE.parquet instead of showing.", rich_help_panel=_WRITING
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an --output that was stopped.", rich_help_panel=_WRITING)
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Write over an --output that is there; without it, none ever is.",
            rich_help_panel=_WRITING,
        ),
    ] = False,
    keep_formulas: Annotated[
        bool,
        typer.Option(
            "--keep-formulas",
            help="Write CSV cells that begin with = + - @ as they are; a spreadsheet runs them.",
            rich_help_panel=_WRITING,
        ),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per row.", rich_help_panel=_WRITING)
    ] = False,
    encoding: Annotated[
        str | None, typer.Option(help="Of text tables, if not the run's.", rich_help_panel=_READING)
    ] = None,
    separator: Annotated[
        str | None, typer.Option(help="Between the cells of text tables.", rich_help_panel=_READING)
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows per forward pass.", rich_help_panel=_WORK)] = None,
    workers: Annotated[int | None, typer.Option(help="Threads that read pictures.", rich_help_panel=_WORK)] = None,
    lang: Annotated[str | None, typer.Option(help=LANG_OF_RUN, rich_help_panel=_WORK)] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.", rich_help_panel=_WORK)] = "auto",
    **decisions: Any,
) -> int:
    """Predict new data of any size. Exit code 1 where a row could not be read; its error column says why.

    Results come as they are made: tail -f new.jsonl | lastlayer predict RUN -
    """
    from lastlayer.cli import console

    with console.loading():
        from lastlayer.classifier.predicting.prediction import check_format
        from lastlayer.classifier.predicting.streaming import Options

    if output is not None:
        check_format(output)
    if resume and (output is None or "-" in inputs):
        raise ConfigError(_NO_RESUME)
    if overwrite and output is None:
        raise ConfigError("--overwrite writes over an --output that is there: name it.")
    model, language = opened(run, lang)
    model = deciding(model, language, **decisions)
    options = Options(batch_size, workers, device, encoding, separator)
    shape = {"top_k": top_k, "every_class": every_class}
    if output is not None:
        how = {"resume": resume, "overwrite": overwrite, "keep_formulas": keep_formulas}
        return _write(run, model, inputs, output, options, shape, how, language)
    parts = _heard(model.stream([_source(name) for name in inputs], options), language)
    return _show(parts, shape, as_json, keep_formulas)


def _write(
    run: Path,
    model: "Classifier",
    inputs: list[str],
    output: Path,
    options: "Options",
    shape: dict[str, Any],
    how: dict[str, bool],
    language: str,
) -> int:
    from dataclasses import replace

    from lastlayer.classifier.predicting.prediction_files import Output
    from lastlayer.cli import console
    from lastlayer.cli.pace import Pace, about, paced

    screen = console.err()
    with Output(output, about(run, model, inputs, options, shape), **how) as file:
        if how["resume"] and file.begun:
            screen.print(text("predict.going_on", language, rows=file.at.rows))
        options = replace(options, skip=file.at.rows, digest=file.at.digest)
        parts = model.stream([_source(name) for name in inputs], options)
        pace = Pace()
        try:
            for part in _heard(paced(parts, inputs, options.skip, language), language):
                file.write(part.table(**shape), part.digest)
                pace.count(len(part.predictions))
        except KeyboardInterrupt:
            stopped = "predict.stopped" if "-" in inputs else "predict.stopped_resume"
            screen.print(f"\n{text(stopped, language, rows=file.at.rows)}")
            return 130
        file.finish()
    wrote = text("predict.wrote", language, rows=file.at.rows, file=output, errors=file.at.errors)
    screen.print(f"{wrote} {pace.said(language)}".rstrip())
    return 1 if file.at.errors else 0


def _heard(parts: Iterable["Part"], language: str) -> Iterator["Part"]:
    """Say at the end what stood among the inputs and was none."""
    from lastlayer.cli import console

    names: list[str] = []
    count = 0
    for part in parts:
        count += len(part.predictions.left_out)
        names += [each.name for each in part.predictions.left_out[: 3 - len(names)]]
        yield part
    if count:
        shown = few([*names, *[""] * (count - len(names))])
        console.err().print(printable(text("predict.left_out", language, files=count, shown=shown)))


def _show(parts: Iterable["Part"], shape: dict[str, Any], as_json: bool, keep_formulas: bool) -> int:
    from lastlayer.classifier.predicting.prediction import as_csv, as_jsonl
    from lastlayer.cli import console
    from lastlayer.cli.scores import prediction_table

    screen, widths, code, first = console.out(), dict[str, int](), 0, True
    for part in parts:
        rows = part.table(**shape)
        if part.predictions.problems:
            code = 1
        if as_json:
            sys.stdout.write(as_jsonl(rows))
        elif sys.stdout.isatty():
            if not part.predictions.problems:
                for row in rows:
                    del row["error"]
            screen.print(prediction_table(rows, screen.width, heading=first, least=widths))
        else:
            sys.stdout.write(as_csv(rows, header=first, keep_formulas=keep_formulas))
        sys.stdout.flush()
        first = False
    return code


def _source(name: str) -> str | BinaryIO:
    if name != "-":
        return name
    if sys.stdin is None:
        raise DataError("standard input is closed: expected rows to predict. Name a file, or send one to it.")
    return sys.stdin.buffer
