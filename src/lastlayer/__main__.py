"""`lastlayer` and `python -m lastlayer`."""

import sys
from typing import Any

_IMPATIENT = 1.0  # seconds in which a second Ctrl-C is taken for the same wish


def main() -> int:
    """Run the command line; returns the exit code: 0 fine, 1 findings or failed work, 2 wrong use."""
    try:
        import signal

        _interrupt_once()
        try:
            return _run()
        finally:  # what there is to say is said: Python's own end needs no interrupt
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped; nothing was saved.\n")
        return 130


def _run() -> int:
    try:
        import rich  # noqa: F401 - the command line needs both, and the bare package has neither
        import typer  # noqa: F401
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f"error: the command line needs the package {error.name!r}, which is not installed. Install it with: "
            "pip install 'lastlayer[classifier]'\n"
        )
        return 2
    from lastlayer.cli import run

    return run()


def _interrupt_once() -> None:
    """A second interrupt while the first unwinds would end the process without a word."""
    import signal
    import time

    last = [-_IMPATIENT]

    def handle(number: int, frame: Any) -> None:
        if time.monotonic() - last[0] >= _IMPATIENT:
            last[0] = time.monotonic()
            raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, handle)


if __name__ == "__main__":
    sys.exit(main())
