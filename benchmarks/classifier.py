"""python -m benchmarks.classifier [PART ...]: what a classifier is worth, beside what a user would take instead.

Parts: texts, tables, calibration, prediction, epochs; without names, all. Each, and each table, is kept as soon as it
is measured, with its machine, in benchmarks/results/classifier.json; docs/classifier-figures.md is written from what is
there. `tables --only yeast` measures one table and leaves the figures of the others.
"""

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks import calibration, epochs, tables, text, throughput
from benchmarks.machine import about

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "classifier.json"
PAGE = ROOT / "docs" / "classifier-figures.md"
HEADINGS = {
    "texts": "Texts, from scratch, beside TF-IDF and logistic regression",
    "tables": "Small tables, beside scikit-learn's best",
    "calibration": "Calibration and prediction sets",
    "prediction": "Prediction",
    "epochs": "Training",
}


Numbers = dict[str, float]


def parts(options: argparse.Namespace) -> dict[str, Callable[[], Iterable[tuple[str, str, Numbers]]]]:
    """Each part by name, with the settings that were asked for: pieces (title, how it was measured, figures)."""
    return {
        "texts": lambda: [("", "", text.measure(options.data, options.seeds))],
        "tables": lambda: tables.measure_all(
            options.data, options.splits, options.seeds, options.yeast, options.only, options.default_shares
        ),
        "calibration": lambda: [("", "", calibration.measure())],
        "prediction": lambda: [("", "", throughput.measure())],
        "epochs": lambda: [("", "", epochs.measure())],
    }


def page(kept: dict[str, dict[str, Any]]) -> str:
    """The figures as Markdown."""
    lines = [
        "# What a classifier is worth",
        "",
        "Made by `make bench-classifier`; what a target asks for stands in parentheses. The data is that of the names,",
        "the splits are the same for both sides, and both are measured in one run.",
    ]
    for name, heading in HEADINGS.items():
        if name not in kept:
            lines += ["", f"## {heading}", "", "Not measured yet."]
            continue
        pieces: dict[str, dict[str, Any]] = kept[name].get("pieces", {"": kept[name]})
        lines += ["", f"## {heading}", "", "| figure | value |", "|---|---|"]
        lines += [
            f"| {figure} | {value:.4g} |" for piece in pieces.values() for figure, value in piece["numbers"].items()
        ]
        for where, titles in _measured_together(pieces).items():
            lines += ["", f"{titles}{where}"]
    return "\n".join(lines) + "\n"


def _measured_together(pieces: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Machine, date and settings, and which pieces were measured so; no titles where the part has none."""
    found = defaultdict(list)
    for title, piece in pieces.items():
        note = f" {piece['note']}." if piece.get("note") else ""
        found[f"{piece['machine']}, torch {piece['torch']}, {piece['date']}.{note}"].append(title)
    return {where: f"{'; '.join(titles)}: " if titles != [""] else "" for where, titles in found.items()}


def _results() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    return found


def _keep(part: str, title: str, note: str, numbers: Numbers) -> None:
    """Put the figures beside those of the other parts, and of the other pieces of this one."""
    found = {**about(), "date": time.strftime("%Y-%m-%d"), "numbers": numbers, **({"note": note} if note else {})}
    kept = _results()  # another part may have been kept meanwhile
    kept[part] = {"pieces": kept.get(part, {}).get("pieces", {}) | {title: found}} if title else found
    fresh = RESULTS.with_suffix(".new")
    fresh.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    fresh.replace(RESULTS)  # a stop at any moment leaves the one or the other
    PAGE.write_text(page(kept), encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="*", help=f"of {', '.join(HEADINGS)}")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--yeast", type=Path, help="yeast.csv.gz of the package river")
    parser.add_argument("--only", nargs="+", default=tables.NAMES, choices=tables.NAMES, help="some of the tables")
    parser.add_argument("--default-shares", action="store_true", help="hold out of tables what training does by itself")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--splits", type=int, default=20, help="of the tables, at least 2")
    parser.add_argument("--page", action="store_true", help="only write the page from the results that are there")
    options = parser.parse_args(arguments)
    every = parts(options)
    unknown = [name for name in options.part if name not in every]
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}: take {', '.join(every)}")
    if options.splits < 2:
        parser.error(f"an interval over splits needs at least 2 of them, got --splits {options.splits}")
    for name in [] if options.page else options.part or list(every):
        print(HEADINGS[name], flush=True)
        for title, note, numbers in every[name]():
            for figure, value in numbers.items():
                print(f"{value:12.4g}  {figure}", flush=True)
            _keep(name, title, note, numbers)
    PAGE.write_text(page(_results()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
