"""python -m benchmarks.classifier [PART ...]: what a classifier is worth, beside what a user would take instead.

Parts: texts, tables, calibration, prediction, epochs; without names, all. Each is kept as it is measured, with its
machine, in benchmarks/results/classifier.json; docs/classifier-figures.md is written from what is there.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

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


def parts(options: argparse.Namespace) -> dict[str, Callable[[], dict[str, float]]]:
    """Each part by name, with the settings that were asked for."""
    return {
        "texts": lambda: text.measure(options.data, options.seeds),
        "tables": lambda: tables.measure_all(options.data, options.splits, options.seeds, options.yeast),
        "calibration": calibration.measure,
        "prediction": throughput.measure,
        "epochs": epochs.measure,
    }


def page(kept: dict[str, dict[str, object]]) -> str:
    """The figures as Markdown."""
    lines = [
        "# What a classifier is worth",
        "",
        "Made by `make bench-classifier`; what a target asks for stands in parentheses. The data is that of the names,",
        "the splits are the same for both sides, and both are measured in one run.",
    ]
    for name, heading in HEADINGS.items():
        found = kept.get(name)
        if not isinstance(found, dict):
            lines += ["", f"## {heading}", "", "Not measured yet."]
            continue
        numbers = found["numbers"]
        assert isinstance(numbers, dict)
        lines += ["", f"## {heading}", "", "| figure | value |", "|---|---|"]
        lines += [f"| {figure} | {value:.4g} |" for figure, value in numbers.items()]
        lines += ["", f"{found['machine']}, torch {found['torch']}, {found['date']}. {found.get('note', '')}".rstrip()]
    return "\n".join(lines) + "\n"


def _results() -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="*", help=f"of {', '.join(HEADINGS)}")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--yeast", type=Path, help="yeast.csv.gz of the package river")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--page", action="store_true", help="only write the page from the results that are there")
    options = parser.parse_args(arguments)
    kept = _results()
    every = parts(options)
    unknown = [name for name in options.part if name not in every]
    if unknown:
        parser.error(f"there is no part {unknown[0]!r}: take {', '.join(every)}")
    for name in [] if options.page else options.part or list(every):
        print(HEADINGS[name], flush=True)
        numbers = every[name]()
        for figure, value in numbers.items():
            print(f"{value:12.4g}  {figure}", flush=True)
        kept = _results()  # another part may have been kept meanwhile
        kept[name] = {**about(), "date": time.strftime("%Y-%m-%d"), "numbers": numbers}
        RESULTS.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(page(kept), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
