"""What can be wrong with labelled data, one file per kind of mistake; each check yields findings."""

from lastlayer.classifier.data.checks.all_checks import CHEAP, THOROUGH, found
from lastlayer.classifier.data.checks.finding import SEVERITIES, Finding
from lastlayer.classifier.data.checks.subject import Subject

__all__ = ["CHEAP", "SEVERITIES", "THOROUGH", "Finding", "Subject", "found"]
