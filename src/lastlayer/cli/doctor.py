"""lastlayer doctor: what is wired wrongly in source files, a run or an error message."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lastlayer.cli.language import LANG, spoken
from lastlayer.errors import ConfigError, OptionError

if TYPE_CHECKING:
    from lastlayer.diagnosis import Report


def command(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE.py... | RUN | -]", help="Source files, one run folder, or - for a traceback."),
    ] = None,
    error: Annotated[str | None, typer.Option(help="The text of an error message or a traceback.")] = None,
    machine: Annotated[bool, typer.Option("--machine", help="Which backend serves what here, and why.")] = False,
    rule: Annotated[str | None, typer.Option(help="Explain a rule: LL001.")] = None,
    rules: Annotated[bool, typer.Option("--rules", help="List every rule.")] = False,
    select: Annotated[list[str] | None, typer.Option(help="Only these codes or beginnings: LL1,LL201.")] = None,
    ignore: Annotated[list[str] | None, typer.Option(help="Not these.")] = None,
    lang: Annotated[str | None, typer.Option(help=f"{LANG[:-1]}, or language in pyproject.toml.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    as_sarif: Annotated[bool, typer.Option("--sarif", help="Print the report as SARIF 2.1.0.")] = False,
) -> int:
    """Name the mistakes around the last layer, with evidence and a fix.

    Nothing of a source file is imported or run. Exit code: 0 nothing found, 1 findings or something that could not be
    read, 2 wrong use.
    """
    from lastlayer.cli.settings import settings

    options = settings()
    options = {
        "select": select or options.get("select"),
        "ignore": ignore or options.get("ignore"),
        "language": spoken(lang, options.get("language", "en")),
    }
    piped = not paths and error is None and not (machine or rule or rules) and not sys.stdin.isatty()
    asked = [bool(paths) or piped, error is not None, machine, rule is not None, rules]
    if sum(asked) != 1:
        raise ConfigError(
            "name one thing to look at: source files, a run folder, --error TEXT, --machine, --rule CODE, --rules, or "
            "a traceback on standard input."
        )
    try:
        if machine:
            return _machine(as_json)
        if rule is not None:
            return _rule(rule, options["language"], as_json)
        if rules:
            return _rules(options["select"], options["language"], as_json)
        report = _report(paths or [Path("-")], error, options)
        return _show(report, options["language"], as_json, as_sarif)
    except OptionError as wrong:
        raise ConfigError(str(wrong)) from wrong


def _report(paths: list[Path], error: str | None, options: dict[str, Any]) -> "Report":
    from lastlayer.cli import console

    with console.loading():
        from lastlayer.diagnosis import doctor
        from lastlayer.diagnosis.source import examine

    if error is None and paths == [Path("-")]:
        error = sys.stdin.read()
    if error is not None:
        return doctor(error=error, **options)
    folders = [path for path in paths if path.is_dir()]
    if folders and len(paths) > 1:
        raise ConfigError(f"one run folder at a time, and no source files beside it: {folders[0]} is a folder.")
    if folders:
        return _of_run(folders[0], options)
    return examine(paths, **options)


def _of_run(folder: Path, options: dict[str, Any]) -> "Report":
    """The curve and the class maps of a run."""
    from lastlayer.classifier import Classifier
    from lastlayer.classifier.diagnosis import of_run

    return of_run(Classifier.load(folder).record, **options)


def _show(report: "Report", language: str, as_json: bool, as_sarif: bool) -> int:
    from lastlayer.cli import console
    from lastlayer.diagnosis.sarif import to_sarif
    from lastlayer.diagnosis.text import lines

    if as_sarif or as_json:
        console.print_json(to_sarif(report, language) if as_sarif else report.to_dict())
    else:
        screen = console.out()
        width = min(screen.width, 100) if screen.is_terminal else 100
        console.print_lines(screen, lines(report, language, max(width, 60)))
    # "cannot tell" is no success, except where nothing was there to be told
    return int(report.verdict == "findings" or (report.verdict == "cannot tell" and report.looked_at_nothing is False))


def _rule(code: str, language: str, as_json: bool) -> int:
    from lastlayer import messages
    from lastlayer.cli import console

    with console.loading():
        from lastlayer.diagnosis import pages
        from lastlayer.explanation import text

    page, shown = pages.markdown(code, language), pages.traces(code)
    if as_json:
        found = [] if shown is None else [trace.to_dict() for trace in shown]
        console.print_json({"page": page, "traces": found})
        return 0
    screen = console.out()
    for line in page.splitlines():
        screen.print(line)
    for label, trace in zip(("right", "wrong"), shown or (), strict=False):
        screen.print(messages.text(f"doctor.trace.{label}", language))
        console.print_lines(screen, text.lines(trace, language, 80))
    return 0


def _rules(select: Any, language: str, as_json: bool) -> int:
    from lastlayer.cli import console
    from lastlayer.diagnosis import pages

    rows = pages.table(select, language)
    if as_json:
        console.print_json([dict(zip(("code", "severity", "confidence", "title"), row, strict=True)) for row in rows])
        return 0
    screen = console.out()
    for code, severity, confidence, title in rows:
        screen.print(f"{code}  {severity:8} {confidence:9} {title}")
    return 0


def _machine(as_json: bool) -> int:
    from lastlayer.cli import console

    with console.loading():
        from lastlayer.cli.machine import lines, machine

    found = machine()
    if as_json:
        console.print_json(found)
        return 0
    for line in lines(found):
        console.out().print(line)
    return 0
