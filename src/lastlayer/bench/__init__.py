"""This machine, side by side: lastlayer, PyTorch and installed kernel libraries on the same work, judged first."""

from lastlayer.bench.cases import CASES, Case, chosen
from lastlayer.bench.results import CaseResult, Entry, Report
from lastlayer.bench.runner import Settings, quick, run

__all__ = ["CASES", "Case", "CaseResult", "Entry", "Report", "Settings", "chosen", "quick", "run"]
