"""From pictures to tensors. Size, channels and the scale of the pixels are learnt from training rows only."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lastlayer.classifier.data.images import Seen, open_picture
from lastlayer.classifier.extras import need

_GREY = {"1", "L", "LA", "I", "I;16", "F"}
_SAMPLE = 2_000  # pictures that the mean and the spread of the pixels are taken from


@dataclass(frozen=True)
class ImageSpec:
    """How a picture becomes a tensor: upright, brought to one size by its shorter side, the rest cropped evenly.

    Attributes:
        channels: 1 for grey, 3 for colour.
        size: Height and width.
        mean: Of each channel over the training pictures, of values in [0, 1].
        std: Likewise.
        max_pixels: Pictures with more, by their header, are refused.
    """

    channels: int
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    max_pixels: int

    def pixels(self, picture: dict[str, Any], change: Callable[[Any], Any] | None = None) -> np.ndarray:
        """Decode a picture to uint8 (height, width, channels); a DataError says why it cannot be read.

        `change` makes another image of the one that was decoded, as RGB, before it is brought to its size.
        """
        image = open_picture(picture, self.max_pixels)
        if change is not None:
            image = change(_opaque(_eight_bits(image)).convert("RGB"))
        return fitted(image, self.channels, self.size)

    def tensors(self, pictures: Sequence[np.ndarray]) -> Tensor:
        """Stack decoded pictures to uint8 (pictures, channels, height, width)."""
        stacked = np.stack(list(pictures)).transpose(0, 3, 1, 2)
        return torch.from_numpy(np.ascontiguousarray(stacked))

    def to_dict(self) -> dict[str, Any]:
        """Return the specification as plain values, for model.json."""
        return {"kind": "image", **asdict(self), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "ImageSpec":
        """Undo `to_dict`."""
        given = {name: value for name, value in plain.items() if name != "kind"}
        return cls(**{**given, "mean": tuple(plain["mean"]), "std": tuple(plain["std"])})


def learn_pixels(pictures: Sequence[dict[str, Any]], seen: Sequence[Seen], size: int, max_pixels: int) -> ImageSpec:
    """Take channels from most of the training pictures, mean and spread of the pixels from an even sample of them."""
    modes = Counter(one.mode in _GREY for one in seen)
    channels = 1 if modes[True] == len(seen) else 3
    step = max(1, len(pictures) // _SAMPLE)
    sample = ImageSpec(channels, size, (0.0,) * channels, (1.0,) * channels, max_pixels)
    count, total, squares = 0, np.zeros(channels), np.zeros(channels)
    for picture in pictures[::step]:
        values = sample.pixels(picture).reshape(-1, channels) / 255
        count += len(values)
        total += values.sum(0)
        squares += (values**2).sum(0)
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    std = np.where(std > 1e-3, std, 1.0)  # pictures of one colour throughout
    return ImageSpec(channels, size, tuple(map(float, mean)), tuple(map(float, std)), max_pixels)


def median_size(seen: Sequence[Seen]) -> int:
    """The median of the shorter sides."""
    return int(np.median([min(one.size) for one in seen]))


def fitted(image: Any, channels: int, size: int) -> np.ndarray:
    """Bring a decoded picture to `channels` and `size`; transparent parts become white."""
    image = _opaque(_eight_bits(image)).convert("L" if channels == 1 else "RGB")
    if image.size != (size, size):
        image = need("PIL.ImageOps").fit(image, (size, size), need("PIL.Image").Resampling.BILINEAR)
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels[:, :, None] if channels == 1 else pixels


def _eight_bits(image: Any) -> Any:
    """16-bit and floating pictures by their own range of values, which Pillow would cut off at 255."""
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image, dtype=np.float64)
    top = 65535.0 if image.mode.startswith("I") and values.max() > 255 else 255.0 if values.max() > 1 else 1.0
    return need("PIL.Image").fromarray((np.clip(values / top, 0, 1) * 255).round().astype(np.uint8))


def _opaque(image: Any) -> Any:
    if image.mode not in ("RGBA", "LA", "PA") and "transparency" not in image.info:
        return image
    layer = image.convert("RGBA")
    paper = need("PIL.Image").new("RGBA", layer.size, "white")
    return need("PIL.Image").alpha_composite(paper, layer)
