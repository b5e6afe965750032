"""From probabilities to decisions: are they calibrated, and how good are they?"""

from lastlayer.decisions._decide import decide
from lastlayer.decisions._reliability import Bin, Reliability, reliability
from lastlayer.decisions.scores import brier_score, log_loss
from lastlayer.decisions.temperature import Calibration, calibrate, fit_temperature

__all__ = [
    "Bin",
    "Calibration",
    "Reliability",
    "brier_score",
    "calibrate",
    "decide",
    "fit_temperature",
    "log_loss",
    "reliability",
]
