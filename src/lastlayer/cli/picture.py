"""A small picture in shades of one character, as the model sees it."""

from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the field's name for it

_SHADES = " ░▒▓█"
_MOST = 16  # rows of a terminal that a picture may take


def shaded(pixels: Tensor) -> list[str]:
    """Lines of uint8 `pixels` (channels, height, width), two characters wide each; large pictures are shrunk."""
    grey = pixels.float().mean(0)
    if grey.shape[0] > _MOST:
        grey = F.adaptive_avg_pool2d(grey[None, None], _MOST)[0, 0]
    steps = (grey / 256 * len(_SHADES)).long()
    return ["".join(_SHADES[int(step)] * 2 for step in row) for row in steps]
