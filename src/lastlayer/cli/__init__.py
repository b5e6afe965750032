"""The command line: one file per verb; each parses, calls one function, and shows what comes back."""

import os
import sys
from typing import Annotated

import typer

from lastlayer import __version__
from lastlayer.cli import doctor, evaluate, explain, predict, train
from lastlayer.errors import ColumnError, ConfigError, DataNotFoundError, LastLayerError, MissingExtraError

app = typer.Typer(
    help="Everything after the last hidden layer of a classifier: logits, probabilities, losses, decisions.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _verb in (train, evaluate, predict, explain, doctor):
    app.command(_verb.__name__.rsplit(".", 1)[1])(_verb.command)

# typer brings its own click; the exceptions of either have one base of this name
_ClickException: type[Exception] = next(
    base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException"
)
_WRONG_USE = (ConfigError, DataNotFoundError, ColumnError, MissingExtraError)


@app.callback(invoke_without_command=True)
def _options(version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False) -> None:
    if version:
        typer.echo(f"lastlayer {__version__}")
        raise typer.Exit


def run(arguments: list[str] | None = None) -> int:
    """Run the command line on `arguments`, or on the process's own, and return the exit code."""
    try:
        result = app(arguments, standalone_mode=False)
        sys.stdout.flush()
    except _ClickException as error:
        error.show()  # type: ignore[attr-defined]  # every one of them has it
        return 2
    except LastLayerError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2 if isinstance(error, _WRONG_USE) else 1
    except (typer.Abort, KeyboardInterrupt):
        sys.stderr.write("\nStopped; nothing was saved.\n")
        return 130
    except BrokenPipeError:  # the reader of a pipe, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return result if isinstance(result, int) else 0
