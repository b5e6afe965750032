"""A trained model as one file for other programs: ONNX, or a program of torch.export. Checked before it is there.

What can stand in the graph stands in it: standardisation of pixels and of numbers, the filling of missing numbers, the
temperature and the activation. What cannot (the words of a categorical column, the classes, the decision) stands in the
metadata. Neither format holds a pickle.
"""

import contextlib
import copy
import io
import json
import logging
import math
import os
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lastlayer.classifier.data.columns import Column, TableSpec
from lastlayer.classifier.data.pixels import ImageSpec
from lastlayer.classifier.extras import need
from lastlayer.classifier.files import cannot_write
from lastlayer.classifier.learning.batches import Inputs
from lastlayer.classifier.network.model import ModelSpec, Network
from lastlayer.errors import ConfigError, LastLayerError, RunError
from lastlayer.messages.wording import option

FORMATS = {"onnx": ".onnx", "torch": ".pt2"}
BATCHES = (1, 2, 7, 32)
TOLERANCE = 1e-4  # of the largest logit, and of a probability: what float32 in another order may differ by
_LARGEST = 2**31 - 2**20  # bytes that one ONNX file can hold
_Run = Callable[[Inputs], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Exported:
    """A file that was written and checked.

    Attributes:
        path: The file.
        format: "onnx" or "torch".
        inputs: Name, shape and type of each input.
        logits_off: The largest difference of a logit from the model's own, over all golden inputs.
        probabilities_off: Likewise of a calibrated probability.
    """

    path: Path
    format: str
    inputs: dict[str, str]
    logits_off: float
    probabilities_off: float


class Deployed(nn.Module):
    """From what other programs have (pixels; raw numbers and category indices) to logits and probabilities."""

    factor: Tensor
    shift: Tensor

    def __init__(self, network: Network, spec: ModelSpec) -> None:
        super().__init__()
        self.network, self.spec = network, spec
        # Temperatures, weights of the loss and priors change logits by a factor and a term.
        one = torch.ones((1,) if spec.task.kind == "binary" else (1, len(spec.task.classes)), dtype=torch.float64)
        shift = spec.policy.logits(0 * one)
        self.register_buffer("factor", (spec.policy.logits(one) - shift).float(), persistent=False)
        self.register_buffer("shift", shift.float(), persistent=False)
        how = spec.preprocessing
        self.names = ["pixels"] if isinstance(how, ImageSpec) else []
        if isinstance(how, TableSpec):
            self.numbers = Numbers(how)
            self.names = ["numbers"] * bool(self.numbers.columns) + ["categories"] * bool(how.index_sizes)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, float32, and calibrated probabilities, (rows, classes), float32."""
        logits = self.network(self.encoded(inputs))
        scaled = self.factor * logits + self.shift
        if self.spec.task.kind == "binary":
            return logits, torch.stack([torch.sigmoid(-scaled), torch.sigmoid(scaled)], 1)
        return logits, torch.sigmoid(scaled) if self.spec.task.kind == "multilabel" else torch.softmax(scaled, 1)

    def encoded(self, inputs: Inputs) -> Inputs:
        """What the network reads."""
        if isinstance(self.spec.preprocessing, ImageSpec):
            return inputs
        rest = list(inputs)
        numbers = self.numbers(rest.pop(0)) if "numbers" in self.names else inputs[0][:, :0].float()
        indices = rest.pop(0) if rest else torch.zeros_like(numbers[:, :0], dtype=torch.int64)
        return numbers, indices


class Numbers(nn.Module):
    """Raw numbers of a table, NaN where missing, to standardised ones, as `TableSpec.encode` makes them."""

    center: Tensor
    scale: Tensor
    filler: Tensor
    order: Tensor

    def __init__(self, spec: TableSpec) -> None:
        super().__init__()
        self.columns: list[Column] = [column for column in spec.columns if column.kind != "categorical"]
        for name in ("center", "scale", "filler"):
            values = torch.tensor([getattr(column, name) for column in self.columns], dtype=torch.float64)
            self.register_buffer(name, values, persistent=False)
        flags = len(self.columns) + torch.arange(len(self.columns))
        order = [
            place for at, column in enumerate(self.columns) for place in [at, int(flags[at])][: 1 + column.missing]
        ]
        self.register_buffer("order", torch.tensor(order, dtype=torch.int64), persistent=False)

    def forward(self, raw: Tensor) -> Tensor:
        """(rows, columns), float64, to (rows, columns and flags of what is missing), float32."""
        lacks = raw.isnan()
        filled = torch.where(lacks, self.filler, raw)
        scaled = (filled / 2 - self.center / 2) / (self.scale / 2)  # halves, as in `TableSpec.encode`
        return torch.cat([scaled.float(), lacks.float()], 1)[:, self.order]


def format_of(path: Path | None, given: str | None) -> str:
    """The format that was named, or that the ending of the file names."""
    if given is not None and given not in FORMATS:
        raise ConfigError(f"{option('format')} has to be one of {', '.join(FORMATS)}, got {given!r}.")
    found = next((name for name, suffix in FORMATS.items() if path and path.suffix.lower() == suffix), None)
    if path is not None and (found is None or given not in (None, found)):
        wanted = FORMATS[given] if given else " or ".join(FORMATS.values())
        raise ConfigError(f"{option('output')} has to end in {wanted}, got {path.name!r}.")
    return given or found or "onnx"


def export(network: Network, spec: ModelSpec, path: Path, format: str, versions: dict[str, str]) -> Exported:
    """Write the model beside `path`, check the file on golden inputs, and only then put it in its place.

    Raises:
        RunError: the model cannot be exported, or the file does not compute what the model does.
        MissingExtraError: the packages of the extra "export" are not installed.
        SaveError: the file cannot be written.
    """
    texts = [column.name for column in getattr(spec.preprocessing, "columns", ()) if column.kind == "text"]
    if texts:
        raise RunError(
            f"a model that reads text cannot be exported: what is written in {texts[0]!r} becomes numbers in a "
            f"tokenizer, which neither {' nor '.join(FORMATS)} holds. Copy the run folder, and load it with "
            "Classifier.load."
        )
    model = Deployed(copy.deepcopy(network), spec).eval().requires_grad_(False)
    about = {"format": 1, "lastlayer": versions.get("lastlayer", ""), **described(model)}
    beside = path.with_name(f".{path.name}.part")
    try:
        run = (_write_onnx if format == "onnx" else _write_torch)(model, beside, about)
        with _failing(model, path.suffix.lstrip(".")):
            logits_off, probabilities_off = _checked(model, run, path.name)
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        beside.unlink(missing_ok=True)
    shapes = {name: each["shape"] for name, each in about["inputs"].items()}
    return Exported(path, format, shapes, logits_off, probabilities_off)


def described(model: Deployed) -> dict[str, Any]:
    """What a program that runs the file has to know, as plain values."""
    spec = model.spec
    plain = {name: value for name, value in spec.to_dict().items() if name != "preprocessing"}
    how = spec.preprocessing
    inputs: dict[str, dict[str, Any]] = {}
    if isinstance(how, ImageSpec):
        inputs["pixels"] = {
            "shape": f"uint8 (batch, {how.channels}, {how.size}, {how.size})",
            "meaning": f"{'grey' if how.channels == 1 else 'RGB'} pixels from 0 to 255, not standardised: the graph "
            f"does that. Turn the picture upright, bring its shorter side to {how.size} pixels, crop the rest evenly.",
        }
    if "numbers" in model.names:
        columns = [{"name": column.name, "kind": column.kind} for column in model.numbers.columns]
        inputs["numbers"] = {
            "shape": f"float64 (batch, {len(columns)})",
            "meaning": "raw numbers, not standardised: the graph does that; NaN where missing; true is 1, a date is "
            "seconds since 1970 in UTC",
            "columns": columns,
        }
    if "categories" in model.names and isinstance(how, TableSpec):
        words = [column for column in how.columns if column.kind == "categorical"]
        inputs["categories"] = {
            "shape": f"int64 (batch, {len(words)})",
            "meaning": "place of the word in its list, from 1; 0 for any other word; if missing, one after the last",
            "columns": [{"name": column.name, "categories": list(column.categories)} for column in words],
        }
    outputs = {
        "logits": "float32 (batch)" if spec.task.kind == "binary" else f"float32 (batch, {len(spec.task.classes)})",
        "probabilities": f"float32 (batch, {len(spec.task.classes)}), calibrated, in the order of the classes",
    }
    return {**plain, "classes": list(spec.task.names), "inputs": inputs, "outputs": outputs}


def golden(spec: ModelSpec, rows: int) -> Inputs:
    """Inputs as another program has them: the same for the same model, missing numbers and unknown words among them."""
    random = torch.Generator().manual_seed(rows)
    how: Any = spec.preprocessing
    if isinstance(how, ImageSpec):
        return (torch.randint(0, 256, (rows, how.channels, how.size, how.size), generator=random, dtype=torch.uint8),)
    numeric = [column for column in how.columns if column.kind != "categorical"]
    center = torch.tensor([column.center for column in numeric], dtype=torch.float64)
    scale = torch.tensor([column.scale for column in numeric], dtype=torch.float64)
    numbers = center + scale * torch.randn(rows, len(numeric), generator=random, dtype=torch.float64)
    numbers[torch.rand(numbers.shape, generator=random) < 0.1] = math.nan
    indices = [torch.randint(0, size, (rows,), generator=random) for size in how.index_sizes]
    return (*([numbers] if numeric else []), *([torch.stack(indices, 1)] if indices else []))


def _checked(model: Deployed, run: _Run, name: str) -> tuple[float, float]:
    """The largest differences from what the model itself says; a file that is farther off is refused."""
    found = (0.0, 0.0)
    for rows in BATCHES:
        inputs = golden(model.spec, rows)
        with torch.no_grad():
            logits = model.network(model.encoded(inputs)).double()
        expected = logits, model.spec.policy.probabilities(logits)
        got = run(inputs)
        for part, other in zip(got, expected, strict=True):
            if part.shape != other.shape:
                raise RunError(f"{name} is not written: it gives {tuple(part.shape)} for {tuple(other.shape)}.")
        off = [float((part.double() - other).abs().max()) for part, other in zip(got, expected, strict=True)]
        allowed = TOLERANCE * max(1.0, float(logits.abs().max())), TOLERANCE
        if not all(each <= most for each, most in zip(off, allowed, strict=True)):
            raise RunError(
                f"{name} is not written: for {rows} rows its logits are {off[0]:.2g} off and its probabilities "
                f"{off[1]:.2g}; at most {allowed[0]:.2g} and {allowed[1]:.2g} is rounding."
            )
        found = max(found[0], off[0]), max(found[1], off[1])
    return found


def _write_onnx(model: Deployed, path: Path, about: dict[str, Any]) -> _Run:
    runtime = need("onnxruntime", extra="export")
    need("onnxscript", extra="export")
    onnx = need("onnx", extra="export")
    size = sum(weight.numel() * weight.element_size() for weight in model.state_dict().values())
    if size > _LARGEST:
        raise RunError(
            f"this model has {size / 2**30:.1f} GiB of weights, and an ONNX file holds 2: export it with "
            f"{option('format', 'torch')}."
        )
    with _failing(model, "ONNX"), _quiet():
        program = torch.onnx.export(
            model,
            golden(model.spec, 2),
            dynamo=True,
            verbose=False,
            input_names=model.names,
            output_names=["logits", "probabilities"],
            dynamic_shapes=(tuple({0: torch.export.Dim("batch")} for _ in model.names),),
        )
    assert program is not None  # noqa: S101 - with dynamo there is one
    proto = program.model_proto
    for name, value in {"lastlayer": about, **{key: about[key] for key in ("classes", "task", "policy")}}.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = name, json.dumps(value, ensure_ascii=False)
    proto.producer_name, proto.producer_version = "lastlayer", about["lastlayer"]
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString())
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def run(inputs: Inputs) -> tuple[Tensor, Tensor]:
        fed = {name: part.numpy() for name, part in zip(model.names, inputs, strict=True)}
        logits, p = session.run(["logits", "probabilities"], fed)
        return torch.from_numpy(logits), torch.from_numpy(p)

    return run


def _write_torch(model: Deployed, path: Path, about: dict[str, Any]) -> _Run:
    with _failing(model, "a torch program"), _quiet():
        shapes = (tuple({0: torch.export.Dim("batch")} for _ in model.names),)
        program = torch.export.export(model, golden(model.spec, 2), dynamic_shapes=shapes)
    saved = io.BytesIO()
    with _quiet():
        torch.export.save(program, saved, extra_files={"lastlayer.json": json.dumps(about, ensure_ascii=False)})
        _without_pickle(saved, path)
        with path.open("rb") as file:
            loaded = torch.export.load(file).module()
    return lambda inputs: loaded(*inputs)


def _without_pickle(saved: io.BytesIO, path: Path) -> None:
    """Write an archive of torch.export without the inputs that it was made with.

    They are the one pickle in it, and PyTorch loads an empty file in their place. A PyTorch that pickles anything else
    is refused.
    """
    with zipfile.ZipFile(saved) as source, zipfile.ZipFile(path, "w") as target:
        for member in source.infolist():
            content = b"" if "/sample_inputs/" in member.filename else source.read(member)
            if content[:4] == b"PK\x03\x04" or (member.filename.endswith(".json") and b'"use_pickle": true' in content):
                raise RunError(f"this PyTorch pickles {member.filename}: take {option('format', 'onnx')}.")
            target.writestr(zipfile.ZipInfo(member.filename), content)


@contextlib.contextmanager
def _failing(model: Deployed, what: str) -> Iterator[None]:
    try:
        yield
    except LastLayerError:
        raise
    except Exception as error:
        raise RunError(
            f"{model.spec.backbone} cannot be exported as {what}: {_reason(error)}. Its run folder can be copied, and "
            "loaded with Classifier.load."
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of its own parts, which nobody here can change."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "torch._export")]
    before = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)


def _reason(error: BaseException) -> str:
    """The first line of what went wrong first: the exporters wrap it in advice, and in colours."""
    while error.__cause__ is not None:
        error = error.__cause__
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip() or type(error).__name__
    return plain.splitlines()[0][:200].rstrip(".")
