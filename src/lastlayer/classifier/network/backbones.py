"""From inputs to features: a small network for small images, any timm model by name, an MLP for tables; texts."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from lastlayer.classifier import hub
from lastlayer.classifier.config import Config
from lastlayer.classifier.data import encoder_names
from lastlayer.classifier.data.columns import TableSpec
from lastlayer.classifier.data.pixels import ImageSpec
from lastlayer.classifier.extras import need
from lastlayer.classifier.journal import Journal
from lastlayer.classifier.network.cells import Cells
from lastlayer.classifier.network.members import TableMembers
from lastlayer.classifier.network.texts import TextTable
from lastlayer.errors import ConfigError, did_you_mean
from lastlayer.messages import Message
from lastlayer.messages.wording import option

SMALL_CNN, MLP, MLPS, NGRAMS = "small-cnn", "mlp", "mlps", "ngrams"
_SMALL_IMAGE = 64  # up to this side the small network serves by default, and reads images at their own size
_DEFAULT_TIMM = "resnet18"
_FULL_SIDE = 24  # the small network convolves larger images at half their size or less
_LEAST_TIMM = 32  # what five halvings leave one pixel of


def check(config: Config, kind: str) -> None:
    """Refuse a backbone that does not read this kind of data, or that nobody knows."""
    name = config.backbone
    if kind == "table":
        if name == SMALL_CNN or (encoder_names.is_encoder(name) and need("timm").is_model(name.split(".")[0])):
            raise ConfigError(
                f"{option('backbone', name)} reads images; a table is read by {MLPS!r} or {MLP!r}, its text columns by "
                f"{NGRAMS!r} or a text encoder."
            )
        if encoder_names.is_encoder(name):
            encoder_names.opened(name)
        elif config.pretrained:
            raise ConfigError(f"{option('pretrained', True)} is for a backbone with published weights: name one.")
        return
    if name in (MLP, MLPS, NGRAMS):
        raise ConfigError(
            f"{option('backbone', name)} reads tables; for images take {SMALL_CNN!r} or the name of a timm model."
        )
    if name not in ("auto", SMALL_CNN):
        _known(name)


def starts_from_weights(config: Config) -> bool:
    """Whether to begin with published weights: who names a folder names what is in it."""
    return config.pretrained or encoder_names.in_folder(config.backbone)


def for_columns(config: Config, spec: TableSpec, journal: Journal) -> str:
    """The backbone of a table whose columns are known."""
    name = config.backbone
    if not spec.texts:
        if name in ("auto", MLP, MLPS):
            return MLP if name == MLP else MLPS
        raise ConfigError(
            f"{option('backbone', name)} reads text, and no column is text. Name one with {option('text')}, or leave "
            f"{option('backbone')} out."
        )
    if not encoder_names.is_encoder(name):
        return NGRAMS
    if not config.pretrained and not encoder_names.in_folder(name):
        journal.say(Message("backbone.scratch", name=name, option=option("pretrained", True)))
    return name


def choose(config: Config, kind: str, own_size: int, journal: Journal) -> tuple[str, int]:
    """Return the name of the backbone and the side that images are brought to (0 for tables)."""
    if kind == "table":
        return MLP, 0
    name = config.backbone
    if name == "auto":
        small = own_size <= _SMALL_IMAGE and not config.pretrained
        name = SMALL_CNN if small else _DEFAULT_TIMM
        hint = "" if small or config.pretrained else Message("backbone.hint", option=option("pretrained", True))
        journal.say(Message("backbone.size", name=name, pixels=own_size, hint=hint))
    if name == SMALL_CNN:
        return name, config.image_size or max(8, min(own_size, _SMALL_IMAGE))
    return name, config.image_size or _timm_size(name, own_size)


def _known(name: str) -> None:
    timm = need("timm")
    if timm.is_model(name.split(".")[0]):
        return
    raise ConfigError(
        f"there is no backbone {name!r}.{did_you_mean(name, timm.list_models())} Expected {SMALL_CNN!r}, or the name "
        f"of one of the {len(timm.list_models()):,} models of timm, such as {_DEFAULT_TIMM!r}."
    )


def _timm_size(name: str, own_size: int) -> int:
    """The size a model was made for; smaller for smaller images where the model takes any size."""
    settings = need("timm").models.get_pretrained_cfg(name)
    made_for = settings.input_size[-1] if settings else 224
    if settings and settings.fixed_input_size:
        return int(made_for)
    return int(min(made_for, max(_LEAST_TIMM, math.ceil(own_size / 32) * 32)))


def build(name: str, spec: ImageSpec | TableSpec, *, pretrained: bool = False, journal: Journal | None = None) -> Any:
    """Make the backbone, and return it with the number of features that it gives."""
    if isinstance(spec, TableSpec):
        table = _of_columns(name, spec, pretrained, journal)
        return table, table.features
    if name == SMALL_CNN:
        small = SmallCNN(spec)
        return small, small.features
    return _timm(name, spec, pretrained, journal)


def _of_columns(
    name: str, spec: TableSpec, pretrained: bool, journal: Journal | None
) -> "TableNet | TableMembers | TextTable":
    if name == MLPS:
        return TableMembers(spec.number_width, spec.index_sizes)
    others = TableNet(spec.number_width, spec.index_sizes) if spec.number_width or spec.index_sizes else None
    if spec.texts:
        return TextTable(spec, name, others, pretrained=pretrained, journal=journal)
    return others or TableNet(0, ())


def _timm(name: str, spec: ImageSpec, pretrained: bool, journal: Journal | None) -> Any:
    timm = need("timm")
    options: dict[str, Any] = {"in_chans": spec.channels, "num_classes": 0}
    settings = timm.models.get_pretrained_cfg(name)
    if settings is not None and settings.fixed_input_size:
        options["img_size"] = spec.size
    model = None
    if pretrained:
        try:
            with hub.in_short():
                model = timm.create_model(name, pretrained=True, **options)
        except Exception as error:  # noqa: BLE001 - the hub's client raises its own errors and its carriers'
            if journal is not None:
                reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120].rstrip(". ")
                journal.say(Message("backbone.no_weights", name=name, reason=reason))
    has_weights = model is not None
    model = timm.create_model(name, pretrained=False, **options) if model is None else model
    network = Published(Standardise(spec), model)
    network.pretrained = has_weights
    try:
        with torch.no_grad():
            example = torch.zeros(2, spec.channels, spec.size, spec.size, dtype=torch.uint8)
            features = network.eval()(example)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise ConfigError(
            f"{name} cannot read images of {spec.size}×{spec.size} pixels: {str(error).splitlines()[0]} "
            f"Name a size that it takes with {option('image_size')}."
        ) from error
    if features.dim() != 2:
        raise ConfigError(f"{name} gives features of shape {tuple(features.shape[1:])}; expected one vector per image.")
    return network, int(features.shape[1])


class Published(nn.Sequential):
    """Pixels, standardised, through a model of timm; `pretrained` says whether its weights are the published ones."""

    pretrained = False


class Standardise(nn.Module):
    """uint8 pixels to numbers around 0, by the mean and spread of the training images."""

    mean: Tensor
    std: Tensor

    def __init__(self, spec: ImageSpec) -> None:
        super().__init__()
        self.register_buffer("mean", 255 * torch.tensor(spec.mean).reshape(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", 255 * torch.tensor(spec.std).reshape(1, -1, 1, 1), persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """(images, channels, height, width), uint8 in, float out."""
        return (pixels.to(self.mean.dtype) - self.mean) / self.std


class SmallCNN(nn.Module):
    """Convolutions for images of 8 to 64 pixels: two a stage, halving until about 4 pixels are left.

    Larger images are first halved by strided convolutions, so that an epoch costs seconds on a CPU.
    """

    def __init__(self, spec: ImageSpec, width: int = 32) -> None:
        super().__init__()
        layers: list[nn.Module] = [Standardise(spec)]
        channels, side, out = spec.channels, spec.size, width
        while side > _FULL_SIDE:
            layers += _convolution(channels, width, stride=2)
            channels, side = width, (side + 1) // 2
        while True:
            layers += [*_convolution(channels, out), *_convolution(out, out)]
            channels = out
            if side < 8:
                break
            layers.append(nn.MaxPool2d(2))
            side, out = side // 2, min(2 * out, 256)
        self.layers = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2))
        self.features = channels

    def forward(self, pixels: Tensor) -> Tensor:
        """(images, channels, height, width) to (images, features)."""
        features: Tensor = self.layers(pixels)
        return features


def _convolution(channels: int, out: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(channels, out, 3, stride, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]


class TableNet(nn.Module):
    """An MLP over numbers and over a learnt vector per category."""

    def __init__(self, numbers: int, index_sizes: tuple[int, ...], width: int = 128) -> None:
        super().__init__()
        self.cells = Cells(numbers, index_sizes)
        self.layers = nn.Sequential(
            nn.Linear(self.cells.width, width),
            nn.ReLU(),
            nn.Dropout(0.1),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Dropout(0.1),
        )
        self.features = width

    def forward(self, numbers: Tensor, indices: Tensor) -> Tensor:
        """(rows, numbers) and (rows, categories) to (rows, features)."""
        features: Tensor = self.layers(self.cells(numbers, indices)[0])
        return features
