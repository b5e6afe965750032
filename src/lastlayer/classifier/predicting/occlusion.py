"""Which words of a text pushed a logit: the model is run once more without each of them.

What a word adds is the logit of the text as it is, less that of the text without the word, wherever it stands there.
This is what the model does and no approximation of it; but words act together, and what they add does not sum to the
logit.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lastlayer.classifier.data import tables
from lastlayer.classifier.data.columns import TableSpec
from lastlayer.classifier.data.rows import Rows
from lastlayer.classifier.data.text_rows import readable_text
from lastlayer.classifier.evaluation import Evaluation
from lastlayer.classifier.evaluation.result import Example, Word
from lastlayer.classifier.extras import need
from lastlayer.classifier.learning.batches import Examples
from lastlayer.classifier.network.model import ModelSpec, Network
from lastlayer.classifier.predicting.predictor import Predictor
from lastlayer.explanation import Trace
from lastlayer.explanation.stories.words import with_words

_MOST, _LEAST = 100, 8  # different words of a row that are tried, the first of it
_CHARACTERS = 2**20  # that are read for one row, as long as these are not fewer than the least
_IN_EXAMPLE, _IN_TRACE = 4, 8
_SHOWN = 300  # characters of a text above its trace
# Scripts without spaces between words: each of their letters is taken for one.
_ALONE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_TOKEN = re.compile(rf"[{_ALONE}]|[^\s{_ALONE}]+")


@dataclass(frozen=True)
class Occluded:
    """A row without each of its words.

    Attributes:
        words: In the order of the text, each once.
        whole: Logits of the row as it is, calibrated: (classes), or a number for a binary task.
        without: Logits of the row without each word: (words, classes), or (words).
    """

    words: tuple[str, ...]
    whole: Tensor
    without: Tensor

    def added(self, place: int | None) -> Tensor:
        """What each word adds to one logit; None for the only one there is."""
        difference = self.whole - self.without
        return difference if place is None else difference[:, place]


def reads_texts(spec: ModelSpec) -> bool:
    """Whether a model has words to leave out."""
    return bool(_text_columns(spec))


def _text_columns(spec: ModelSpec) -> list[str]:
    columns = spec.preprocessing.columns if isinstance(spec.preprocessing, TableSpec) else ()
    return [column.name for column in columns if column.kind == "text"]


def occluded(rows: Rows, network: Network, spec: ModelSpec) -> list[Occluded | None]:
    """Leave each word out of each row; None where a row has none, or cannot be read."""
    names = _text_columns(spec)
    spans = [_words(rows.data[row], names) for row in range(len(rows))]
    table = rows.data.with_format("arrow")[:].take(
        [row for row, found in enumerate(spans) for _ in range(1 + len(found))]
    )
    for name in names:
        texts = [text for row, found in enumerate(spans) for text in _texts(rows.data[row][name], name, found)]
        place = table.schema.get_field_index(name)
        table = table.set_column(place, name, need("pyarrow").array(texts, need("pyarrow").string()))
    several = Rows("table", tables.as_dataset(table, "the words"), [""] * len(table))
    raw, problems = Predictor(network, spec).logits(Examples(several, spec.preprocessing, None), range(len(several)))
    logits, found_, start = spec.policy.logits(raw), [], 0
    for found in spans:
        end = start + 1 + len(found)
        readable = found and not any(start <= row < end for row in problems)
        found_.append(Occluded(tuple(found), logits[start], logits[start + 1 : end]) if readable else None)
        start = end
    return found_


def _words(row: dict[str, Any], names: Sequence[str]) -> dict[str, list[tuple[str, int, int]]]:
    """The different words of a row, however written in upper or lower case, and where each stands."""
    found: dict[str, tuple[str, list[tuple[str, int, int]]]] = {}
    length = sum(len(str(row[name])) for name in names)
    most = max(_LEAST, min(_MOST, _CHARACTERS // max(1, length)))
    for name in names:
        text = "" if row[name] is None else str(row[name])
        for token in _TOKEN.finditer(text):
            start, end = _without_punctuation(text, *token.span())
            spelt = text[start:end]
            found.setdefault(spelt.casefold(), (readable_text(spelt), []))[1].append((name, start, end))
    return dict(list(found.values())[:most])


def _without_punctuation(text: str, start: int, end: int) -> tuple[int, int]:
    """A word without the signs around it; signs alone are a word."""
    first, last = start, end
    while first < last and unicodedata.category(text[first]).startswith("P"):
        first += 1
    while first < last and unicodedata.category(text[last - 1]).startswith("P"):
        last -= 1
    return (first, last) if first < last else (start, end)


def _texts(cell: Any, name: str, words: dict[str, list[tuple[str, int, int]]]) -> list[str | None]:
    """A cell as it is, then without each word."""
    if cell is None:
        return [None] * (1 + len(words))
    text = str(cell)
    found: list[str | None] = [text]
    for places in words.values():
        parts, before = [], 0
        for column, start, end in places:
            if column == name:
                parts.append(text[before:start])
                before = end
        found.append("".join([*parts, text[before:]]))
    return found


def with_words_of_worst(
    evaluation: Evaluation, open_row: Callable[[Example], Rows | None], network: Network, spec: ModelSpec
) -> Evaluation:
    """The evaluation with the words that pushed the logits of its worst rows, where they can be opened."""
    if not reads_texts(spec):
        return evaluation
    opened = [open_row(example) for example in evaluation.worst]
    parts = {str(place): rows.data for place, rows in enumerate(opened) if rows is not None}
    if not parts:
        return evaluation
    rows = Rows("table", tables.stacked(parts), list(parts))
    found = dict(zip(parts, occluded(rows, network, spec), strict=True))
    worst = [_with_words(each, found.get(str(place)), spec) for place, each in enumerate(evaluation.worst)]
    return replace(evaluation, worst=tuple(worst))


def _with_words(example: Example, found: Occluded | None, spec: ModelSpec) -> Example:
    if found is None or not _is_same(_pushed_by(found.whole, example.choices[0].name, spec), example.choices[0].logit):
        return example
    names, several = spec.task.names, spec.task.kind == "multilabel"
    if spec.task.kind == "binary":
        answer, truth = names[1], None
    else:
        answer = example.choices[0].name if several else example.prediction
        truth = None if several or example.target == answer else example.target
    pushed, of_truth = _pushed(found, answer, truth, spec)
    words = tuple(
        Word(found.words[place], float(pushed[place]), None if of_truth is None else float(of_truth[place]))
        for place in _strongest(pushed, of_truth, _IN_EXAMPLE)
    )
    return replace(example, words=words, words_push=answer)


def _pushed(found: Occluded, answer: str, truth: str | None, spec: ModelSpec) -> tuple[Tensor, Tensor | None]:
    names = spec.task.names
    if spec.task.kind == "binary":
        return found.added(None), None
    return found.added(names.index(answer)), None if truth is None else found.added(names.index(truth))


def _pushed_by(logits: Tensor, name: str, spec: ModelSpec) -> Tensor:
    return logits if spec.task.kind == "binary" else logits[spec.task.names.index(name)]


def _is_same(found: Tensor, expected: Tensor | float) -> bool:
    """Whether the row still gives the logits that were kept of it: its data may have changed since."""
    return bool(torch.allclose(found, torch.as_tensor(expected, dtype=found.dtype), rtol=1e-3, atol=1e-3))


def _strongest(pushed: Tensor, truth: Tensor | None, most: int) -> list[int]:
    """The words that moved most; of a softmax only differences count, here of the answer and the truth."""
    moved = pushed if truth is None else pushed - truth
    found: list[int] = torch.argsort(moved.abs(), descending=True, stable=True)[:most].tolist()
    return [place for place in found if moved[place] != 0]


def shortened(rows: Rows, spec: ModelSpec) -> str:
    """The texts of a single row on one line, cut off where they are long."""
    cells = [rows.data[0][name] for name in _text_columns(spec)]
    text = " … ".join(" ".join(readable_text(str(cell)).split()) for cell in cells if cell is not None)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def told(trace: Trace, rows: Rows, network: Network, spec: ModelSpec) -> Trace:
    """The trace of a single row with a step of its words, where it has any."""
    found = occluded(rows, network, spec)[0] if reads_texts(spec) else None
    kind, logits = spec.task.kind, trace["logits"].value
    if found is None or not _is_same(found.whole * trace.temperature, logits):
        return trace
    if kind == "binary":
        answer, truth = trace.classes[1], None
    else:
        said, target = trace.context.get("prediction"), trace.target
        place = spec.task.names.index(said) if said in spec.task.names else int(logits.argmax())
        if kind == "multilabel" and isinstance(target, tuple):  # the label that costs most
            place = int(torch.where(torch.tensor(target) > 0, -logits, logits).argmax())
        answer = spec.task.names[place]
        truth = spec.task.names[target] if isinstance(target, int) and target != place else None
    pushed, of_truth = _pushed(found, answer, truth, spec)
    scale = trace.temperature  # the story divides by it in a step of its own
    pushed, of_truth = pushed * scale, None if of_truth is None else of_truth * scale
    top = _strongest(pushed, of_truth, _IN_TRACE)
    if not top:
        return trace
    words = [found.words[place] for place in top]
    truth_ = None if of_truth is None else of_truth[top]
    longer = with_words(trace, words, pushed[top], truth_, answer, len(found.words))
    return replace(longer, context={**longer.context, "text": shortened(rows, spec)})
