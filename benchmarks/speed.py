"""python -m benchmarks.speed [--quick] [--case NAME] [--guide]: the table of targets, kept with the machine named.

Writes benchmarks/results/speed.json and from it docs/guides/speed.md and its picture; --guide does the second only.
"""

import argparse
import sys
from pathlib import Path

from benchmarks import startup
from benchmarks.guide import guide
from lastlayer import bench
from lastlayer.bench import plot, table, targets
from lastlayer.bench.machine import about
from lastlayer.bench.targets import Row

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "speed.json"
GUIDE = ROOT / "docs" / "guides" / "speed.md"


def starting(numbers: dict[str, float]) -> list[Row]:
    """The targets of starting, from what `startup.measure` found."""
    found = []
    for name, value in numbers.items():
        what, _, most = name.removesuffix(")").partition(" (at most ")
        found.append(Row(what.split(",")[0][:34], f"≤ {most}", f"{value:.3g}", value <= float(most)))
    return found


def measure(cases: list[bench.Case], settings: bench.Settings, startup_numbers: dict[str, float]) -> bench.Report:
    """Measure and print everything, the table of targets last."""
    print("\n".join([*table.machine_lines(about(settings.device)), ""]))
    report = bench.run(
        cases, settings, found=lambda result: print("\n".join([*table.case_lines(result), ""]), flush=True)
    )
    rows = [*starting(startup_numbers), *targets.rows(report, cases)]
    print("\n".join(table.target_lines(rows)))
    return report


def write_guide() -> None:
    """Fill the guide from the results that are kept; without any it says so."""
    report = bench.Report.load(RESULTS) if RESULTS.is_file() else None
    GUIDE.parent.mkdir(parents=True, exist_ok=True)
    GUIDE.write_text(guide(report), encoding="utf-8")
    if report is not None:
        GUIDE.with_suffix(".svg").write_text(plot.svg(report), encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the short run; nothing is kept")
    parser.add_argument("--case", action="append", help="a case, or how names begin; nothing is kept")
    parser.add_argument("--guide", action="store_true", help="only write the guide from the results that are there")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args(arguments)
    if not options.guide:
        settings = bench.quick(options.device) if options.quick else bench.Settings(options.device, options.seconds)
        cases = bench.chosen(options.case, quick=options.quick)
        report = measure(cases, settings, {} if options.quick or options.case else startup.measure())
        if options.quick or options.case:
            return 0
        report.save(RESULTS)
    write_guide()
    return 0


if __name__ == "__main__":
    sys.exit(main())
