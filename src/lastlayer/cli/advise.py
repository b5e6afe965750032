"""lastlayer advise: which head, activation, loss and threshold, and why."""

import re
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from lastlayer import messages
from lastlayer.cli import typed
from lastlayer.cli.language import LANG, spoken
from lastlayer.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor


def command(
    answer: Annotated[str | None, typer.Option(help="class, or number for a quantity such as a price.")] = None,
    several: Annotated[bool | None, typer.Option("--several/--one", help="May several classes hold at once?")] = None,
    classes: Annotated[int | None, typer.Option(help="How many classes there are.")] = None,
    target: Annotated[
        str | None, typer.Option(help="Some targets instead: 0,2,1, or rows with / between: 1,0,1 / 0,0,0.")
    ] = None,
    lang: Annotated[str | None, typer.Option(help=LANG)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the advice as JSON.")] = False,
) -> int:
    """Say what to put behind the last hidden layer. Asks three questions where nothing is given."""
    from lastlayer.cli import console

    language = spoken(lang)
    if target is None and sys.stdin.isatty():
        answer, several, classes = _asked(answer, several, classes, language)
    elif target is None and answer is None:
        raise ConfigError(
            "answer the three questions: --answer class|number, --several or --one, --classes N; or give --target "
            "0,2,1."
        )
    if answer == "class" and several is None:
        raise ConfigError("may several classes hold at once? Say --several or --one.")
    with console.loading():
        from lastlayer.explanation.advice import advise

    found = advise(answer=answer, several=several, classes=classes) if target is None else advise(_numbers(target))
    if as_json:
        console.print_json(found.to_dict())
    else:
        console.out().print(found.text(language))
    return 0


def _asked(
    answer: str | None, several: bool | None, classes: int | None, lang: str
) -> tuple[str, bool | None, int | None]:
    """Ask for what was not given."""
    answer = answer or str(typer.prompt(messages.text("advice.ask.answer", lang))).strip()
    if answer != "class":
        return answer, None, None
    if several is None:
        several = str(typer.prompt(messages.text("advice.ask.several", lang))).strip().lower().startswith("y")
    if classes is None:
        classes = int(typer.prompt(messages.text("advice.ask.classes", lang), type=int))
    return answer, several, classes


def _numbers(text: str) -> "Tensor":
    import torch

    rows = typed.rows(text, "--target")
    values = rows if len(rows) > 1 else rows[0]
    whole = re.search(r"[.eE]", text) is None
    return torch.tensor(values, dtype=torch.int64 if whole and len(rows) == 1 else torch.float64)
