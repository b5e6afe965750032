"""`lastlayer` and `python -m lastlayer`."""

import sys


def main() -> int:
    """Run the command line; returns the exit code: 0 fine, 1 findings or failed work, 2 wrong use."""
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


if __name__ == "__main__":
    sys.exit(main())
