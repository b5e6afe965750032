"""Packages that the bare install does not have."""

from importlib import import_module
from typing import Any

from lastlayer.errors import MissingExtraError


def need(module: str, *, extra: str = "classifier") -> Any:
    """Import `module`, or say which command installs it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        package = module.split(".")[0]
        if error.name not in (package, module):
            raise  # the package is there, and something that it needs is not
        raise MissingExtraError(
            f"this needs the package {package!r}, which is not installed. Install it with: "
            f"pip install 'lastlayer[{extra}]'"
        ) from error
