"""The [tool.lastlayer] table of the nearest pyproject.toml."""

import tomllib
from pathlib import Path
from typing import Any

from lastlayer.errors import ConfigError, did_you_mean

_KEYS = {"select": list, "ignore": list, "language": str}


def settings(start: Path | None = None) -> dict[str, Any]:
    """What the project says of the doctor; empty where it says nothing.

    Raises:
        ConfigError: a pyproject.toml that cannot be read, an unknown key, or a value of the wrong kind.
    """
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        file = folder / "pyproject.toml"
        if file.is_file():
            return _checked(file)
    return {}


def _checked(file: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {}).get("lastlayer", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}.") from None
    for key, value in table.items():
        if key not in _KEYS:
            raise ConfigError(f"{file}: [tool.lastlayer] has no key {key!r}.{did_you_mean(key, _KEYS)}")
        if not isinstance(value, _KEYS[key]):
            kind = "a list of codes" if _KEYS[key] is list else "a string"
            raise ConfigError(f"{file}: {key} in [tool.lastlayer] has to be {kind}, got {value!r}.")
    return dict(table)
