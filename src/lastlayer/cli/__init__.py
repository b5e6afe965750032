"""The command line: one file per verb; each parses, calls one function, and shows what comes back."""

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Annotated, Any

import typer

from lastlayer import __version__
from lastlayer.cli import advise, bench, data, doctor, evaluate, explain, export, predict, report, train
from lastlayer.errors import (
    ColumnError,
    ConfigError,
    DataNotFoundError,
    LastLayerError,
    MissingExtraError,
    printable,
)
from lastlayer.messages.wording import in_flags

app = typer.Typer(
    help="Everything after the last hidden layer of a classifier: logits, probabilities, losses, decisions.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


_answers: list[Any] = []  # of the verb that has run


def _interruptible(command: Callable[..., Any]) -> Callable[..., Any]:
    """Typer would swallow an interrupt and return 130 without a word; an Abort comes through."""

    @wraps(command)
    def verb(*args: Any, **options: Any) -> Any:
        try:
            _answers.append(command(*args, **options))
            return _answers[-1]
        except KeyboardInterrupt as error:
            raise typer.Abort from error

    return verb


for _verb in (train, data, evaluate, report, predict, explain, export, doctor, advise, bench):
    app.command(_verb.__name__.rsplit(".", 1)[1])(_interruptible(_verb.command))

# typer brings its own click; the exceptions of either have one base of this name
_ClickException: type[Exception] = next(
    base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException"
)
_WRONG_USE = (ConfigError, DataNotFoundError, ColumnError, MissingExtraError)
_INTERRUPTED = 130
_FIRST_WORD = 3.0  # seconds: the first process may still be importing what the others have imported


@app.callback(invoke_without_command=True)
def _options(version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False) -> None:
    if version:
        typer.echo(f"lastlayer {__version__}")
        raise typer.Exit


def run(arguments: list[str] | None = None) -> int:
    """Run the command line on `arguments`, or on the process's own, and return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # what the terminal has no letters for is spelt out instead of failing
            stream.reconfigure(errors="backslashreplace")
    try:
        _answers.clear()
        with in_flags():
            result = app(arguments, standalone_mode=False)
        if result == _INTERRUPTED and not _answers:
            raise KeyboardInterrupt  # before the verb began; Typer has turned it into this number
        sys.stdout.flush()
    except _ClickException as error:
        error.show()  # type: ignore[attr-defined]  # every one of them has it
        return 2
    except LastLayerError as error:
        sys.stderr.write(f"{_speaker()}error: {printable(str(error), keep=chr(10))}\n")
        return 2 if isinstance(error, _WRONG_USE) else 1
    except (typer.Abort, KeyboardInterrupt):
        sys.stderr.write("\nStopped; nothing was saved.\n")
        return _INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe, such as head, has seen enough
        _close_output()
        return 0
    except OSError as error:
        _close_output()
        what = error.filename or "standard output"
        sys.stderr.write(f"error: {what} cannot be used ({error.strerror or error}). Send the output elsewhere.\n")
        return 1
    return result if isinstance(result, int) else 0


def _speaker() -> str:
    """Of several processes that train together one speaks: another waits for it to say the same, and end them all."""
    rank = os.environ.get("RANK", "0")
    if rank == "0":
        return ""
    time.sleep(_FIRST_WORD)
    return f"process {rank}: "


def _close_output() -> None:
    """What is still to be written goes nowhere, or Python would complain of it while it ends."""
    with suppress(OSError):  # what stands for standard output may be no file
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
