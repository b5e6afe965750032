"""What prediction costs: against the bare forward pass, where the time goes from files, and what memory it takes.

Run it as `python -m benchmarks.throughput [--rows 2000000]`.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import torch
from PIL import Image

from lastlayer import Classifier
from lastlayer.classifier.data import csv_stream
from lastlayer.classifier.predicting import prediction_files, predictor, streaming
from lastlayer.classifier.predicting.prediction_files import Output

COLUMNS, ROUNDS = 20, 9


def table(folder: Path) -> Classifier:
    """A classifier of 20 numbers, three classes."""
    random = np.random.default_rng(0)
    values = random.normal(size=(3_000, COLUMNS))
    columns = {f"x{place}": values[:, place] for place in range(COLUMNS)}
    data = pa.table({**columns, "y": np.array(["a", "b", "c"])[np.digitize(values[:, 0], [-0.4, 0.4])]}).to_pandas()
    return Classifier(epochs=2, verbose=False, device="cpu").fit(data, "y", output=folder / "table")


def pictures(folder: Path, side: int = 64, per_class: int = 150) -> Classifier:
    """A classifier of PNG files of random blocks, three classes."""
    random = np.random.default_rng(0)
    for label in "abc":
        (folder / "pictures" / label).mkdir(parents=True)
        for place in range(per_class):
            blocks = random.integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
            Image.fromarray(blocks).save(folder / "pictures" / label / f"{place}.png")
    return Classifier(epochs=1, verbose=False, device="cpu").fit(folder / "pictures", output=folder / "images")


def write_table(path: Path, rows: int) -> Path:
    """A CSV of random numbers, made a part at a time."""
    schema = pa.schema([(f"x{place}", pa.float64()) for place in range(COLUMNS)])
    with pyarrow.csv.CSVWriter(path, schema) as writer:
        for start in range(0, rows, 100_000):
            random = np.random.default_rng(start)
            part = random.normal(size=(COLUMNS, min(100_000, rows - start))).round(6)
            writer.write_table(pa.table(list(part), schema=schema))
    return path


def bare(model: Classifier, inputs: tuple[torch.Tensor, ...], size: int) -> None:
    """The loop that everybody writes."""
    with torch.inference_mode():
        torch.cat(
            [model._network(tuple(part[at : at + size] for part in inputs)) for at in range(0, len(inputs[0]), size)]
        )


def against_bare(model: Classifier, inputs: tuple[torch.Tensor, ...]) -> float:
    """Rows per CPU second of `predict_proba`, over those of the bare forward pass: the median of interleaved pairs."""
    size = predictor.default_batch(model.record.spec, "cpu")
    ways: list[Callable[[], Any]] = [lambda: bare(model, inputs, size), lambda: model.predict_proba(inputs)]
    ratios = []
    for turn in range(ROUNDS + 2):
        took = []
        for way in ways if turn % 2 else ways[::-1]:
            started = time.process_time()
            way()
            took.append(time.process_time() - started)
        plain, ours = took if turn % 2 else took[::-1]
        ratios.append(plain / ours)
    return statistics.median(ratios[2:])  # the first two warm up


@contextmanager
def stopwatches(*places: tuple[str, Any, str]) -> Iterator[dict[str, float]]:
    """Seconds spent in some functions, by what they do; they must not call each other."""
    spent: dict[str, float] = defaultdict(float)
    kept = [(owner, name, getattr(owner, name)) for _, owner, name in places]

    def timed(what: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def around(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                spent[what] += time.perf_counter() - started

        return around

    for what, owner, name in places:
        setattr(owner, name, timed(what, getattr(owner, name)))
    try:
        yield spent
    finally:
        for owner, name, function in kept:
            setattr(owner, name, function)


def where_time_goes(model: Classifier, source: Path, output: Path, options: streaming.Options) -> dict[str, float]:
    """Shares of the time from a file or folder to a CSV, and rows a second."""
    with stopwatches(
        ("reading", csv_stream.CsvChunks, "feed"),
        ("encoding", streaming, "Examples"),
        ("decoding", predictor.Examples, "_pictures"),
        ("forward", predictor.Predictor, "of_batch"),
        ("probabilities", streaming, "judged"),
        ("rows", streaming.Part, "table"),
        ("writing", prediction_files.Output, "write"),
    ) as spent:
        started, rows = time.perf_counter(), 0
        with Output(output, {}, overwrite=True) as file:
            for part in model.stream(source, options):
                file.write(part.table(), part.digest)
                rows = part.rows
            file.finish()
        whole = time.perf_counter() - started
    found = {what: seconds / whole for what, seconds in spent.items()}
    return {"rows a second": rows / whole, **found, "the rest": 1 - sum(found.values())}


def peak(run: Path, source: Path) -> float:
    """MiB that a process has at most resident while it predicts a table into a file."""
    code = (
        "import resource, sys\n"
        "from lastlayer.cli import run\n"
        "code = run(sys.argv[1:])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
        "sys.exit(code)\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-c",
            code,
            "predict",
            str(run),
            str(source),
            "--device",
            "cpu",
            "--output",
            f"{folder}/p.csv",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout) / (2**20 if sys.platform == "darwin" else 2**10)


def measure(rows: int = 2_000_000) -> dict[str, float]:
    """Every number, by name."""
    return dict(numbers(rows))


def numbers(rows: int) -> Iterator[tuple[str, float]]:
    """Every number with its name, as it is measured."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tables, images = table(folder), pictures(folder)
        inputs = (torch.randn(100_000, COLUMNS), torch.zeros(100_000, 0, dtype=torch.int64))
        in_memory = "in memory: rows a second / bare forward pass (at least 0.9)"
        yield f"predict, table {in_memory}", against_bare(tables, inputs)
        yield (
            f"predict, images {in_memory}",
            against_bare(images, (images.read(folder / "pictures")[0].repeat(3, 1, 1, 1)[:1_000],)),
        )
        small = write_table(folder / "small.csv", 200_000)
        for what, share in where_time_goes(tables, small, folder / "p.csv", streaming.Options()).items():
            yield f"predict, CSV of {COLUMNS} numbers to CSV: {what}", share
        alone = streaming.Options(workers=0)  # one thing at a time, or shares would overlap
        for what, share in where_time_goes(images, folder / "pictures", folder / "p.csv", alone).items():
            yield f"predict, PNG files of 64×64 to CSV: {what}", share
        at_most = "predict, MiB at most resident, table of"
        yield f"{at_most} 20,000 rows", peak(folder / "table", write_table(folder / "tiny.csv", 20_000))
        large = write_table(folder / "large.csv", rows)
        yield f"{at_most} {rows:,} rows ({large.stat().st_size >> 20} MiB)", peak(folder / "table", large)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    for name, value in numbers(parser.parse_args().rows):
        print(f"{value:12.4f}  {name}", flush=True)
    print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10:12}  MiB at most resident in this process")
    return 0


if __name__ == "__main__":
    sys.exit(main())
