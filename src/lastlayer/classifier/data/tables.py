"""Tables: CSV, TSV, Parquet and JSON lines, read into Arrow with every cell as it was written."""

from pathlib import Path
from typing import Any
from uuid import uuid4

from lastlayer.classifier.data.rows import examples
from lastlayer.classifier.data.text_tables import read_csv, read_jsonl
from lastlayer.classifier.extras import need
from lastlayer.classifier.files import reading
from lastlayer.errors import DataError

TEXT, TYPED = (".csv", ".tsv"), (".parquet", ".jsonl")


def is_table(path: Path) -> bool:
    """Whether the name ends like a table's."""
    return path.suffix.lower() in TEXT + TYPED


def is_text(path: Path) -> bool:
    """Whether the cells of the table have neither types nor an encoding of their own."""
    return path.suffix.lower() in TEXT


def read_table(path: Path, *, encoding: str = "utf-8", separator: str | None = None) -> Any:
    """Return a `datasets.Dataset`; the cells of a text table are strings, none of them taken for missing."""
    with reading(path):
        if is_text(path):
            table = read_csv(path, encoding, separator)
        else:
            table = read_jsonl(path) if path.suffix.lower() == ".jsonl" else _read_parquet(path)
    if len(table) == 0:
        raise DataError(f"{path.name} has no rows: expected at least one.")
    return as_dataset(table, path.name)


def _read_parquet(path: Path) -> Any:
    try:
        with path.open("rb") as file:  # by name, the library would take [, * and :: for a pattern
            return need("pyarrow.parquet").ParquetFile(file).read()
    except need("pyarrow").ArrowException as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise DataError(
            f"{path.name} cannot be read as parquet: {reason}. Write it again, or copy it again."
        ) from error


def as_dataset(table: Any, name: str) -> Any:
    """Return an Arrow table as a `datasets.Dataset`, with columns of plain types that have one name each."""
    library, names = need("pyarrow"), table.column_names
    twice = sorted({column for column in names if names.count(column) > 1})
    if twice:
        raise DataError(f"{name} has more than one column named {examples(twice)}. Give each its own name.")
    table = table.replace_schema_metadata(None)
    for place, field in enumerate(table.schema):
        if library.types.is_dictionary(field.type):
            table = table.set_column(place, field.name, table.column(place).cast(field.type.value_type))
        elif isinstance(field.type, library.BaseExtensionType):
            table = table.set_column(place, field.name, _as_text(table.column(place)))
    datasets = need("datasets")
    try:
        # A name of its own: the library would else hash every cell to find one.
        return datasets.Dataset(datasets.table.InMemoryTable(table), fingerprint=uuid4().hex)
    except (ValueError, NotImplementedError, TypeError) as error:
        kinds = ", ".join(f"{field.name}: {field.type}" for field in table.schema)[:300]
        raise DataError(
            f"{name} has a column of a type that cannot be read ({kinds}). Make it text or numbers."
        ) from error


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
    """The rows of a dataset as one Arrow table; its own `data` still holds the rows that were not selected."""
    return data.with_format("arrow")[:]
