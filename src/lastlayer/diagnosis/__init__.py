"""Names what is wired wrongly around the last layer: rules over a loss, a batch, a curve, an error or a source file."""

from lastlayer.diagnosis._doctor import doctor
from lastlayer.diagnosis._watch import watch
from lastlayer.diagnosis.finding import Evidence, Finding, Fix, Location
from lastlayer.diagnosis.report import Report

__all__ = ["Evidence", "Finding", "Fix", "Location", "Report", "doctor", "watch"]
