"""lastlayer explain: from logits to probabilities, loss and gradient, step by step."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lastlayer.errors import ConfigError, printable

if TYPE_CHECKING:
    from lastlayer.explanation import Trace


def command(
    run: Annotated[Path | None, typer.Argument(help="A run folder; none with --logits.")] = None,
    source: Annotated[
        str | None, typer.Argument(metavar="[INPUT]", help="One input; the run's own row with the largest loss.")
    ] = None,
    logits: Annotated[str | None, typer.Option(help="Typed numbers: 4,2,-2.")] = None,
    classes: Annotated[str | None, typer.Option(help="Their names: dog,cat,rabbit.")] = None,
    target: Annotated[str | None, typer.Option(help="The true class, by name or by number.")] = None,
    kind: Annotated[str, typer.Option(help="With --logits: multiclass, binary or multilabel.")] = "multiclass",
    temperature: Annotated[float, typer.Option(help="With --logits: divide them by this.")] = 1.0,
    lang: Annotated[str, typer.Option(help="en or ko.")] = "en",
    as_json: Annotated[bool, typer.Option("--json", help="Print the trace as JSON.")] = False,
) -> int:
    """Show how logits become probabilities, a loss and a gradient."""
    from lastlayer.cli import console

    with console.loading():
        from lastlayer.explanation import text

    if (run is None) == (logits is None):
        raise ConfigError(
            "name a run folder (lastlayer explain RUN [INPUT]) or numbers (--logits 4,2,-2), one of them."
        )
    heading: list[str] = []
    if logits is not None:
        trace = _typed(logits, classes, target, kind, temperature)
    else:
        trace, heading = _of_run(run, source, target)
    if as_json:
        console.print_json(trace.to_dict())
        return 0
    screen = console.out()
    width = min(screen.width, 100) if screen.is_terminal else 80
    lines = list(text.lines(trace, lang, max(width, 60)))
    for line in heading:
        screen.print(printable(line))
    console.print_lines(screen, lines)
    return 0


def _typed(logits: str, classes: str | None, target: str | None, kind: str, temperature: float) -> "Trace":
    from lastlayer.explanation import explain

    names = None if classes is None else [name.strip() for name in classes.split(",")]
    twice = sorted({name for name in names or [] if (names or []).count(name) > 1})
    if twice:
        raise ConfigError(f"--classes names {twice[0]!r} more than once. Give each class its own name.")
    answer: Any = None
    if target is not None and kind == "multilabel":
        answer = [_class(name.strip(), names) for name in target.split(",") if name.strip()]
    elif target is not None:
        answer = _class(target, names)
    numbers = parse_numbers(logits)
    if len(numbers) == 1 and kind == "multiclass":
        raise ConfigError("one logit answers yes or no: say --kind binary, or give one logit per class.")
    if len(numbers) > 1 and kind == "binary":
        raise ConfigError(f"--kind binary takes one logit, got {len(numbers)}. Leave it out for several classes.")
    return explain(numbers, answer, classes=names, kind=kind, temperature=temperature)


def _class(word: str, names: list[str] | None) -> int | str:
    """A name, or a number that is no name."""
    return int(word) if word.isdecimal() and word not in (names or []) else word


def _of_run(run: Path | None, source: str | None, target: str | None) -> tuple["Trace", list[str]]:
    """The trace of one input, and what goes above it: a small picture of an image, its name and the prediction."""
    from lastlayer.classifier import Classifier
    from lastlayer.cli.picture import shaded

    model = Classifier.load(run or Path())
    trace = model.explain(source, target)
    said = f"{trace.context['input']}: predicted {trace.context['prediction']}, p = {trace.probabilities.max():.4f}"
    opened = trace.context.get("source")
    if opened is None:
        return trace, [said, "(told from the logits that the run has kept: its data is not here)", ""]
    picture = shaded(model.read(opened)[0][0]) if model.record.spec.kind == "image" else []
    return trace, [*picture, said, ""]


def parse_numbers(text: str) -> list[float]:
    """Read numbers as people type them: commas, semicolons or spaces between, a real minus sign allowed.

    >>> parse_numbers("4, 2 −2")
    [4.0, 2.0, -2.0]
    """
    words = [word for word in re.split(r"[,;\s]+", text.replace("−", "-").replace("–", "-").strip("[]() ")) if word]
    try:
        return [float(word) for word in words]
    except ValueError as error:
        raise ConfigError(f"--logits has to be numbers such as 4,2,-2: {error}.") from None
