"""What an epoch costs, against a bare PyTorch loop over the same loader and model, in one process and in turn."""

import statistics
import time
from io import BytesIO

import datasets
import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F  # noqa: N812

from lastlayer.classifier.config import Config
from lastlayer.classifier.data.columns import Column, TableSpec
from lastlayer.classifier.data.images import from_pictures
from lastlayer.classifier.data.pixels import ImageSpec
from lastlayer.classifier.data.rows import Rows
from lastlayer.classifier.journal import Journal, Silent
from lastlayer.classifier.learning import training
from lastlayer.classifier.learning.batches import Examples, SeededBatches, loader
from lastlayer.classifier.learning.interrupts import StopRequest
from lastlayer.classifier.learning.keeping import Keeper
from lastlayer.classifier.learning.loop import Loop
from lastlayer.classifier.network.backbones import SMALL_CNN
from lastlayer.classifier.network.members import TableMembers
from lastlayer.classifier.network.model import ModelSpec, Network
from lastlayer.classifier.task import Task
from lastlayer.decisions import Policy


def table(backbone: str, rows: int = 100_000, columns: int = 20, classes: int = 3) -> tuple[Examples, ModelSpec]:
    """A table of random numbers."""
    random = np.random.default_rng(0)
    data = datasets.Dataset.from_dict({f"x{i}": random.normal(size=rows) for i in range(columns)})
    spec = TableSpec(tuple(Column(f"x{i}", "numeric") for i in range(columns)), ("",))
    target = torch.from_numpy(random.integers(0, classes, rows))
    return (
        Examples(Rows("table", data, [str(row) for row in range(rows)]), spec, target),
        ModelSpec(Task("multiclass", tuple(range(classes))), backbone, spec, Policy("multiclass", classes)),
    )


def images(count: int = 5_000, side: int = 64, classes: int = 10) -> tuple[Examples, ModelSpec]:
    """PNG images of random blocks."""
    random = np.random.default_rng(0)
    pictures = []
    for _ in range(count):
        blocks = random.integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8)
        buffer = BytesIO()
        Image.fromarray(blocks.repeat(8, 0).repeat(8, 1)).save(buffer, "PNG")
        pictures.append({"path": None, "bytes": buffer.getvalue()})
    spec = ImageSpec(3, side, (0.5,) * 3, (0.3,) * 3, 10**8)
    target = torch.from_numpy(random.integers(0, classes, count))
    rows = Rows("image", from_pictures(pictures), [str(row) for row in range(count)])
    task = Task("multiclass", tuple(range(classes)))
    return Examples(rows, spec, target), ModelSpec(task, SMALL_CNN, spec, Policy("multiclass", classes))


def bare(examples: Examples, spec: ModelSpec, config: Config, kind: str) -> float:
    """The loop that everybody writes: PyTorch's loss on the logits of the same network."""
    torch.manual_seed(0)
    network = Network(spec)
    batches = loader(
        examples,
        SeededBatches(len(examples), training.batch_size(config, len(examples)), 0),
        training.workers(config, kind),
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.01)
    network.train()
    started = time.perf_counter()
    for batch in batches:
        optimizer.zero_grad()
        if isinstance(network.backbone, TableMembers):
            features, row = network.backbone.taught(*batch.inputs)
            F.cross_entropy(network.head(features), batch.target[row]).backward()
        else:
            F.cross_entropy(network(batch.inputs), batch.target).backward()
        optimizer.step()
    return time.perf_counter() - started


def ours(examples: Examples, spec: ModelSpec, config: Config, kind: str) -> float:
    """The same epoch by the classifier's own loop, its reports included."""
    torch.manual_seed(0)
    network = Network(spec)
    loop = Loop(network, examples, config, kind, Journal(Silent()), StopRequest(), training.accelerator(config))
    started = time.perf_counter()
    loop.epoch(Keeper(None), lambda: None)
    return time.perf_counter() - started


def measure() -> dict[str, float]:
    """The median ratio of the two, pair by pair."""
    config = Config(device="cpu")
    found = {}
    for name, (examples, spec), kind, rounds in (
        ("table 100,000 × 20, mlp", table("mlp"), "table", 9),
        ("table 100,000 × 20, mlps", table("mlps"), "table", 3),
        ("5,000 images of 64×64", images(), "image", 3),
    ):
        bare(examples, spec, config, kind), ours(examples, spec, config, kind)  # warm
        pairs = [(bare(examples, spec, config, kind), ours(examples, spec, config, kind)) for _ in range(rounds)]
        found[f"epoch, {name}: ours / bare PyTorch loop (at most 1.15)"] = statistics.median(
            mine / theirs for theirs, mine in pairs
        )
    return found
