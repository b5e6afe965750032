"""From logits to probabilities to decisions: are they calibrated, how good are they, and what follows from them?"""

from lastlayer.decisions._decide import decide
from lastlayer.decisions._reliability import (
    Bin,
    CalibrationError,
    Reliability,
    calibration_error,
    classwise_calibration_error,
    reliability,
)
from lastlayer.decisions.costs import (
    ABSTAINED,
    expected_costs,
    least_cost,
    least_cost_per_label,
    realised_costs,
    top_k,
    zero_one,
)
from lastlayer.decisions.intervals import Interval, mean_interval, share_interval, wilson
from lastlayer.decisions.policy import Policy, SetRule
from lastlayer.decisions.prediction_sets import (
    Coverage,
    conformal_limit,
    measured_coverage,
    set_limits,
    set_scores,
)
from lastlayer.decisions.priors import reprior, reprior_weights, unweighting
from lastlayer.decisions.scores import BrierParts, brier_parts, brier_score, log_loss, row_brier, row_losses
from lastlayer.decisions.temperature import (
    Calibration,
    calibrate,
    calibrate_labels,
    fit_temperature,
    fit_temperatures,
)
from lastlayer.decisions.thresholds import Threshold, best_threshold, best_thresholds, check_metric

__all__ = [
    "ABSTAINED",
    "Bin",
    "BrierParts",
    "Calibration",
    "CalibrationError",
    "Coverage",
    "Interval",
    "Policy",
    "Reliability",
    "SetRule",
    "Threshold",
    "best_threshold",
    "best_thresholds",
    "brier_parts",
    "brier_score",
    "calibrate",
    "calibrate_labels",
    "calibration_error",
    "check_metric",
    "classwise_calibration_error",
    "conformal_limit",
    "decide",
    "expected_costs",
    "fit_temperature",
    "fit_temperatures",
    "least_cost",
    "least_cost_per_label",
    "log_loss",
    "mean_interval",
    "measured_coverage",
    "realised_costs",
    "reliability",
    "reprior",
    "reprior_weights",
    "row_brier",
    "row_losses",
    "set_limits",
    "set_scores",
    "share_interval",
    "top_k",
    "unweighting",
    "wilson",
    "zero_one",
]
