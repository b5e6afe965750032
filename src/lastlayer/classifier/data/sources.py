"""What a person may name as data: the digits, a folder of images, a table, or something already in memory."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lastlayer.classifier.config import Config
from lastlayer.classifier.data import images, labels, published, tables
from lastlayer.classifier.data.json_lines import from_rows
from lastlayer.classifier.data.rows import Rows, examples, plural
from lastlayer.classifier.extras import need
from lastlayer.classifier.files import reading
from lastlayer.classifier.journal import Journal, Silent
from lastlayer.errors import ColumnError, ConfigError, DataError, DataNotFoundError, did_you_mean
from lastlayer.messages import Message, few
from lastlayer.messages.wording import option

DIGITS = "digits"


def open_labelled(source: Any, config: Config, journal: Journal, *, training: bool = True) -> Rows:
    """Read labelled rows from a name, a path, a pandas DataFrame or a `datasets.Dataset`.

    Messages advise settings only where they are for `training`.
    """
    if isinstance(source, str) and source == DIGITS:
        return images.digits()
    if not isinstance(source, (str, Path)):
        parts = published.in_memory(source)
        if parts is not None:
            return _of_datasets(parts, config, journal, training)
        data, name = in_memory(source)
        return _labelled(data, name, config, journal, training)
    asked = published.name_of(str(source))
    if asked is not None:
        return _of_datasets(published.open_name(asked), config, journal, training)
    path = existing(source)
    if path.is_file():
        return _labelled(_table(path, config, journal), path.name, config, journal, training, folder=path.parent)
    files = _split_tables(path, journal)
    if files:
        return _joined(files, config, journal, training, path)
    if published.is_folder(path):
        return _of_datasets(published.open_folder(path), config, journal, training)
    return images.read_folder(path, journal)


def kind_of(source: Any) -> str:
    """What data a name stands for, before any of it is read.

    "image", "table", "text table" for .csv and .tsv, or "image table" where a column of a data set holds pictures.
    """
    if isinstance(source, str) and source == DIGITS:
        return "image"
    if not isinstance(source, (str, Path)):
        parts = published.in_memory(source)
        return "table" if parts is None else _kind_of_datasets(parts)
    asked = published.name_of(str(source))
    if asked is not None:
        return _kind_of_datasets(published.open_name(asked))
    path = existing(source)
    if path.is_file():
        files = [path] if tables.is_table(path) else []
    else:
        files = list(_split_tables(path, Journal(Silent())).values())
    if not files:
        is_datasets = path.is_dir() and published.is_folder(path)
        return _kind_of_datasets(published.open_folder(path)) if is_datasets else "image"
    return "text table" if any(map(tables.is_text, files)) else "table"


def _kind_of_datasets(parts: dict[str, Any]) -> str:
    return "table" if published.picture_column(next(iter(parts.values()))) is None else "image table"


def _of_datasets(parts: dict[str, Any], config: Config, journal: Journal, training: bool) -> Rows:
    """Rows of what the library `datasets` has read: pictures where a column holds them, else a table."""
    parts = published.known_splits(parts, journal)
    first = parts["train"]
    named, picture = published.class_column(first), published.picture_column(first)
    if config.target is None and named is not None:
        journal.say(Message("read.target", column=named))
        config = replace(config, target=named)
    names = [f"{part}#{row}" for part, data in parts.items() for row in range(1, len(data) + 1)]
    given = [part for part, data in parts.items() for _ in range(len(data))] if len(parts) > 1 else None
    if picture is None:
        data = tables.stacked({part: _with_class_names(each) for part, each in parts.items()})
        return _labelled(data, names, config, journal, training, given)
    stored = need("datasets").Image(decode=False)
    pictures = {part: each.select_columns(picture).cast_column(picture, stored) for part, each in parts.items()}
    rest = {part: _with_class_names(each.remove_columns(picture)) for part, each in parts.items()}
    together = tables.stacked({part: tables.as_dataset(tables.arrow(each), part) for part, each in rest.items()})
    rows = _labelled(together, list(names), config, journal, training, given)
    whole = need("datasets").concatenate_datasets([each.rename_column(picture, "image") for each in pictures.values()])
    places = {name: row for row, name in enumerate(names)}
    return replace(rows, kind="image", data=whole.select([places[name] for name in rows.names]))


def existing(source: str | Path) -> Path:
    """Return the path, or say what is near it."""
    with reading(source):
        path = Path(source).expanduser()
        there = bool(str(source)) and path.exists()
    if there:
        if not path.is_file() and not path.is_dir():
            raise DataError(f"{path} is neither a file nor a folder: expected a table, an image or a folder of images.")
        if path.is_file() and not (tables.is_table(path) or images.is_image(path)):
            raise DataError(
                f"{path} ends in {path.suffix or 'nothing'}: expected a table "
                f"({', '.join(tables.TEXT + tables.TYPED)}), an image, or a folder of images."
            )
        return path
    near = [DIGITS] if path.parent == Path() and path.name != DIGITS else []
    if path.parent.is_dir():
        with reading(path.parent):
            near += [child.name for child in path.parent.iterdir()]
    known = "" if path.parent != Path() else f" '{DIGITS}' names the handwritten digits that come with lastlayer."
    raise DataNotFoundError(f"there is no file or folder {str(source)!r}.{did_you_mean(path.name, near)}{known}")


def _table(path: Path, config: Config, journal: Journal) -> Any:
    if not tables.is_table(path):
        raise DataError(f"{path} is a single image: expected a folder with one folder of images per class.")
    return tables.read_table(path, encoding=config.encoding, separator=config.separator, journal=journal)


def in_memory(source: Any) -> tuple[Any, str]:
    """Return a dataset of rows in memory, and what its rows are called."""
    datasets, pandas = need("datasets"), need("pandas")
    if isinstance(source, pandas.DataFrame):
        return _of_frame(source), "frame"
    if isinstance(source, datasets.Dataset):
        return _with_class_names(source), "dataset"
    if isinstance(source, Sequence) and source and all(isinstance(row, dict) for row in source):
        return tables.as_dataset(from_rows(source), "the rows"), "rows"
    raise DataError(
        f"data has to be a path, {DIGITS!r}, a pandas DataFrame, a datasets.Dataset or a list of dictionaries, got "
        f"{type(source).__name__}."
    )


def _of_frame(frame: Any) -> Any:
    arrow = need("pyarrow")
    frame = frame.rename(columns=str)
    spelled = {
        name: kind for name, kind in frame.dtypes.items() if kind.name.startswith(("period", "interval"))
    }  # pandas' own kinds, which nothing else knows: as words
    try:
        frame = frame.astype(dict.fromkeys(spelled, str)) if spelled and frame.columns.is_unique else frame
        return tables.as_dataset(arrow.Table.from_pandas(frame, preserve_index=False), "the DataFrame")
    except (arrow.ArrowException, ValueError) as error:
        if isinstance(error, DataError):
            raise
        twice = sorted(set(frame.columns[frame.columns.duplicated()]))
        if twice:
            raise DataError(f"the DataFrame has more than one column named {examples(twice)}: rename one.") from error
        raise DataError(f"a column holds values of several types: {error}. Make it text or numbers.") from error


def _with_class_names(data: Any) -> Any:
    """A column of class numbers that a dataset has names for, by those names."""
    label = need("datasets").ClassLabel
    named = {name: feature for name, feature in data.features.items() if isinstance(feature, label)}
    if not named:
        return data
    table = tables.arrow(data)
    for name, feature in named.items():
        words_ = [None if cell is None or cell < 0 else feature.names[cell] for cell in table.column(name).to_pylist()]
        table = table.set_column(table.schema.get_field_index(name), name, need("pyarrow").array(words_))
    return tables.as_dataset(table, "the dataset")


def _split_tables(folder: Path, journal: Journal) -> dict[str, Path]:
    """Tables named train, validation and test in a folder; another table beside them is left out, and said."""
    with reading(folder):
        inside = sorted(folder.iterdir())
    files = [file for file in inside if file.is_file() and file.name[0] != "." and tables.is_table(file)]
    parts: dict[str, Path] = {}
    for file in files:
        split = images.SPLITS.get(file.stem.lower())
        if split in parts:
            raise DataError(f"{parts[split].name} and {file.name} in {folder} are both the {split} split: remove one.")
        if split is not None:
            parts[split] = file
    if "train" not in parts:
        has_folders = any(child.is_dir() and child.name[0] != "." for child in inside)
        if files and not has_folders and not published.is_folder(folder):
            raise DataError(
                f"{folder} holds a table and none called train: name it ({files[0]}), or call the tables train, "
                "validation and test."
            )
        return {}
    others = [file.name for file in files if file not in parts.values()]
    if others:
        tables_of_splits = few([file.name for file in parts.values()])
        journal.say(Message("read.other_tables", shown=few(others), parts=tables_of_splits))
    return parts


def _joined(parts: dict[str, Path], config: Config, journal: Journal, training: bool, folder: Path) -> Rows:
    """One set of rows of the tables of all splits; each has to have the columns of the first."""
    read = {part: _table(path, config, journal) for part, path in parts.items()}
    columns = read["train"].column_names
    for part, data in read.items():
        lacking = [name for name in columns if name not in data.column_names]
        if lacking:
            raise ColumnError(
                f"{parts[part].name} lacks {plural(len(lacking), 'column')} that {parts['train'].name} has: "
                f"{examples(lacking)}. Add them, or remove them there."
            )
    data = tables.stacked({parts[part].name: each.select_columns(columns) for part, each in read.items()})
    names = [f"{parts[part].name}#{row}" for part, rows in read.items() for row in range(1, len(rows) + 1)]
    given = [part for part, rows in read.items() for _ in range(len(rows))]
    return _labelled(data, names, config, journal, training, given, folder)


def _labelled(
    data: Any,
    name: str | list[str],
    config: Config,
    journal: Journal,
    training: bool,
    given: list[str] | None = None,
    folder: Path = Path(),
) -> Rows:
    """Take the target columns out of a table and read them as classes."""
    columns = data.column_names
    if len(data) == 0:
        raise DataError("the table has no rows: expected at least one of each class.")
    _check_columns(columns, config)
    names = [f"{name}#{row}" for row in range(1, len(data) + 1)] if isinstance(name, str) else name
    answers = labels.read_answers(data, config)
    spaced = labels.with_spaces(data, config)
    if spaced:
        shown = few([names[row] for row in spaced])
        journal.say(Message("read.spaces", what=labels.named(config), cells=len(spaced), shown=shown))
    rest = data.remove_columns(list(labels.columns_of(config)))
    rows = Rows("table", rest, names, ["" if answer is None else answer for answer in answers], given)
    if config.image is not None:
        rows = pictures_of(rows, config, folder)
    unlabelled = [row for row, answer in enumerate(answers) if answer is None]
    if not unlabelled:
        return rows
    if not config.drop_unlabelled:
        words_for_it = ", ".join(word for word in config.missing if word and word[0] not in "#-<")
        leave = f"remove those rows, or leave them out with {option('drop_unlabelled', True)}"
        advice = f"Fill them in, {leave}" if training else "Fill them in, or remove those rows"
        overrule = f" ({option('missing')} overrules them)" if training else ""
        raise DataError(
            f"the target {labels.named(config)} is missing in {plural(len(unlabelled), 'row')} of {len(rows):,} "
            f"({examples([names[row] for row in unlabelled])}). {advice}. Empty cells "
            f"count as missing, and so do the words {words_for_it}{overrule}."
        )
    journal.say(Message("read.no_class", rows=len(unlabelled), shown=few([names[row] for row in unlabelled])))
    return rows.without(dict.fromkeys(unlabelled, Message("reason.no_class", what=labels.named(config))))


def _check_columns(columns: Sequence[str], config: Config) -> None:
    if config.target is None:
        raise ConfigError(
            f"a table needs {option('target')}, the column with the class. It has: {examples(columns, 12)}."
        )
    for name in (*labels.columns_of(config), *(() if config.image is None else (config.image,))):
        if name not in columns:
            raise ColumnError(
                f"there is no column {name!r}.{did_you_mean(name, columns)} The columns are: {examples(columns, 12)}."
            )


def pictures_of(rows: Rows, config: Config, folder: Path) -> Rows:
    """The rows of a table as the pictures that one of its columns names; paths start at the table's folder."""
    cells = tables.arrow(rows.data).column(config.image)
    paths = ["" if cell is None else str(cell) for cell in cells.to_pylist()]
    data = images.from_pictures([images.entry(folder / path) for path in paths])
    return replace(
        rows, kind="image", data=data, names=[path or name for path, name in zip(paths, rows.names, strict=True)]
    )
