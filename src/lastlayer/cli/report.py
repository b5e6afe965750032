"""lastlayer report RUN: write a run's report again, in another language or elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from lastlayer.cli.language import LANG_OF_RUN
from lastlayer.cli.runs import opened


def command(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    lang: Annotated[str | None, typer.Option(help=LANG_OF_RUN)] = None,
    output: Annotated[Path | None, typer.Option(help="A new HTML file; RUN/report.LANG.html.")] = None,
) -> int:
    """Write the report of a run as one HTML file that needs no network.

    Pictures and cells of rows are shown where the data still stands where it stood.
    """
    model, language = opened(run, lang)
    from lastlayer.classifier.files import cannot_write
    from lastlayer.cli import console

    html = model.report(language)
    path = output or run / f"report.{language}.html"
    try:
        path.write_text(html, encoding="utf-8")
    except OSError as error:
        raise cannot_write(path, error) from error
    console.out().print(f"Report: {path}")
    return 0
