"""In which language a verb speaks: the flag, then the environment, then what the work itself was set to."""

import os

from lastlayer.errors import ConfigError, did_you_mean
from lastlayer.messages import LANGUAGES

VARIABLE = "LASTLAYER_LANG"
_NAMES = {"en": "English", "ko": "한국어"}

LANG = f"en or ko; {VARIABLE}, else en."  # the help of every --lang
LANG_OF_RUN = f"en or ko; {VARIABLE}, else that of the run."
LANG_OR_OF_RUN = f"en or ko; {VARIABLE}, else that of the run, or en."


def spoken(lang: str | None, otherwise: str = "en") -> str:
    """The language of the flag, else of the environment, else `otherwise`.

    Raises:
        ConfigError: the flag or the variable names a language that there are no texts in.

    >>> spoken("ko")
    'ko'
    """
    for name, value in (("--lang", lang), (VARIABLE, os.environ.get(VARIABLE) or None)):
        if value is not None:
            return _checked(name, value)
    return otherwise


def _checked(name: str, value: str) -> str:
    if value in LANGUAGES:
        return value
    known = " or ".join(f"{code} ({_NAMES[code]})" for code in LANGUAGES)
    raise ConfigError(f"{name} has to be {known}, got {value!r}.{did_you_mean(value, LANGUAGES)}")
