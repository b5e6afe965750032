"""Tables: CSV, TSV, Parquet and JSON lines, read into Arrow with every cell as it was written."""

import csv
import io
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from lastlayer.classifier.data.rows import examples
from lastlayer.classifier.extras import need
from lastlayer.errors import DataError

TEXT, TYPED = (".csv", ".tsv"), (".parquet", ".jsonl")
_SEPARATORS = (",", ";", "\t", "|")


class Layout(NamedTuple):
    """How a text table is written."""

    separator: str
    columns: list[str]


def is_table(path: Path) -> bool:
    """Whether the name ends like a table's."""
    return path.suffix.lower() in TEXT + TYPED


def read_table(path: Path, *, encoding: str = "utf-8", separator: str | None = None) -> Any:
    """Return a `datasets.Dataset`; the cells of a text table are strings, none of them taken for missing."""
    datasets = need("datasets")
    suffix = path.suffix.lower()
    if suffix in TEXT:
        layout = inspect(path, encoding, separator)
        features = datasets.Features({name: datasets.Value("string") for name in layout.columns})
        options = {"sep": layout.separator, "encoding": _with_mark(encoding), "features": features, "na_filter": False}
        read = datasets.Dataset.from_csv
    else:
        options, read = {}, datasets.Dataset.from_parquet if suffix == ".parquet" else datasets.Dataset.from_json
    verbosity = datasets.logging.get_verbosity()
    bars = datasets.are_progress_bars_disabled()
    try:
        datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # our message says it better
        datasets.disable_progress_bars()
        with tempfile.TemporaryDirectory() as cache:
            data = read(str(path), cache_dir=cache, keep_in_memory=True, **options)
    except (datasets.exceptions.DatasetGenerationError, ValueError, OSError) as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise DataError(f"{path.name} cannot be read as {suffix[1:]}: {reason}") from error
    finally:
        datasets.logging.set_verbosity(verbosity)
        if not bars:
            datasets.enable_progress_bars()
    if len(data) == 0:
        raise DataError(f"{path.name} has no rows: expected at least one below the header.")
    return data


def arrow(data: Any) -> Any:
    """The rows of a dataset as one Arrow table; its own `data` still holds the rows that were not selected."""
    return data.with_format("arrow")[:]


def inspect(path: Path, encoding: str = "utf-8", separator: str | None = None) -> Layout:
    """Go through a text table line by line: its encoding, its separator, and as many cells in each row."""
    raw = path.read_bytes()
    try:
        text = raw.decode(_with_mark(encoding))
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path.name} is not {encoding} throughout: line {line} holds the byte {raw[error.start]:#04x}. Save it in "
            "one encoding, or name it: --encoding cp949 (Korean Windows), --encoding latin-1 (Western Europe)."
        ) from error
    except LookupError as error:
        raise DataError(f"there is no encoding {encoding!r}. Try utf-8, cp949 or latin-1.") from error
    if "\0" in text:
        raise DataError(f"{path.name} holds zero bytes: expected text. Is it in another encoding (--encoding utf-16)?")
    header = text.split("\n", 1)[0]
    if separator is None:
        default = "\t" if path.suffix.lower() == ".tsv" else ","
        separator = default if default in header else max(_SEPARATORS, key=header.count)
        separator = separator if separator in header else default
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    columns = next(lines, [])
    if not any(columns):
        raise DataError(f"{path.name} is empty: expected a header line with the names of the columns.")
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise DataError(f"{path.name} has more than one column named {examples(twice)}. Give each its own name.")
    row = 0
    for cells in filter(None, lines):  # empty lines are no rows
        row += 1
        if len(cells) != len(columns):
            raise DataError(
                f"{path.name}, row {row} (line {lines.line_num}) has {len(cells)} cells, the header has "
                f"{len(columns)}. Put quotes around cells that hold {separator!r}, or name the separator: --separator."
            )
    if row == 0:
        raise DataError(f"{path.name} has no rows: expected at least one below the header.")
    return Layout(separator, columns)


def _with_mark(encoding: str) -> str:
    """Excel begins UTF-8 with a mark that would become part of the first name."""
    return "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding
