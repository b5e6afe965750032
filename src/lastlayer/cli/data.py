"""lastlayer data DATA: what is wrong with labelled data, before anything is trained on it."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lastlayer.cli import train
from lastlayer.cli.flags import with_flags
from lastlayer.cli.language import spoken

if TYPE_CHECKING:
    from lastlayer.classifier import Preflight

_ALSO = ("seed", "lang")  # what a split depends on, though it says nothing of the data; and the language


def _with_data_flags_of_train(verb: Callable[..., int]) -> Callable[..., int]:
    """The flags of `train` that say something about data, so that both verbs always have the same."""
    flags = [
        parameter
        for parameter in inspect.signature(train.command).parameters.values()
        if parameter.name in _ALSO or _panel(parameter) == train.DATA
    ]
    return with_flags(verb, flags)


def _panel(parameter: inspect.Parameter) -> str | None:
    for note in getattr(parameter.annotation, "__metadata__", ()):
        panel: str | None = getattr(note, "rich_help_panel", None)
        return panel
    return None


@_with_data_flags_of_train
def command(
    data: Annotated[str, typer.Argument(help="As for train: a folder of images, a table, the name of a data set.")],
    config: Annotated[
        Path | None, typer.Option(help="YAML of settings, such as config.yaml of a run; flags overrule it.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON, with every row.")] = False,
    **given: Any,
) -> int:
    """Name the files and rows that are wrong with labelled data, and what training would do about each.

    Nothing is trained or changed. Exit code: 0 nothing harmful, 1 findings that stop or harm a training, 2 wrong use.
    """
    from lastlayer.cli import console

    language = spoken(given.pop("lang"))
    with console.loading():
        from lastlayer.classifier import _preflight
        from lastlayer.classifier.config import Config
        from lastlayer.classifier.journal import Journal
        from lastlayer.cli.shown import Shown

    base = None if config is None else Config.from_yaml(config)
    settings = Config.of({name: value for name, value in given.items() if value is not None}, base)
    found = _preflight.look(data, settings, Journal(Shown(language)))
    if as_json:
        console.print_json(found.to_dict())
    else:
        _show(found, language)
    return int(found.harmful)


def _show(found: "Preflight", language: str) -> None:
    from lastlayer.cli import console
    from lastlayer.cli.findings import heading, tables

    screen = console.out()
    for line in heading(found, language):
        screen.print(line)
    for table in tables(found, language):
        screen.print(table)
