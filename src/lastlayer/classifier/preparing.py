"""From a name to rows that can be trained on: read, checked, split, and how they become tensors."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from lastlayer.classifier.config import APPLIES_TO, KINDS, Config
from lastlayer.classifier.data import images, sources
from lastlayer.classifier.data.checks import Finding
from lastlayer.classifier.data.checks import during as checks
from lastlayer.classifier.data.columns import TableSpec, check_features, learn_columns
from lastlayer.classifier.data.contents import contents_of
from lastlayer.classifier.data.groups import with_groups
from lastlayer.classifier.data.images import Seen
from lastlayer.classifier.data.pixels import ImageSpec, learn_pixels, median_size
from lastlayer.classifier.data.rows import Rows
from lastlayer.classifier.data.splits import Split, split_rows
from lastlayer.classifier.journal import Journal
from lastlayer.classifier.learning import resuming
from lastlayer.classifier.learning.batches import Examples
from lastlayer.classifier.network import backbones
from lastlayer.classifier.shares import settled
from lastlayer.classifier.task import Task, check_labels, infer_task
from lastlayer.errors import ConfigError
from lastlayer.messages import Message
from lastlayer.messages.wording import option

_LEARN_FROM = 100_000  # training rows: their means are known to a third of a percent of their spread


@dataclass
class Prepared:
    """Rows ready to train on, and the settings with the shares that were held out."""

    config: Config
    rows: Rows
    split: Split
    task: Task
    target: Tensor
    backbone: str
    preprocessing: ImageSpec | TableSpec
    findings: list[Finding]
    contents: Sequence[Hashable]  # equal where rows are
    seen: dict[str, Seen]
    fingerprint: str


def checked_kind(source: Any, config: Config) -> str:
    """What kind of data this is; settings that say nothing about that kind are refused, before any of it is read."""
    kind = sources.kind_of(source)
    of_images = kind.startswith("image") or config.image is not None
    for name in config.given():
        kinds = APPLIES_TO.get(name, (kind,))
        if kind not in kinds and not (of_images and "image" in kinds):
            raise ConfigError(
                f"{option(name)} is for {KINDS[kinds[0]]}, and {name_of(source)} is {KINDS[kind]}: leave it out."
            )
    return "image" if of_images else "table"


def prepare(source: Any, config: Config, journal: Journal) -> Prepared:
    """Read, check and split labelled rows, and learn from the training rows how they become tensors."""
    rows = with_groups(sources.open_labelled(source, config, journal), config, journal)
    labels = rows.labels or []
    check_labels(labels, config, class_folders(source))
    if rows.kind == "table":
        check_features(rows.data, config)
    seen: dict[str, Seen] = {}
    if rows.kind == "image":
        rows, looks = images.leave_out_unreadable(
            rows,
            max_pixels=config.max_pixels,
            strict=config.strict,
            journal=journal,
            advice=f", or leave {option('strict', True)} out to go on without",
        )
        seen = dict(zip(rows.names, looks, strict=True))
        check_labels(rows.labels or [], config, class_folders(source))
    contents: Sequence[Hashable] = [seen[name].digest for name in rows.names] if seen else contents_of(rows, config)
    config = settled(rows, config, journal)
    whole = rows
    rows, split = split_rows(whole, contents, config, journal)
    found = checks.look(whole, contents, config, rows, split, list(seen.values()), class_folders(source), journal)
    contents = checks.of_kept(whole, rows, contents)
    labels = rows.labels or []
    task = infer_task(labels, split.train, config, journal)
    target = task.targets(labels)
    backbone, preprocessing = learn(rows, split, seen, config, journal)
    fingerprint = resuming.fingerprint(rows, contents, split._asdict(), target)
    return Prepared(config, rows, split, task, target, backbone, preprocessing, found, contents, seen, fingerprint)


def learn(
    rows: Rows, split: Split, seen: dict[str, Seen], config: Config, journal: Journal
) -> tuple[str, ImageSpec | TableSpec]:
    """The backbone, and how inputs become tensors, from training rows only."""
    training_rows = rows.select(split.train)
    looks = [seen[name] for name in training_rows.names] if seen else []
    backbone, size = backbones.choose(config, rows.kind, median_size(looks) if looks else 0, journal)
    if rows.kind == "image":
        return backbone, learn_pixels(list(training_rows.data["image"]), looks, size, config.max_pixels)
    columns = learn_columns(_sample(training_rows.data, journal), config, journal)
    return backbones.for_columns(config, columns, journal), columns


def _sample(data: Any, journal: Journal) -> Any:
    """The rows that scales, categories and words are learnt from: all, or an even sample of very many."""
    step = -(-len(data) // _LEARN_FROM)
    if step < 2:
        return data
    journal.say(Message("columns.sampled", some=-(-len(data) // step), rows=len(data)))
    return data.select(range(0, len(data), step))


def class_folders(source: Any) -> Sequence[str]:
    """The class folders, so that empty ones count as classes too."""
    path = Path(source) if isinstance(source, (str, Path)) and source != sources.DIGITS else None
    is_images = path is not None and path.is_dir() and sources.kind_of(path) == "image"
    return images.class_folders(path) if path is not None and is_images else ()


def examples_of(ready: Prepared, rows: list[int]) -> Examples:
    """Some of the rows as tensors with their targets."""
    return Examples(ready.rows.select(rows), ready.preprocessing, ready.target[rows])


def name_of(source: Any) -> str:
    """What to call the data."""
    return str(source) if isinstance(source, (str, Path)) else type(source).__name__
