"""Tables: CSV, TSV, Parquet and JSON lines, read into Arrow with every cell as it was written."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from lastlayer.classifier.data.json_lines import jsonl_batches, read_jsonl
from lastlayer.classifier.data.larger import LARGE, converted, mapped
from lastlayer.classifier.data.text_tables import csv_batches, read_csv, refuse_same_names
from lastlayer.classifier.extras import need
from lastlayer.classifier.files import reading
from lastlayer.classifier.journal import Journal, Silent
from lastlayer.errors import DataError

TEXT, TYPED = (".csv", ".tsv"), (".parquet", ".jsonl", ".arrow", ".feather")
_ROWS = 65_536  # of a large parquet file at a time


def is_table(path: Path) -> bool:
    """Whether the name ends like a table's."""
    return path.suffix.lower() in TEXT + TYPED


def is_text(path: Path) -> bool:
    """Whether the cells of the table have neither types nor an encoding of their own."""
    return path.suffix.lower() in TEXT


def read_table(
    path: Path, *, encoding: str = "utf-8", separator: str | None = None, journal: Journal | None = None
) -> Any:
    """Return a `datasets.Dataset`; the cells of a text table are strings, none of them taken for missing.

    A large table stays on the disk: it is converted once, and the journal hears of it.
    """
    journal = journal or Journal(Silent())
    kind = path.suffix.lower()
    with reading(path), _understood(path):
        if kind == ".parquet":
            return _read_parquet(path, journal)
        if kind in (".arrow", ".feather"):
            return _on_disk(path, path.name)
        size = path.stat().st_size
        if size > LARGE and is_text(path):
            batches, how = csv_batches(path, encoding, separator), f"csv {encoding} {separator}"
            return _on_disk(converted(path, how, batches, size, journal), path.name)
        if size > LARGE:
            batches = jsonl_batches(path, journal.listener)
            return _on_disk(converted(path, "jsonl", batches, size, journal), path.name)
        table = read_csv(path, encoding, separator) if is_text(path) else read_jsonl(path)
    return _with_rows(table, path.name)


def _with_rows(table: Any, name: str) -> Any:
    if len(table) == 0:
        raise DataError(f"{name} has no rows: expected at least one.")
    return as_dataset(table, name)


@contextmanager
def _understood(path: Path) -> Iterator[None]:
    try:
        yield
    except need("pyarrow").ArrowException as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise DataError(
            f"{path.name} cannot be read as {path.suffix[1:].lower()}: {reason}. Write it again, or copy it again."
        ) from error


def _read_parquet(path: Path, journal: Journal) -> Any:
    with path.open("rb") as file:  # by name, the library would take [, * and :: for a pattern
        parquet = need("pyarrow.parquet").ParquetFile(file)
        groups = [parquet.metadata.row_group(place) for place in range(parquet.metadata.num_row_groups)]
        size = sum(group.total_byte_size for group in groups)
        if size <= LARGE:
            return _with_rows(parquet.read(), path.name)
        refuse_same_names(parquet.schema_arrow.names, path.name)
        rows = parquet.metadata.num_rows
        return _on_disk(converted(path, "parquet", _parquet_batches(parquet, size, rows), size, journal), path.name)


def _parquet_batches(parquet: Any, size: int, rows: int) -> Iterator[tuple[Any, int]]:
    done = 0
    for batch in parquet.iter_batches(_ROWS):
        done += len(batch)
        table = plain_types(need("pyarrow").Table.from_batches([batch]))
        for piece in table.combine_chunks().to_batches():
            yield piece, size * done // rows


def _on_disk(path: Path, name: str) -> Any:
    """A dataset of an Arrow file; where its columns have types that need changing, it is read into memory."""
    data = mapped(path)
    schema = data.data.schema
    refuse_same_names(schema.names, name)
    if len(data) == 0:
        raise DataError(f"{name} has no rows: expected at least one.")
    return data if all(map(_is_plain, schema)) else as_dataset(data.data.table, name)


def as_dataset(table: Any, name: str) -> Any:
    """Return an Arrow table as a `datasets.Dataset`, with columns of plain types that have one name each."""
    refuse_same_names(table.column_names, name)
    table = plain_types(table)
    datasets = need("datasets")
    try:
        # A name of its own: the library would else hash every cell to find one.
        return datasets.Dataset(datasets.table.InMemoryTable(table), fingerprint=uuid4().hex)
    except (ValueError, NotImplementedError, TypeError) as error:
        kinds = ", ".join(f"{field.name}: {field.type}" for field in table.schema)[:300]
        raise DataError(
            f"{name} has a column of a type that cannot be read ({kinds}). Make it text or numbers."
        ) from error


def plain_types(table: Any) -> Any:
    """An Arrow table whose columns are no dictionaries and of no type of somebody's own."""
    library = need("pyarrow")
    table = table.replace_schema_metadata(None)
    for place, field in enumerate(table.schema):
        if library.types.is_dictionary(field.type):
            table = table.set_column(place, field.name, table.column(place).cast(field.type.value_type))
        elif not _is_plain(field):
            table = table.set_column(place, field.name, _as_text(table.column(place)))
    return table


def _is_plain(field: Any) -> bool:
    library = need("pyarrow")
    return not (library.types.is_dictionary(field.type) or isinstance(field.type, library.BaseExtensionType))


def _as_text(column: Any) -> Any:
    cells = [None if cell is None else str(cell) for cell in column.to_pandas()]
    return need("pyarrow").array(cells, need("pyarrow").string())


def stacked(parts: dict[str, Any]) -> Any:
    """The rows of several datasets with the same columns; a column that is text in one of them is text in all."""
    library = need("pyarrow")
    read = {name: arrow(data) for name, data in parts.items()}
    first = next(iter(read.values()))
    for column in first.column_names:
        kinds = {table.schema.field(column).type for table in read.values()}
        if len(kinds) > 1 and any(map(library.types.is_string, kinds)):
            for name, table in read.items():
                place = table.schema.get_field_index(column)
                cells = [None if cell is None else str(cell) for cell in table.column(column).to_pylist()]
                read[name] = table.set_column(place, column, library.array(cells, library.string()))
    try:
        together = library.concat_tables(list(read.values()), promote_options="permissive")
    except library.ArrowException as error:
        raise DataError(
            f"{' and '.join(parts)} have columns of different types: {error}. Save all in the same format."
        ) from error
    return as_dataset(together, "the table")


def arrow(data: Any) -> Any:
    """The rows of a dataset as one Arrow table; its own `data` still holds the rows that were not selected.

    Where rows of a large table were selected, its columns are gathered one by one, each when it is asked for.
    """
    chosen = data._indices
    if chosen is None:
        return data.with_format("arrow")[:]
    places = chosen.column(0).to_numpy()
    if len(places) > 1 and not (places[1:] > places[:-1]).all():
        return data.data.table.take(places)
    first, last = (int(places[0]), int(places[-1])) if len(places) else (0, -1)
    span = data.data.table.slice(first, last + 1 - first)
    keep = np.zeros(len(span), bool)
    keep[places - first] = True
    return Gathered(span, keep) if span.nbytes > LARGE else span.filter(need("pyarrow").array(keep))


class Gathered:
    """Some rows of an Arrow table that need not fit into memory: a column at a time."""

    def __init__(self, table: Any, keep: np.ndarray) -> None:
        self.table, self.keep = table, keep
        self.column_names, self.schema = table.column_names, table.schema

    def __len__(self) -> int:
        return int(self.keep.sum())

    def column(self, name: str | int) -> Any:
        """A column of the rows that are kept."""
        return self.table.column(name).filter(need("pyarrow").array(self.keep))
