"""What a person may name as data: the digits, a folder of images, a table, or something already in memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lastlayer.classifier.config import Config
from lastlayer.classifier.data import images, tables
from lastlayer.classifier.data.columns import words
from lastlayer.classifier.data.rows import Label, Rows, examples, plural
from lastlayer.classifier.extras import need
from lastlayer.classifier.journal import Journal
from lastlayer.errors import ColumnError, ConfigError, DataError, DataNotFoundError, did_you_mean

DIGITS = "digits"


def open_labelled(source: Any, config: Config, journal: Journal) -> Rows:
    """Read labelled rows from a name, a path, a pandas DataFrame or a `datasets.Dataset`."""
    if isinstance(source, str) and source == DIGITS:
        return images.digits()
    if not isinstance(source, (str, Path)):
        data, name = in_memory(source)
        return _labelled(data, name, config, journal)
    path = existing(source)
    if path.is_file():
        return _labelled(_table(path, config), path.name, config, journal)
    parts = _split_tables(path)
    if parts:
        return _joined(parts, config, journal)
    if config.target is not None:
        raise ConfigError(f"--target names a column of a table, but {path} is a folder of images: leave it out.")
    return images.read_folder(path, journal)


def existing(source: str | Path) -> Path:
    """Return the path, or say what is near it."""
    path = Path(source).expanduser()
    if path.exists():
        if path.is_file() and not (tables.is_table(path) or images.is_image(path)):
            raise DataError(
                f"{path} ends in {path.suffix or 'nothing'}: expected a table "
                f"({', '.join(tables.TEXT + tables.TYPED)}), an image, or a folder of images."
            )
        return path
    near = [child.name for child in path.parent.iterdir()] if path.parent.is_dir() else []
    known = "" if path.parent != Path() else f" '{DIGITS}' names the handwritten digits that come with lastlayer."
    raise DataNotFoundError(f"there is no file or folder {str(source)!r}.{did_you_mean(path.name, near)}{known}")


def _table(path: Path, config: Config) -> Any:
    if not tables.is_table(path):
        raise DataError(f"{path} is a single image: training needs a folder with one folder of images per class.")
    return tables.read_table(path, encoding=config.encoding, separator=config.separator)


def in_memory(source: Any) -> tuple[Any, str]:
    """Return a dataset of rows in memory, and what its rows are called."""
    datasets, pandas = need("datasets"), need("pandas")
    try:
        if isinstance(source, pandas.DataFrame):
            return datasets.Dataset.from_pandas(source.rename(columns=str), preserve_index=False), "frame"
        if isinstance(source, datasets.Dataset):
            return source, "dataset"
        if isinstance(source, Sequence) and source and all(isinstance(row, dict) for row in source):
            return datasets.Dataset.from_list(list(source)), "rows"
    except need("pyarrow").ArrowException as error:
        raise DataError(f"a column holds values of several types: {error}") from error
    raise DataError(
        f"data has to be a path, {DIGITS!r}, a pandas DataFrame, a datasets.Dataset or a list of dictionaries, got "
        f"{type(source).__name__}."
    )


def _split_tables(folder: Path) -> dict[str, Path]:
    """Tables named train, validation and test in a folder that holds no folders."""
    files = [file for file in sorted(folder.iterdir()) if file.is_file() and tables.is_table(file)]
    parts = {images.SPLITS[file.stem.lower()]: file for file in files if file.stem.lower() in images.SPLITS}
    return parts if "train" in parts else {}


def _joined(parts: dict[str, Path], config: Config, journal: Journal) -> Rows:
    """One set of rows of the tables of all splits; each has to have the columns of the first."""
    datasets = need("datasets")
    read = {part: _table(path, config) for part, path in parts.items()}
    columns = read["train"].column_names
    for part, data in read.items():
        lacking = [name for name in columns if name not in data.column_names]
        if lacking:
            raise ColumnError(f"{parts[part].name} lacks columns that {parts['train'].name} has: {examples(lacking)}.")
    data = datasets.concatenate_datasets([part.select_columns(columns) for part in read.values()])
    names = [f"{parts[part].name}#{row}" for part, rows in read.items() for row in range(1, len(rows) + 1)]
    given = [part for part, rows in read.items() for _ in range(len(rows))]
    return _labelled(data, names, config, journal, given)


def _labelled(
    data: Any, name: str | list[str], config: Config, journal: Journal, given: list[str] | None = None
) -> Rows:
    """Take the target column out of a table and read it as classes."""
    columns = data.column_names
    if config.target is None:
        raise ConfigError(f"a table needs --target COLUMN, the column with the class. It has: {examples(columns, 12)}.")
    if config.target not in columns:
        raise ColumnError(
            f"there is no column {config.target!r}.{did_you_mean(config.target, columns)} "
            f"The columns are: {examples(columns, 12)}."
        )
    names = [f"{name}#{row}" for row in range(1, len(data) + 1)] if isinstance(name, str) else name
    labels = read_labels(tables.arrow(data).column(config.target), config)
    rows = Rows(
        "table", data.remove_columns(config.target), names, ["" if label is None else label for label in labels], given
    )
    unlabelled = [row for row, label in enumerate(labels) if label is None]
    if not unlabelled:
        return rows
    if not config.drop_unlabelled:
        raise DataError(
            f"the target column {config.target!r} is missing in {plural(len(unlabelled), 'row')} of {len(rows):,} "
            f"({examples([names[row] for row in unlabelled])}). Fill them in, remove those rows, or leave them out "
            f"with --drop-unlabelled. Empty cells count as missing, and so do the words "
            f"{', '.join(word for word in config.missing if word and word[0] not in '#-<')} (--missing overrules them)."
        )
    journal.say(
        f"Left out {plural(len(unlabelled), 'row')} without a class ({examples([names[row] for row in unlabelled])})."
    )
    return rows.without(dict.fromkeys(unlabelled, f"no class in column {config.target!r}"))


def read_labels(cells: Any, config: Config) -> list[Label | None]:
    """Classes as numbers where all are written as numbers, else as words ("007" is a word); None where missing."""
    if need("pyarrow").types.is_boolean(cells.type):
        return list(cells.to_pylist())
    text = words(cells, set(config.missing))
    known: dict[str, Label] = {}
    for word in {word for word in text if word is not None}:
        number = _number(word)
        if number is None:
            return list(text)
        known[word] = number
    return [None if word is None else known[word] for word in text]


def _number(word: str) -> int | float | None:
    """The number that a word is the usual way to write; 3.0 is 3, as a column with missing cells has it."""
    for read in (int, float):
        try:
            number = read(word)
        except ValueError:
            continue
        if str(number) == word:
            return int(number) if float(number).is_integer() else number
    return None
