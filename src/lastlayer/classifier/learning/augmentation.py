"""Training images changed at random by timm, the same for the same seed, epoch and row, whoever fetches them."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from lastlayer.classifier.config import Config
from lastlayer.classifier.data.pixels import ImageSpec
from lastlayer.classifier.extras import need
from lastlayer.classifier.journal import Journal
from lastlayer.classifier.learning.batches import Batch, Examples
from lastlayer.classifier.task import Task
from lastlayer.errors import ConfigError
from lastlayer.messages import Message
from lastlayer.messages.wording import option

NONE, AUTO = "none", "auto"
_AUTO = "rand-m6-n2-mstd0.5-inc1"
_CROP, _ASPECT = (0.7, 1.0), (0.85, 1 / 0.85)


@dataclass(frozen=True)
class Augmentation:
    """How a training image is changed before it is brought to its size.

    Attributes:
        policy: A string of timm, such as "rand-m9-mstd0.5"; None changes no colours and turns nothing.
        crop: Cut out a part of 70 to 100 % of the area.
        mirror: Turn every second image left to right.
        seed: Of the run.
        spec: What the image becomes.
    """

    policy: str
    crop: bool
    mirror: bool
    seed: int
    spec: ImageSpec

    @cached_property
    def _change(self) -> Any:
        hints = {
            "translate_const": max(1, round(0.3 * self.spec.size)),
            "img_mean": tuple(round(255 * mean) for mean in (*self.spec.mean, *self.spec.mean, *self.spec.mean)[:3]),
        }
        return policy_of(self.policy, hints)

    @cached_property
    def _cut(self) -> Any:
        crop = need("timm.data.transforms").RandomResizedCropAndInterpolation
        return crop(self.spec.size, _CROP, _ASPECT, "bilinear")

    def __call__(self, image: Any, epoch: int, row: int) -> Any:
        """Return another RGB image."""
        with drawn_from(self.seed, epoch, row):
            image = self._cut(image) if self.crop else image
            if self.mirror and random.random() < 0.5:  # noqa: S311 - no secret
                image = need("PIL.ImageOps").mirror(image)
            try:
                return self._change(image)
            except ValueError as error:
                raise ConfigError(
                    f"{option('augment')} {self.policy} asks Pillow for what it refuses ({error}): take a larger "
                    "magnitude, or one that grows with it, with -inc1."
                ) from error


def policy_of(policy: str, hints: dict[str, Any]) -> Any:
    """The transform that timm makes of a string.

    Raises:
        ConfigError: a string that timm does not read.
    """
    made = need("timm.data.auto_augment")
    kinds = {"rand": made.rand_augment_transform, "augmix": made.augment_and_mix_transform}
    make = kinds.get(policy.split("-")[0], made.auto_augment_transform)
    try:
        return make(policy, hints)
    except (AssertionError, ValueError, KeyError, IndexError, TypeError) as error:
        raise ConfigError(
            f"{option('augment')} has to be {NONE!r}, {AUTO!r}, or a policy of timm such as 'rand-m9-mstd0.5', "
            f"'augmix-m3-w3' or 'original': got {policy!r}."
        ) from error


@contextmanager
def drawn_from(*seeds: int) -> Iterator[None]:
    """Python's and NumPy's random numbers from these seeds within, and as they were afterwards."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - timm draws from these
    first, second = np.random.SeedSequence(seeds).generate_state(2).tolist()
    random.seed(first)
    np.random.seed(second)  # noqa: NPY002 - the same
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002 - the same


def check(config: Config) -> None:
    """Refuse a policy that timm does not read, before any data is read."""
    if config.augment not in (NONE, AUTO):
        policy_of(config.augment, {})


def augmentation(config: Config, spec: Any, journal: Journal) -> Augmentation | None:
    """What the settings ask for; None changes nothing."""
    if config.augment == NONE or not isinstance(spec, ImageSpec):
        return None
    if config.augment != AUTO:
        journal.say(Message("augment.policy", policy=config.augment))
        return Augmentation(config.augment, crop=False, mirror=False, seed=config.seed, spec=spec)
    colour = spec.channels == 3
    journal.say(Message("augment.colour" if colour else "augment.grey", policy=_AUTO))
    return Augmentation(_AUTO, crop=True, mirror=colour, seed=config.seed, spec=spec)


class Varied(Dataset[Any]):
    """Training images that are different in each epoch; asked for an epoch and some rows."""

    def __init__(self, examples: Examples, change: Augmentation) -> None:
        self.examples, self.change = examples, change

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, row: int) -> Batch:
        return self.__getitems__((0, [row]))

    def __getitems__(self, asked: tuple[int, Sequence[int]]) -> Batch:
        epoch, rows = asked
        return self.examples.changed(rows, lambda row, image: self.change(image, epoch, row))


class Mixing:
    """Pairs of images of a batch in one, their targets in the same shares: mixup, cutmix, or either by turns.

    Source: Zhang et al. 2018, arXiv:1710.09412 (mixup); Yun et al. 2019, arXiv:1905.04899 (cutmix).
    """

    def __init__(self, config: Config, task: Task) -> None:
        self.task, self.seed = task, config.seed
        self.mix = need("timm.data").Mixup(config.mixup, config.cutmix, label_smoothing=0.0)

    def __call__(self, batch: Batch, epoch: int, step: int) -> Batch:
        """Return the batch with float pixels and soft targets; the middle one of an odd number stays as it is."""
        pixels, target = batch.inputs[0].float(), batch.labelled
        rows = len(target)
        even = rows - rows % 2
        share = torch.eye(rows)
        if even:
            self.mix.num_classes = even
            with drawn_from(self.seed, epoch, step):
                # Which row is in which, and how much of it: that serves every kind of target.
                pixels[:even], share[:even, :even] = self.mix(pixels[:even].clone(), torch.arange(even))
        truth = torch.nn.functional.one_hot(target, len(self.task.classes)) if target.dim() == 1 else target
        soft = share @ truth.float()
        return Batch((pixels, *batch.inputs[1:]), soft[:, 1] if self.task.kind == "binary" else soft, batch.problems)


def mixing(config: Config, task: Task, journal: Journal) -> Mixing | None:
    """What the settings ask for; None mixes nothing."""
    names = [name for name in ("mixup", "cutmix") if getattr(config, name) > 0]
    if not names:
        return None
    one, *other = (f"{name} (α = {getattr(config, name):g})" for name in names)
    alphas: str = one
    if other:
        alphas = Message("mixing.turns", alphas=Message("mixing.both", one=one, other=other[0]))
    journal.say(Message("mixing", alphas=alphas))
    return Mixing(config, task)
