"""Predictions in a file, written as they come: beside it until all are there, so that a killed run can go on.

Beside `out.csv` stand `.out.csv.part`, what is written so far, and `.out.csv.part.json`, how much of it counts: rows,
bytes, and what identifies model, inputs and settings. Whoever goes on cuts the file there. A file that is there
already, and a part that somebody stopped, are never lost unless somebody says so. A Parquet file cannot grow after its
end, so its part is a row of Arrow streams, and the last step writes the file from them: in groups of as many rows
whatever chunks they came in.
"""

import errno
import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

from lastlayer.classifier.extras import need
from lastlayer.classifier.files import cannot_write
from lastlayer.classifier.predicting.prediction import as_csv, as_jsonl, check_format
from lastlayer.errors import RunError, SaveError
from lastlayer.messages.wording import option

_SECONDS = 1.0  # between two notes of how far it is: what a kill costs at most
_GROUP = 65_536  # rows of a row group
_FORMAT = 1


class At(NamedTuple):
    """How far a file is; replaced as a whole, so that an interrupt never leaves half of it."""

    rows: int = 0
    errors: int = 0  # rows that could not be predicted
    size: int = 0  # bytes
    digest: bytes = b""  # identifies the inputs up to there


class Output:
    """A file of predictions in the making. Use it as a context; without `finish` the part stays, to be gone on with.

    Args:
        path: Ends in .csv, .jsonl or .parquet.
        about: What identifies model, inputs and settings; only a run with the same may go on.
        resume: Go on where an earlier run stopped, if one did.
        keep_formulas: Leave cells of CSV that a spreadsheet takes for formulas as they are.
        overwrite: Put it in the place of a file that is there, and begin anew where a part is left and `resume` is not
            said.

    Attributes:
        at: How far it is.
        begun: Whether an earlier run left a part.

    Raises:
        ConfigError: the ending names no format.
        RunError: the earlier run had another model, other inputs or other settings.
        SaveError: the file cannot be written there, or stands there already.
    """

    def __init__(
        self,
        path: Path,
        about: dict[str, Any],
        *,
        resume: bool = False,
        keep_formulas: bool = False,
        overwrite: bool = False,
    ) -> None:
        check_format(path)
        self.path, self.keep_formulas = path, keep_formulas
        self.kind = path.suffix.lower()
        self.part = path.with_name(f".{path.name}.part")
        self.state = path.with_name(f".{path.name}.part.json")
        self.about = {"format": _FORMAT, **about, "keep_formulas": keep_formulas}
        self.overwrite = overwrite
        self.at = At()
        self.file: Any = None
        self.begun = os.path.isfile(self.state)  # noqa: PTH113 - answers for names that are too long, too
        if resume and self.begun:
            self.at = self._take_up()
        elif self.begun and not overwrite:
            raise SaveError(
                f"{path.name} was begun by an earlier prediction, which was stopped: {option('resume', True)} goes on "
                f"with it, {option('overwrite', True)} begins anew."
            )
        self._refuse_existing()
        try:
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            self.file = self.part.open("r+b" if self.at.size else "wb")
            self.file.truncate(self.at.size)
            self.file.seek(self.at.size)
            if not self.at.size:
                self.state.unlink(missing_ok=True)
        except OSError as error:
            self._close()
            raise cannot_write(path, error) from error
        self.noted = time.monotonic()

    def _refuse_existing(self, whole: str = "") -> None:
        if not self.overwrite and os.path.isfile(self.path):  # noqa: PTH113 - as above
            raise SaveError(
                f"{self.path} is there already, and a file is never written over another unasked.{whole} Name a "
                f"new file with {option('output')}, or say {option('overwrite', True)}."
            )

    def _take_up(self) -> At:
        """How far the earlier run came."""
        try:
            state = json.loads(self.state.read_text(encoding="utf-8"))
            about, digest = dict(state["about"]), bytes.fromhex(state["digest"])
            at = At(int(state["rows"]), int(state["errors"]), int(state["bytes"]), digest)
            there = self.part.stat().st_size
            self.overwrite = self.overwrite or bool(state.get("overwrite"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(f"{self.state} does not say how far the prediction came ({error}). {_anew()}") from error
        if there < at.size:
            raise RunError(f"{self.part} is shorter than it was ({there:,} bytes of {at.size:,}). {_anew()}")
        for name, now in self.about.items():
            then = about.get(name)
            if then != now:
                raise RunError(
                    f"{self.path.name} was begun with another {name.replace('_', ' ')}: {_short(then)} then, "
                    f"{_short(now)} now. Go on with the same, or say {option('overwrite', True)} instead of "
                    f"{option('resume', True)} to begin anew."
                )
        return at

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self.file.closed:
            return
        try:
            self._note()
        except OSError as error:
            if kind is None:
                raise cannot_write(self.path, error) from error
        finally:
            self._close()

    def _close(self) -> None:
        with suppress(OSError):  # what made it fail is said elsewhere
            if self.file is not None:
                self.file.close()

    def write(self, rows: list[dict[str, Any]], digest: bytes) -> None:
        """Write the next rows, all with the same columns."""
        packed = self._packed(rows)
        errors = sum(row.get("error") is not None for row in rows)
        try:
            self.file.write(packed)
            at = self.at
            self.at = At(at.rows + len(rows), at.errors + errors, at.size + len(packed), digest)
            if time.monotonic() - self.noted >= _SECONDS:
                self._note()
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def finish(self) -> None:
        """Put the whole file in its place."""
        try:
            self._note()
            self.file.close()
            self._refuse_existing(f" All rows are in {self.part.name}.")  # it may have come since
            whole = self.part
            if self.kind == ".parquet":
                whole = self.part.with_suffix(".whole")
                _write_parquet(self.part, whole)
            whole.replace(self.path)
            for each in (self.part, self.state):
                each.unlink(missing_ok=True)
            _flush(self.path.parent)
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def _packed(self, rows: list[dict[str, Any]]) -> bytes:
        if self.kind == ".csv":
            return as_csv(rows, header=self.at.rows == 0, keep_formulas=self.keep_formulas).encode()
        if self.kind == ".jsonl":
            return as_jsonl(rows).encode()
        arrow = need("pyarrow")
        table, sink = arrow.Table.from_pylist(rows), arrow.BufferOutputStream()
        with arrow.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        packed: bytes = sink.getvalue().to_pybytes()
        return packed

    def _note(self) -> None:
        """First the rows reach the disk, then the note that they count."""
        self.file.flush()
        os.fsync(self.file.fileno())
        state = {
            "about": self.about,
            "overwrite": self.overwrite,
            "rows": self.at.rows,
            "errors": self.at.errors,
            "bytes": self.at.size,
            "digest": self.at.digest.hex(),
        }
        beside = self.state.with_name(f"{self.state.name}.new")
        with beside.open("w", encoding="utf-8") as file:
            file.write(json.dumps(state, ensure_ascii=False, indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self.state)
        _flush(self.state.parent)
        self.noted = time.monotonic()


def _anew() -> str:
    return f"Say {option('overwrite', True)} instead of {option('resume', True)} to begin anew."


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _flush(folder: Path) -> None:
    """Make the names in a folder last, where the system lets a folder be opened."""
    if os.name == "nt":
        return
    place = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)


def _write_parquet(part: Path, whole: Path) -> None:
    """The Arrow streams of a part as one Parquet file, with the types that all of them together have."""
    arrow, parquet = need("pyarrow"), need("pyarrow.parquet")
    schema = arrow.unify_schemas([table.schema for table in _streams(part)], promote_options="permissive")
    with whole.open("wb") as file, parquet.ParquetWriter(file, schema) as writer:
        held = schema.empty_table()
        for table in _streams(part):
            held = arrow.concat_tables([held, _as(table, schema)])
            while len(held) >= _GROUP:
                writer.write_table(held.slice(0, _GROUP).combine_chunks(), row_group_size=_GROUP)
                held = held.slice(_GROUP)
        if len(held):
            writer.write_table(held.combine_chunks(), row_group_size=_GROUP)
        writer.close()
        file.flush()
        os.fsync(file.fileno())


def _as(table: Any, schema: Any) -> Any:
    return table.cast(schema) if table.schema != schema else table


def _streams(part: Path) -> Iterator[Any]:
    size = part.stat().st_size
    with part.open("rb") as file:
        while file.tell() < size:
            with need("pyarrow").ipc.open_stream(file) as reader:
                yield reader.read_all()
