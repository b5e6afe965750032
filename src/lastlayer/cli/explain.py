"""lastlayer explain: from logits to probabilities, loss and gradient, step by step."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lastlayer.cli import typed
from lastlayer.cli.language import LANG_OR_OF_RUN, spoken
from lastlayer.cli.runs import opened
from lastlayer.errors import ConfigError, DataNotFoundError, printable
from lastlayer.messages import Message, said

if TYPE_CHECKING:
    from lastlayer.classifier import Classifier
    from lastlayer.explanation import Trace

_NUMBERS, _HOW, _SHOW = "Typed numbers", "How it is computed", "How it is shown"


def command(
    run: Annotated[Path | None, typer.Argument(help="A run folder; none with typed numbers.")] = None,
    source: Annotated[
        str | None, typer.Argument(metavar="[INPUT]", help="One input; the run's own row with the largest loss.")
    ] = None,
    logits: Annotated[
        str | None, typer.Option(help="4,2,-2; several rows with / between.", rich_help_panel=_NUMBERS)
    ] = None,
    classes: Annotated[str | None, typer.Option(help="Names: dog,cat,rabbit.", rich_help_panel=_NUMBERS)] = None,
    target: Annotated[
        str | None,
        typer.Option(help="The true class by name or number, one per row; or probabilities.", rich_help_panel=_NUMBERS),
    ] = None,
    kind: Annotated[
        str, typer.Option(help="multiclass, binary or multilabel.", rich_help_panel=_NUMBERS)
    ] = "multiclass",
    p: Annotated[
        str | None,
        typer.Option(
            "--p", help="A true distribution; or one probability, for its log-odds.", rich_help_panel=_NUMBERS
        ),
    ] = None,
    q: Annotated[
        str | None, typer.Option("--q", help="A believed distribution, with --p.", rich_help_panel=_NUMBERS)
    ] = None,
    contrast: Annotated[
        str | None,
        typer.Option(
            help="With --logits: sigmoid-softmax, ratio-exp, argmax-softmax, squared-error, nll, base, naive-stable.",
            rich_help_panel=_NUMBERS,
        ),
    ] = None,
    next_token: Annotated[
        bool, typer.Option("--next-token", help="The logits are of a vocabulary.", rich_help_panel=_NUMBERS)
    ] = False,
    image: Annotated[
        str | None, typer.Option(help="A picture as numbers: 1920x1080.", rich_help_panel=_NUMBERS)
    ] = None,
    trace: Annotated[
        Path | None, typer.Option(help="An explanation that was saved as .json.", rich_help_panel=_NUMBERS)
    ] = None,
    temperature: Annotated[float, typer.Option(help="Divide the logits by this.", rich_help_panel=_HOW)] = 1.0,
    label_smoothing: Annotated[float, typer.Option(help="Spread this share of the truth.", rich_help_panel=_HOW)] = 0.0,
    weight: Annotated[str | None, typer.Option(help="A factor per class: 1,2,1.", rich_help_panel=_HOW)] = None,
    ignore_index: Annotated[int, typer.Option(help="Rows with this target do not count.", rich_help_panel=_HOW)] = -100,
    reduction: Annotated[str, typer.Option(help="mean, sum or none, of several rows.", rich_help_panel=_HOW)] = "mean",
    threshold: Annotated[float, typer.Option(help="With sigmoids: yes above this.", rich_help_panel=_HOW)] = 0.5,
    learning_rate: Annotated[
        float | None, typer.Option(help="Take one step against the gradient.", rich_help_panel=_HOW)
    ] = None,
    before: Annotated[
        str | None, typer.Option(help="softmax or sigmoid, applied before the loss.", rich_help_panel=_HOW)
    ] = None,
    dtype: Annotated[str, typer.Option(help="float64, float32, float16, bfloat16.", rich_help_panel=_HOW)] = "float64",
    by: Annotated[str, typer.Option(help="lastlayer or torch.", rich_help_panel=_HOW)] = "lastlayer",
    against: Annotated[
        list[str] | None,
        typer.Option(
            help="Compare with the same at another setting: before=softmax, dtype=float16, by=torch.",
            rich_help_panel=_SHOW,
        ),
    ] = None,
    lang: Annotated[str | None, typer.Option(help=LANG_OR_OF_RUN, rich_help_panel=_SHOW)] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write .html, .tex, .json, .txt, .png or .svg.", rich_help_panel=_SHOW)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the trace as JSON.", rich_help_panel=_SHOW)] = False,
) -> int:
    """Show how logits become probabilities, a loss and a gradient."""
    from lastlayer.cli import console

    language = spoken(lang)
    with console.loading():
        from lastlayer.explanation import text

    sources = {"RUN": run, "--logits": logits, "--p": p, "--image": image, "--trace": trace}
    if sum(given is not None for given in sources.values()) != 1:
        raise ConfigError(
            "name one of them: a run folder (lastlayer explain RUN [INPUT]) or numbers (--logits 4,2,-2, or --p, "
            "--image, --trace)."
        )
    how: dict[str, Any] = {
        "temperature": temperature, "label_smoothing": label_smoothing, "ignore_index": ignore_index,
        "reduction": reduction, "threshold": threshold, "learning_rate": learning_rate, "before": before,
        "dtype": dtype, "by": by, "weight": None if weight is None else typed.numbers(weight, "--weight"),
    }  # fmt: skip
    heading: list[str] = []
    if logits is not None:
        told = _of_logits(logits, classes, target, kind, contrast, next_token, how)
    elif p is not None:
        told = _of_probabilities(p, q, classes)
    elif image is not None:
        told = _of_image(image)
    elif trace is not None:
        told = _saved(trace)
    else:
        model, language = opened(run or Path(), lang)
        told, heading = _of_run(model, source, target)
    screen = console.out()
    width = max(min(screen.width, 100) if screen.is_terminal else 80, 60)
    if against:
        if logits is None or contrast is not None or next_token:
            raise ConfigError("--against compares two computations of the same --logits.")
        other = _of_logits(logits, classes, target, kind, None, False, how | typed.settings(against, tuple(how)))
        console.print_lines(screen, text.comparison_lines(told.compare(other), language, width))
        return 0
    if output is not None:
        told.save(output, language)
        screen.print(f"{output}")
        return 0
    if as_json:
        console.print_json(told.to_dict())
        return 0
    lines = list(text.lines(told, language, width))  # before anything is printed: it may refuse
    for line in heading:
        screen.print(printable(said(line, language)))
    console.print_lines(screen, lines)
    return 0


def _of_logits(
    logits: str,
    classes: str | None,
    target: str | None,
    kind: str,
    contrast: str | None,
    next_token: bool,
    how: dict[str, Any],
) -> "Trace":
    from lastlayer import explanation

    names = typed.words(classes)
    twice = sorted({name for name in names or [] if (names or []).count(name) > 1})
    if twice:
        raise ConfigError(f"--classes names {twice[0]!r} more than once. Give each class its own name.")
    rows = typed.rows(logits)
    if contrast is not None or next_token:
        if len(rows) > 1:
            raise ConfigError("one row of --logits at a time here.")
        answer = None if target is None else typed.one_class(target, names)
        if contrast is not None:
            return explanation.contrast(contrast, rows[0], answer, classes=names)
        return explanation.explain_next_token(
            rows[0], answer, tokens=names, temperature=how["temperature"], dtype=how["dtype"]
        )
    if kind == "multiclass" and max(map(len, rows)) == 1:
        raise ConfigError("one logit answers yes or no: say --kind binary, or give one logit per class.")
    if kind == "binary" and max(map(len, rows)) > 1:
        raise ConfigError(
            f"--kind binary takes one logit, got {max(map(len, rows))}. Leave it out for several classes."
        )
    values: Any = rows if len(rows) > 1 else rows[0]
    truth = typed.target(target, names, kind, len(rows))
    return explanation.explain(values, truth, classes=names, kind=kind, **how)


def _of_probabilities(p: str, q: str | None, classes: str | None) -> "Trace":
    from lastlayer.explanation import explain_distributions, explain_log_odds

    first = typed.numbers(p, "--p")
    if q is not None:
        return explain_distributions(first, typed.numbers(q, "--q"), classes=typed.words(classes))
    if len(first) != 1:
        raise ConfigError("--p with several numbers is a distribution and needs a second one: --q 0.6,0.3,0.1.")
    return explain_log_odds(first[0])


def _of_image(size: str) -> "Trace":
    from lastlayer.explanation import explain_image

    width, _, height = size.lower().replace("×", "x").partition("x")
    if not (width.strip().isdecimal() and height.strip().isdecimal()):
        raise ConfigError(f"--image has to be WIDTHxHEIGHT, such as 1920x1080, got {size!r}.")
    return explain_image(int(height), int(width))


def _saved(file: Path) -> "Trace":
    from lastlayer.explanation import Trace

    if not file.is_file():
        raise DataNotFoundError(f"there is no file {file}.")
    return Trace.from_json(file.read_text(encoding="utf-8"))


def _of_run(model: "Classifier", source: str | None, target: str | None) -> tuple["Trace", list[str]]:
    """The trace of one input, and what goes above it: a small picture of an image, its name and the prediction."""
    from lastlayer.cli.picture import shaded

    trace = model.explain(source, target)
    read = trace.context.get("source")
    if read is None:
        return trace, [_predicted(trace), Message("told.kept"), ""]
    above = shaded(model.read(read)[0][0]) if model.record.spec.kind == "image" else []
    if "text" in trace.context:
        above = [f"“{trace.context['text']}”"]
    return trace, [*above, _predicted(trace), ""]


def _predicted(trace: "Trace") -> Message:
    """What is predicted, how sure, and by what it was decided."""
    context, parts = trace.context, dict.fromkeys(("probability", "runner_up", "undecided", "decided_by"), "")
    if trace.kind != "multilabel":  # each label has a probability of its own, in the steps
        parts["probability"] = Message("told.probability", p=float(trace.probabilities.max()))
    if "runner_up" in context:
        parts["runner_up"] = Message("told.runner_up", runner_up=context["runner_up"])
    if "undecided" in context:
        parts["undecided"] = Message("told.undecided", labels=context["undecided"])
    if "decided_by" in context:
        parts["decided_by"] = Message("told.decided_by", what=context["decided_by"])
    return Message("told.predicted", input=context["input"], prediction=context["prediction"], **parts)
