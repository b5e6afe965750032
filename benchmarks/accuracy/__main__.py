"""python -m benchmarks.accuracy [--quick] [--case NAME]: the distance from the exact result, in ULP.

Without arguments it asks everything, writes benchmarks/results/accuracy.json, docs/accuracy.md and
docs/compared-with-pytorch.md, and exits with 1 when a promise is broken. --quick asks less and writes nothing.
"""

import argparse
import sys

import torch

from benchmarks.accuracy import compared, measure, pages
from benchmarks.accuracy.cases import CASES
from benchmarks.accuracy.promises import kept


def main() -> int:
    """Ask, print, write."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.accuracy", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the inputs; print, write nothing")
    parser.add_argument("--case", choices=list(CASES), metavar="NAME", help="one comparison with PyTorch")
    parser.add_argument("--list", action="store_true", help="the names of the comparisons")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.list or options.case:
        print("\n".join(CASES) if options.list else compared.text(options.case))
        return 0
    results = list(measure.run(measure.QUICK if options.quick else measure.FULL))
    promises = kept(results)
    print(pages.text(results, promises))
    if not options.quick:
        for path in pages.write(results, promises):
            print(f"wrote {path}")
    return 1 if any(result.missed() for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
