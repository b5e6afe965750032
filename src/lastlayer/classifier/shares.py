"""How many rows are held out where the settings do not say: fewer of a small table, which is judged by what it trains.

Each training row of a table is judged by the member of the network that has not seen it, so that few validation rows
suffice; and few calibration rows never show that a temperature helps (docs/decisions/021).
"""

from dataclasses import replace

from lastlayer.classifier.config import USUAL, Config
from lastlayer.classifier.data.columns import learn_columns
from lastlayer.classifier.data.rows import Rows
from lastlayer.classifier.journal import Journal, Silent
from lastlayer.classifier.learning.training import FEW
from lastlayer.classifier.network import backbones
from lastlayer.errors import LastLayerError
from lastlayer.messages import Message
from lastlayer.messages.wording import option

_LEAST = 0.02
_FEW_TO_CALIBRATE = 100  # such a share of which has rarely kept a temperature


def settled(rows: Rows, config: Config, journal: Journal) -> Config:
    """The settings with both shares decided; a share that is named stays, and where one is chosen, that is said."""
    if config.validation is not None and config.calibration is not None:
        return config
    given = set(rows.given or ())
    count = len(rows) if rows.given is None else rows.given.count("train")
    members = (
        USUAL * count < FEW
        and rows.groups is None  # whole groups make no such small part, and rows of one group are judged by their kin
        and ("test" in given or config.test > 0)
        and _read_by_members(rows, config)
    )
    validation = calibration = USUAL
    said = []
    if members and config.validation is None and "validation" not in given:
        validation = _LEAST
        said.append(Message("shares.validation", share=_LEAST))
    asked = config.threshold_for is not None or config.coverage is not None
    few = USUAL * count < _FEW_TO_CALIBRATE
    if members and few and not asked and config.calibration is None and "calibration" not in given:
        calibration = 0.0
        said.append(Message("shares.calibration"))
    if said:
        names = {"validation": option("validation"), "calibration": option("calibration")}
        journal.say(Message("shares.held", rows=count, shares=said, **names))
    return replace(
        config,
        validation=validation if config.validation is None else config.validation,
        calibration=calibration if config.calibration is None else config.calibration,
    )


def _read_by_members(rows: Rows, config: Config) -> bool:
    """Whether the members will read this table: it has no text column, and no other network is asked for."""
    if rows.kind != "table":
        return False
    quiet = Journal(Silent())
    try:
        return backbones.for_columns(config, learn_columns(rows.data, config, quiet), quiet) == backbones.MLPS
    except LastLayerError:
        return False  # what is wrong is said where the columns are learnt
