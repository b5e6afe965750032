"""python -m benchmarks.speed [--quick] [--case NAME] [--guide]: the table of targets, kept with the machine named.

Each case is kept in benchmarks/results/speed.json as it is measured, in the place of what was kept of it; from that
docs/guides/speed.md and its picture are written. --guide does the second only; the short run keeps nothing.
"""

import argparse
import sys
from pathlib import Path

from benchmarks import startup
from benchmarks.guide import guide
from lastlayer import bench
from lastlayer.bench import plot, table, targets
from lastlayer.bench.cases import CASES
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


def measure(cases: list[bench.Case], settings: bench.Settings, startup_numbers: dict[str, float], keep: bool) -> None:
    """Measure and print everything, the table of targets last."""
    machine = about(settings.device)
    print("\n".join([*table.machine_lines(machine), ""]))
    before = bench.Report.load(RESULTS) if keep and RESULTS.is_file() else None
    kept = {r.case.name: r for r in before.results} if before is not None and before.machine == machine else {}

    def found(result: bench.CaseResult) -> None:
        print("\n".join([*table.case_lines(result), ""]), flush=True)
        if keep:
            kept[result.case.name] = result
            bench.Report(machine, settings.device, [kept[name] for name in CASES if name in kept]).save(RESULTS)

    report = bench.run(cases, settings, found=found)
    rows = [*starting(startup_numbers), *targets.rows(report, cases)]
    print("\n".join(table.target_lines(rows)))


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
    parser.add_argument("--case", action="append", help="a case, or how names begin")
    parser.add_argument("--guide", action="store_true", help="only write the guide from the results that are there")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args(arguments)
    if not options.guide:
        settings = bench.quick(options.device) if options.quick else bench.Settings(options.device, options.seconds)
        cases = bench.chosen(options.case, quick=options.quick)
        measure(cases, settings, {} if options.quick or options.case else startup.measure(), not options.quick)
        if options.quick:
            return 0
    write_guide()
    return 0


if __name__ == "__main__":
    sys.exit(main())
