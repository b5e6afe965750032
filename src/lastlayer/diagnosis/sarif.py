"""A report in SARIF 2.1.0, which code hosts and editors read."""

from pathlib import PurePath
from typing import Any

from lastlayer import __version__
from lastlayer.diagnosis.finding import Finding
from lastlayer.diagnosis.pages import markdown
from lastlayer.diagnosis.registry import RULES
from lastlayer.diagnosis.report import Report

_LEVEL = {"error": "error", "warning": "warning", "info": "note"}


def to_sarif(report: Report, language: str = "en") -> dict[str, Any]:
    """The report as one SARIF run; consequences are results of their own, so that a line is marked wherever one is."""
    findings = [one for finding in report for one in (finding, *finding.consequences)]
    codes = sorted({finding.code for finding in findings})
    rules = [_rule(code, language) for code in codes]
    return {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": {"name": "lastlayer doctor", "version": __version__, "rules": rules}},
                "results": [_result(finding, codes.index(finding.code), language) for finding in findings],
                "invocations": [
                    {
                        "executionSuccessful": True,
                        "toolExecutionNotifications": [
                            {"level": "warning", "message": {"text": said.into(language)}} for said in report.reasons
                        ],
                    }
                ],
            }
        ],
    }


def _rule(code: str, language: str) -> dict[str, Any]:
    rule = RULES[code]
    page = markdown(code, language)
    return {
        "id": code,
        "name": "".join(word.capitalize() for word in rule.name.split("-")),
        "shortDescription": {"text": page.splitlines()[0].removeprefix("# ")},
        "help": {"text": page, "markdown": page},
        "defaultConfiguration": {"level": _LEVEL[rule.severity]},
    }


def _result(finding: Finding, index: int, language: str) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "ruleIndex": index,
        "level": _LEVEL[finding.severity],
        "message": {"text": f"{finding.message.into(language)}. {finding.fix.text.into(language)}"},
    }
    place = finding.location
    if place is not None:
        region = {"startLine": place.line, "startColumn": max(place.column, 1), "endLine": max(place.ends, place.line)}
        uri = PurePath(place.file).as_posix()
        result["locations"] = [{"physicalLocation": {"artifactLocation": {"uri": uri}, "region": region}}]
    return result
