"""The Hugging Face Hub, asked once: its client would ask for the best part of a minute and say so line by line."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from lastlayer.classifier.extras import need

_PATIENCE = 5.0  # seconds for the first answer


@contextmanager
def in_short() -> Iterator[None]:
    """Within, weights come from the Hub if it answers, and else from what it gave before; its client is silent."""
    constants = need("huggingface_hub.constants")
    loggers = [logging.getLogger(name) for name in ("huggingface_hub", "timm")]
    before, levels = constants.HF_HUB_OFFLINE, [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    constants.HF_HUB_OFFLINE = before or not answers()
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def answers() -> bool:
    """Whether the Hub does."""
    try:
        need("huggingface_hub").get_session().head(need("huggingface_hub.constants").ENDPOINT, timeout=_PATIENCE)
    except Exception:  # noqa: BLE001 - the client raises the errors of whatever carries it
        return False
    return True
