"""What was found in the data before training, as plain values for the report's template."""

from collections.abc import Mapping
from typing import Any

from lastlayer.classifier.data.checks import SEVERITIES
from lastlayer.classifier.report.said import Said
from lastlayer.messages import said

_MOST_NAMES = 60


def data_section(data: Mapping[str, Any], say: Said) -> dict[str, Any]:
    """The rows of each split, and every finding with its rows, what to do and what training did.

    Args:
        data: What data.json holds.
        say: The words.
    """
    findings = [_finding(each, say) for each in data.get("findings", ())]
    stops, harms, notes = (sum(each["severity"] == severity for each in findings) for severity in SEVERITIES)
    return {
        "parts": _parts(data.get("rows", {}), say),
        "findings": findings,
        "counts": say.text("findings.counts", stops=stops, harms=harms, notes=notes) if findings else "",
        "harmful": stops + harms,
    }


def _parts(rows: Mapping[str, int], say: Said) -> list[dict[str, Any]]:
    total = sum(rows.values()) or 1
    return [
        {"id": part, "name": say.text(f"part.{part}"), "rows": f"{count:,}", "width": f"{100 * count / total:.2f}"}
        for part, count in rows.items()
        if count
    ]


def _finding(found: Mapping[str, Any], say: Said) -> dict[str, Any]:
    names = found["rows"]
    return {
        "id": found["id"],
        "severity": found["severity"],
        "badge": say.text(f"findings.{found['severity']}"),
        **{part: said(found[part], say.language) for part in ("what", "fix", "how")},
        "names": names[:_MOST_NAMES],
        "more": max(len(names), found["count"]) - _MOST_NAMES if len(names) > _MOST_NAMES else 0,
        "count": f"{len(names):,}",
    }
