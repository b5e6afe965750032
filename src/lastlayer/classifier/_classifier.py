"""Labelled data in, a trained, calibrated, inspectable classifier out."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from torch import Tensor

from lastlayer.classifier import fitting, preparing, recall, run_folder
from lastlayer.classifier.config import KINDS, Config
from lastlayer.classifier.data import images, inputs, sources, typed
from lastlayer.classifier.data.chunks import Numbered
from lastlayer.classifier.data.columns import TableSpec
from lastlayer.classifier.data.inputs import is_there
from lastlayer.classifier.data.rows import Label, Rows
from lastlayer.classifier.evaluation import Comparison, Evaluation, JudgedRows, compare, evaluate_rows
from lastlayer.classifier.journal import Journal, Lines, Listener, Silent
from lastlayer.classifier.learning import resuming
from lastlayer.classifier.learning.batches import Examples
from lastlayer.classifier.network.model import ModelSpec, Network
from lastlayer.classifier.policy.deciding import SETTINGS
from lastlayer.classifier.policy.telling import explained
from lastlayer.classifier.predicting import export as exporting
from lastlayer.classifier.predicting import occlusion, streaming
from lastlayer.classifier.predicting.export import Exported
from lastlayer.classifier.predicting.prediction import Predictions
from lastlayer.classifier.predicting.predictor import Predictor
from lastlayer.classifier.redeciding import decided_anew
from lastlayer.classifier.report import report
from lastlayer.classifier.run_folder import Record
from lastlayer.decisions import ABSTAINED, Policy
from lastlayer.errors import ConfigError, DataError, LastLayerError, RunError, did_you_mean
from lastlayer.explanation import Trace


class Classifier:
    """A classifier of images or of rows of a table.

    Args:
        verbose: Say on standard error what is decided and how training goes.
        listener: Hears that instead.
        **settings: Of the run; see `lastlayer.classifier.config.Config` for all of them.

    Raises:
        ConfigError: an unknown setting (the message names the nearest), or a value that it cannot have.

    >>> model = Classifier(epochs=2, verbose=False).fit("digits")
    >>> model.predict_proba("digits#1").shape
    (1, 10)
    >>> model.classes_
    array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    """

    def __init__(self, *, verbose: bool = True, listener: Listener | None = None, **settings: Any) -> None:
        self.config = Config.of(settings)
        self.listener: Listener = listener or (Lines(self.config.lang) if verbose else Silent())
        self._record: Record | None = None
        self._network: Network | None = None

    @classmethod
    def of(cls, config: Config, *, listener: Listener) -> "Classifier":
        """Make a classifier of settings that are checked already."""
        model = cls(listener=listener)
        model.config = config
        return model

    def fit(self, data: Any, target: str | Sequence[str] | None = None, *, output: str | Path | None = None) -> Self:
        """Train on labelled data.

        Args:
            data: "digits", a folder of images (one folder per class, or train, validation and test folders of them),
                a table (.csv, .tsv, .parquet, .jsonl, .arrow, .feather), a folder that `datasets` reads, a data set
                on the Hugging Face Hub ("owner/name", "hf:owner/name:subset@revision"), a pandas DataFrame, a
                `datasets.Dataset` or `DatasetDict`, or a list of dictionaries.
            target: The column with the class, or the labels that hold, for tables; or several columns, one per label.
            output: A new folder to keep the run in, while it trains and after.

        Returns:
            Itself, trained.

        Raises:
            DataError: the data cannot be used as it is; the message says what to do.
            ConfigError: a setting does not fit the data.
            SaveError: the run cannot be written.
        """
        asked = {} if target is None else {"target": target if isinstance(target, str) else tuple(target)}
        config = Config.of(asked, self.config)
        folder = None if output is None else Path(output)
        self._record, self._network = fitting.fit(data, config, self.listener, folder)
        self.config = config
        return self

    @classmethod
    def resume(
        cls, folder: str | Path, data: Any = None, *, verbose: bool = True, listener: Listener | None = None
    ) -> "Classifier":
        """Go on with a training that was cut off; the end is the same, to the bit, as if it had not been.

        Args:
            folder: The `output` of the `fit` that was cut off.
            data: What it was fitted on; None takes it by the name that it had then.
            verbose: As for the class.
            listener: As for the class.

        Raises:
            RunError: the run is finished, or cannot be gone on with: other data, no whole checkpoint.
            DataNotFoundError: there is no such folder.
        """
        run = Path(folder)
        earlier = resuming.begun(run)
        if data is None and earlier.data is None:
            raise DataError(f"the run {run} was begun with data in memory: pass that data again.")
        language = earlier.config.lang
        model = cls.of(earlier.config, listener=listener or (Lines(language) if verbose else Silent()))
        source = earlier.data if data is None else data
        model._record, model._network = fitting.fit(source, earlier.config, model.listener, run, earlier)
        return model

    def predict(self, x: Any) -> np.ndarray:
        """Return the class decided on for each input, as it stands in the training data.

        That is the most probable one, unless costs or a threshold decide. Where any number of labels may hold: 0 or 1
        for each, (inputs, classes), in the order of `classes_`. With a price of abstaining, None (of labels −1) stands
        where nothing is decided.

        Args:
            x: Images: a path, a folder, a Pillow image, a uint8 array, or a list of these. Tables: a path, a
                DataFrame, a `datasets.Dataset`, a dictionary or a list of them. One column of text: also a text, a
                list of texts, or a .txt file with a text a line. Or the tensors that `read` returns.

        Raises:
            DataError: the inputs cannot be read.
        """
        found = self._whole(x)
        if found.task.kind == "multilabel":
            return found.decisions.numpy()
        decisions = found.decisions.numpy()
        labels: np.ndarray = self.classes_[decisions]
        if self.record.spec.policy.abstain is not None:
            labels = labels.astype(object)
            labels[decisions == ABSTAINED] = None
        return labels

    def predict_set(self, x: Any) -> np.ndarray:
        """Return which classes are in the prediction set of each input, bool, (inputs, classes).

        Raises:
            ConfigError: the classifier has no coverage to promise; `deciding(coverage=0.9)` gives it one.
        """
        if self._trained().spec.policy.sets is None:
            raise ConfigError("this classifier makes no prediction sets: deciding(coverage=0.9) fits them.")
        found = self._whole(x)
        return found.policy.set_of(found.logits).numpy()

    def deciding(self, **settings: Any) -> "Classifier":
        """Return this classifier with other decisions, fitted on the calibration rows whose logits the run kept.

        Args:
            **settings: Any of `threshold_for`, `cost`, `abstain`, `coverage`, `coverage_per_class`, `set_score` and
                `deploy_prior`; what is not named stays as it is, but a metric and costs exclude each other.

        Returns:
            Another classifier with the same weights; `save` keeps it. Its report stays that of the training.

        Raises:
            ConfigError: another setting, or one that does not fit the task.

        >>> model = Classifier(epochs=2, verbose=False).fit("digits")
        >>> model.deciding(coverage=0.9).predict_set("digits#1").shape
        (1, 10)
        """
        for name in settings:
            if name not in SETTINGS:
                raise ConfigError(
                    f"{name!r} is no setting of a decision.{did_you_mean(name, SETTINGS)} They are: "
                    f"{', '.join(SETTINGS)}."
                )
        record, said = decided_anew(self._trained(), settings)
        for sentence in said:
            self.listener.note(sentence)
        model = type(self).of(record.config, listener=self.listener)
        model._record, model._network = record, self._network
        return model

    def predict_proba(self, x: Any) -> np.ndarray:
        """Return calibrated probabilities, (inputs, classes), in the order of `classes_`; float64."""
        return self._whole(x).probabilities.numpy()

    def predict_logits(self, x: Any) -> np.ndarray:
        """Return raw logits in float64: (inputs, classes), or (inputs) for a binary task."""
        return self._whole(x).logits.numpy()

    def predict_stream(
        self,
        x: Any,
        *,
        top_k: int = 1,
        every_class: bool = False,
        batch_size: int | None = None,
        workers: int | None = None,
        device: str = "cpu",
    ) -> Iterator[dict[str, Any]]:
        """Predict inputs of any size in bounded memory: yield one dictionary per row, in order, as they come.

        What cannot be read keeps its place: its "error" says why, and its prediction is None. The same rows give the
        same bits however they come, as long as `batch_size`, the device and the number of threads stay.

        Args:
            x: As for `predict`, or a list of such inputs; or a file that is open for bytes (a pipe: CSV, JSON lines,
                or a path a line), or an iterator of dictionaries or pictures.
            top_k: The k most probable classes.
            every_class: The probability of every class, too.
            batch_size: Rows of each forward pass; None takes what is fast.
            workers: Threads that read pictures.
            device: "auto", "cpu", "cuda" or "mps".

        Raises:
            DataError: an input cannot be read at all. Rows that came before were yielded.
            ConfigError: a setting that cannot be.

        >>> model = Classifier(epochs=2, verbose=False).fit("digits")
        >>> next(model.predict_stream(["digits"])).keys()
        dict_keys(['input', 'prediction', 'probability', 'error'])
        """
        part = streaming.Options(batch_size=batch_size, workers=workers, device=device)
        for each in self.stream(x, part):
            yield from each.table(top_k=top_k, every_class=every_class)

    def stream(self, x: Any, options: streaming.Options | None = None) -> Iterator[streaming.Part]:
        """Predict as `predict_stream` does, but yield many rows at a time, with how far the inputs are read."""
        record = self._trained()
        assert self._network is not None  # noqa: S101 - a record comes with its network
        return streaming.predicted(x, record, self._network, options or streaming.Options())

    def predictions(self, x: Any) -> Predictions:
        """Predict, keeping the place of each input that cannot be read; `bytes` are what standard input would hold."""
        if _is_tensors(x):
            return self._of_tensors(x)
        parts = [part.predictions for part in self.stream(x)]
        return Predictions.joined(parts)

    def evaluate(self, data: Any = None) -> Evaluation:
        """Judge the classifier.

        Args:
            data: Labelled rows, as for `fit`; None judges the run's own test rows, or its validation rows where it
                has none.

        Raises:
            DataError: the data has no classes, or one that the classifier does not know.
        """
        return evaluate_rows(self.judged(data))

    def compare(
        self, other: "Classifier", data: Any = None, *, names: tuple[str, str] = ("this", "the other")
    ) -> Comparison:
        """Say on which scores this classifier and another differ by more than chance.

        Args:
            other: Judged on the same rows.
            data: As for `evaluate`; None takes the rows that each run kept, which have to be the same.
            names: What to call the two.

        Raises:
            DataError: the rows or the classes are not the same; the message says which are missing where.
        """
        return compare(self.judged(data), other.judged(data), names)

    def judged(self, data: Any = None) -> JudgedRows:
        """Labelled rows and the logits of this classifier for them; `data` as for `evaluate`."""
        record = self._trained()
        if data is None:
            return recall.kept_rows(record)
        rows = self._labelled(data)
        target = record.spec.task.targets(rows.labels or [])
        found = self._predicted(rows).refuse_problems()
        task, policy = record.spec.task, record.spec.policy
        return JudgedRows(found.logits, target, rows.names, task, policy, preparing.name_of(data))

    def report(self, language: str | None = None) -> str:
        """Return the report of the run as HTML, in "en" or "ko"; None takes that of the run.

        Pictures and cells of rows are shown where the data still stands where it stood.
        """
        record = self._trained()

        @cache
        def find(name: str) -> Rows | None:
            return self._open_again(self._again(name))

        assert self._network is not None  # noqa: S101 - a record comes with its network
        return report(recall.facts_of(record, find, self._network), language or record.config.lang)

    def score(self, data: Any) -> float:
        """Return the accuracy on labelled rows."""
        return self.evaluate(data)["accuracy"]

    def explain(self, x: Any = None, target: Label | Sequence[Label] | None = None) -> Trace:
        """Show how one input's logits become probabilities, and a loss where its class is known.

        Args:
            x: One input, as for `predict`; None takes the row with the largest loss among those it was judged on.
                A row that the run was validated or tested on needs no data: its logits are in the run.
            target: Its class, or the labels that hold; None takes what the data gives, if it does.

        Raises:
            DataError: not exactly one input, or one that cannot be read.
        """
        record = self._trained()
        name = recall.judged_again(record).worst[0].name if x is None else x
        if isinstance(name, str) and (x is None or not is_there(name)):
            kept = recall.kept_row(record, name)
            if kept is not None:
                again = self._again(name)
                rows = self._open_again(again) if occlusion.reads_texts(record.spec) else None
                return self._explained(kept[0], kept[1] if target is None else target, name, again, rows)
        rows = self._open(x)
        if len(rows) != 1:
            raise DataError(f"one input is explained at a time, got {len(rows)}. Name a row of a table: file.csv#12.")
        found = self._predicted(rows).refuse_problems()
        if target is None and rows.labels is not None and rows.labels[0] != "":
            target = rows.labels[0]
        return self._explained(found.logits[0], target, rows.names[0], x if isinstance(x, str) else None, rows)

    def _explained(
        self,
        logits: Tensor,
        target: Label | Sequence[Label] | None,
        name: str,
        source: str | None,
        rows: Rows | None,
    ) -> Trace:
        """The trace of one row; its context says by what name it can be opened, if it can."""
        record, network = self._trained(), self._network
        assert network is not None  # noqa: S101 - a record comes with its network
        answer = tuple(target) if isinstance(target, Sequence) and not isinstance(target, str) else target
        truth = None if answer is None else record.spec.task.targets([answer])[0]
        trace = explained(logits, truth, record.spec, name)
        if rows is not None:
            trace = occlusion.told(trace, rows, network, record.spec)
        return replace(trace, context={**trace.context, **({} if source is None else {"source": source})})

    def _again(self, name: str) -> str | None:
        """Where a row of the run's own data can still be found."""
        path = recall.where_was(self._trained(), name)
        return path if path.startswith(f"{sources.DIGITS}#") or is_there(path.rpartition("#")[0] or path) else None

    def _open_again(self, path: str | None) -> Rows | None:
        """The row that stands there; None where it has changed since so that it cannot be read."""
        try:
            return None if path is None else self._open(path)
        except LastLayerError:
            return None

    def read(self, x: Any) -> tuple[Tensor, ...]:
        """Return what the network reads of some inputs.

        Images: uint8 pixels (inputs, channels, height, width). Tables: numbers (inputs, columns and flags) and
        indices (inputs, categorical columns).
        """
        rows = self._open(x)
        return Examples(rows, self._trained().spec.preprocessing, None).__getitems__(range(len(rows))).inputs

    def export(self, path: str | Path, *, format: str | None = None) -> Exported:
        """Write the model as one file for other programs: inputs in, logits and calibrated probabilities out.

        Args:
            path: Ends in .onnx or .pt2.
            format: "onnx" or "torch" (a program of torch.export); None goes by the ending.

        Returns:
            What was written, and how far its results are from the model's own on golden inputs.

        Raises:
            ConfigError: an ending or a format that is none.
            RunError: the model cannot be exported, or the file would not compute what the model does.
            MissingExtraError: the packages of the extra "export" are not installed.
            SaveError: the file cannot be written.
        """
        record, file = self._trained(), Path(path)
        assert self._network is not None  # noqa: S101 - a record comes with its network
        return exporting.export(self._network, record.spec, file, exporting.format_of(file, format), record.versions)

    def save(self, folder: str | Path) -> Path:
        """Write the run to a new folder, and return it."""
        path, record = Path(folder), self._trained()
        run_folder.new_folder(path)
        try:
            run_folder.write(path, record)
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            raise
        return path

    @classmethod
    def load(cls, folder: str | Path) -> "Classifier":
        """Read a run that `fit` or `lastlayer train` wrote.

        Raises:
            RunError: a file is missing or has changed, or the run is of another format.
            DataNotFoundError: there is no such folder.
        """
        record = run_folder.read(Path(folder))
        model = cls(verbose=False)
        model.config = record.config
        model._record, model._network = record, _network(record.spec, record.weights)
        return model

    @property
    def classes_(self) -> np.ndarray:
        """The classes in the order of the logits, as they stand in the training data."""
        return np.array(self._trained().spec.task.classes)

    @property
    def temperature(self) -> float | tuple[float, ...]:
        """What logits are divided by to give calibrated probabilities; where several labels may hold, one each."""
        return self._trained().spec.policy.temperature

    @property
    def policy(self) -> Policy:
        """How logits become probabilities, decisions and sets."""
        return self._trained().spec.policy

    @property
    def record(self) -> Record:
        """Everything that the run folder holds."""
        return self._trained()

    def _trained(self) -> Record:
        if self._record is None:
            raise RunError("this classifier is not trained: call fit(data) first, or Classifier.load(run).")
        return self._record

    def _open(self, x: Any) -> Rows:
        record = self._trained()
        rows = self._texts(x)
        return rows if rows is not None else inputs.open_inputs(x, record.spec.kind, record.config)

    def _texts(self, x: Any) -> Rows | None:
        """What is no table, for a classifier that reads one column of text: the texts themselves."""
        record = self._trained()
        spec = record.spec.preprocessing
        column = spec.only_text if isinstance(spec, TableSpec) else None
        return None if column is None else typed.texts(x, column, record.config)

    def _labelled(self, data: Any) -> Rows:
        record, journal = self._trained(), Journal(Silent())
        kind = "image" if sources.kind_of(data).startswith("image") or record.config.image is not None else "table"
        if kind != record.spec.kind:
            raise DataError(
                f"this classifier reads {KINDS[record.spec.kind]}, and {preparing.name_of(data)} is {KINDS[kind]}: "
                "name data of the kind that it was trained on."
            )
        rows = sources.open_labelled(data, record.config, journal, training=False)
        if kind == "image":
            rows, _ = images.leave_out_unreadable(
                rows, max_pixels=record.config.max_pixels, strict=True, journal=journal
            )
        return rows

    def _whole(self, x: Any) -> Predictions:
        return self.predictions(x).refuse_problems(" predictions(x) keeps such rows in their place, with the reason.")

    def _predicted(self, rows: Rows) -> Predictions:
        return streaming.of_rows(rows, self._predictor(), 0)

    def _of_tensors(self, inputs: tuple[Tensor, ...]) -> Predictions:
        """Predict what `read` returned: nothing is left to be read."""
        logits = self._predictor().of_tensors(inputs)
        return streaming.judged(Numbered("row", len(logits)), logits, {}, self._trained().spec)

    def _predictor(self) -> Predictor:
        spec = self._trained().spec
        assert self._network is not None  # noqa: S101 - a record comes with its network
        return Predictor(self._network, spec)


def _is_tensors(x: Any) -> bool:
    return isinstance(x, tuple) and bool(x) and all(isinstance(part, Tensor) for part in x)


def _network(spec: ModelSpec, weights: dict[str, Tensor]) -> Network:
    network = Network(spec)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise RunError(f"the weights do not fit the model that model.json describes: {error}") from error
    return network.eval()
