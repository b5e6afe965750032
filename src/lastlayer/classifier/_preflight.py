"""What is wrong with labelled data, before anything is trained on it."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from lastlayer.classifier import preparing
from lastlayer.classifier.config import Config
from lastlayer.classifier.data import checks, images, sources, tables
from lastlayer.classifier.data.checks import Finding, Subject
from lastlayer.classifier.data.checks.during import parts_of
from lastlayer.classifier.data.checks.subject import PARTS
from lastlayer.classifier.data.columns import check_features
from lastlayer.classifier.data.contents import contents_of
from lastlayer.classifier.data.groups import with_groups
from lastlayer.classifier.data.images import Seen
from lastlayer.classifier.data.rows import Rows
from lastlayer.classifier.data.splits import split_rows
from lastlayer.classifier.data.text_tables import ragged_rows
from lastlayer.classifier.journal import Journal, Lines, Listener, Silent
from lastlayer.classifier.shares import settled
from lastlayer.classifier.task import check_labels
from lastlayer.errors import ColumnError, ConfigError, DataError, DataNotFoundError
from lastlayer.messages import Message
from lastlayer.messages.wording import option

_MOST_RAGGED = 1_000
# What reading says and a check finds anyway.
_FOUND_ANYWAY = (
    "read.no_class", "images.beside_folders", "images.beside_classes", "images.empty_folder", "images.no_split",
)  # fmt: skip


@dataclass(frozen=True)
class Preflight:
    """What was looked at, and what was found in it, worst first.

    Attributes:
        data_name: What the data was called.
        findings: In order: what stops a training, what harms it, what is worth knowing.
        rows: Rows of each split, given or as training would make it; empty where it cannot be made.
        classes: Rows of each class, by name.
    """

    data_name: str
    findings: tuple[Finding, ...]
    rows: dict[str, int]
    classes: dict[str, int]

    @property
    def harmful(self) -> bool:
        """Whether anything found stops a training or makes its model or its scores worse."""
        return any(finding.harmful for finding in self.findings)

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __getitem__(self, id: str) -> Finding:
        """The first finding of an id."""
        for finding in self.findings:
            if finding.id == id:
                return finding
        raise KeyError(f"no finding {id!r}; there are: {', '.join(one.id for one in self.findings) or 'none'}")

    def to_dict(self) -> dict[str, Any]:
        """JSON's types only."""
        return {
            "data": self.data_name,
            "harmful": self.harmful,
            "rows": self.rows,
            "classes": self.classes,
            "findings": [finding.to_dict() for finding in self.findings],
        }


def preflight(
    data: Any, target: str | None = None, *, verbose: bool = False, listener: Listener | None = None, **settings: Any
) -> Preflight:
    """Look at labelled data as a training would, and at more, and name the files and rows that are wrong.

    Args:
        data: As for `Classifier.fit`.
        target: The column with the class, for tables.
        verbose: Say on standard error what is being done.
        listener: Hears that instead.
        **settings: Of the training to come; see `lastlayer.classifier.config.Config`.

    Returns:
        Findings, each with its rows, what to do, and what training does with it.

    Raises:
        ConfigError, DataNotFoundError, ColumnError: wrong use; whatever is wrong with the data is a finding.

    >>> rows = [{"x": x / 7, "kind": "dog" if x % 3 else "cat"} for x in range(60)] + [{"x": 0.5, "kind": "Cat"}]
    >>> finding = preflight(rows, "kind")["label-spelling"]
    >>> finding.severity, finding.decision, finding.rows
    ('harms', 'kept', ('rows#61',))
    """
    config = Config.of(settings if target is None else {**settings, "target": target})
    return look(data, config, Journal(listener or (Lines(config.lang) if verbose else Silent())))


def look(data: Any, config: Config, journal: Journal) -> Preflight:
    """The same for settings that are checked already."""
    preparing.checked_kind(data, config)
    name = preparing.name_of(data)
    quiet = Journal(Silent())
    findings: list[Finding] = []
    try:
        rows, seen = _read(data, config, journal, findings)
    except (ConfigError, ColumnError, DataNotFoundError):
        raise
    except DataError as error:
        stops = replace(_stops("cannot-be-read", error), **_ragged(data, config))
        return Preflight(name, (*findings, stops), {}, {})
    try:
        check_labels(rows.labels or [], config, preparing.class_folders(data))
        if rows.kind == "table":
            check_features(rows.data, config)
    except (ConfigError, ColumnError):
        raise
    except DataError as error:
        findings.append(_stops("cannot-be-trained-on", error))
    contents = [one.digest for one in seen] if rows.kind == "image" else contents_of(rows, config)
    part, problem = _parts(rows, contents, config, quiet)
    subject = Subject(rows, contents, config, part, seen, preparing.class_folders(data))
    findings += checks.found(subject, checks.CHEAP)
    if problem is not None and not any(one.severity == "stops" for one in findings):
        findings.append(_stops("cannot-be-split", problem))
    for check in journal.track(checks.THOROUGH, Message("read.progress.comparing"), len(checks.THOROUGH)):
        findings += checks.found(subject, (check,))
    findings.sort(key=lambda one: checks.SEVERITIES.index(one.severity))
    counts = {split: list(part).count(split) for split in PARTS if split in part}
    classes = {str(label): len(of_it) for label, of_it in subject.by_label.items()}
    return Preflight(name, tuple(findings), counts, classes)


def _stops(id: str, error: DataError) -> Finding:
    """What a training would stop with, in its own words."""
    what, _, fix = str(error).partition(". ")
    return Finding(id, "stops", f"{what.rstrip('.')}.", fix, "stops", Message("finding.stops"))


def _ragged(data: Any, config: Config) -> dict[str, Any]:
    """All rows of a text table that are longer or shorter than its header, where reading stopped at the first."""
    path = Path(data) if isinstance(data, (str, Path)) else Path()
    if not path.is_file() or not tables.is_text(path):
        return {}
    try:
        rows = tuple(islice(ragged_rows(path, config.encoding, config.separator), _MOST_RAGGED))
    except (UnicodeError, OSError, csv.Error, LookupError):  # what stopped the reading is said already
        return {}
    return {"rows": rows, "count": len(rows)} if rows else {}


def _noted(journal: Journal) -> Iterator[Finding]:
    """What reading said and no other finding says."""
    for note in journal.notes:
        if note.id not in _FOUND_ANYWAY:
            decision: Literal["left out", "kept"] = "left out" if note.startswith("Left out") else "kept"
            yield Finding("reading", "note", note, "", decision, Message("finding.as_said"))


def _read(data: Any, config: Config, journal: Journal, findings: list[Finding]) -> tuple[Rows, Sequence[Seen]]:
    """The rows that can be used; those that cannot are findings, or stand in `left_out`."""
    reading = Journal(Silent())
    rows = sources.open_labelled(data, replace(config, drop_unlabelled=True), reading)
    findings += _noted(reading)
    if rows.kind == "image":
        rows, seen = images.leave_out_unreadable(
            rows, max_pixels=config.max_pixels, strict=False, journal=_only_progress(journal), thumbnails=True
        )
        return with_groups(rows, config, Journal(Silent())), seen
    unlabelled = [each.name for each in rows.left_out if each.reason.startswith("no class")]
    if unlabelled:
        dropped = config.drop_unlabelled
        findings.append(
            Finding(
                "missing-label",
                "harms" if dropped else "stops",
                Message("missing-label.what", rows=len(unlabelled), of=len(rows) + len(unlabelled)),
                Message("missing-label.fix", option=option("drop_unlabelled", True)),
                "left out" if dropped else "stops",
                Message("finding.left_out" if dropped else "finding.stops"),
                tuple(unlabelled),
            )
        )
    return with_groups(rows, config, Journal(Silent())), ()


def _only_progress(journal: Journal) -> Journal:
    """Hears how far the work is, and none of the notes: each becomes a finding."""

    class Progress(Silent):
        def progress(self, doing: Message, done: int, total: int) -> None:
            journal.listener.progress(doing, done, total)

    return Journal(Progress())


def _parts(rows: Rows, contents: Any, config: Config, journal: Journal) -> tuple[list[str], DataError | None]:
    """The split of each row; where training could make none, the given one and why."""
    try:
        kept, split = split_rows(rows, contents, settled(rows, config, Journal(Silent())), journal)
    except DataError as error:
        return list(rows.given) if rows.given is not None else [""] * len(rows), error
    return parts_of(rows, kept, split), None
