"""What every backend of a loss is told besides its tensors."""

from typing import NamedTuple

import torch


class Options(NamedTuple):
    """Everything about the loss that is not a tensor."""

    dtype: torch.dtype  # of the loss
    reduction: str = "mean"
    label_smoothing: float = 0.0
    z_loss: float = 0.0
    softcap: float | None = None
    temperature: float = 1.0
    empty: str = "nan"  # the mean over no rows: "nan" or "zero"
    # None when the caller has read the indices: all of them name a class and none is ignored. Otherwise a row whose
    # index is this gives loss 0 and gradient 0 whatever its logits hold, and a row whose index names no class NaN.
    ignore_index: int | None = None


class BinaryOptions(NamedTuple):
    """Everything about a binary loss that is not a tensor."""

    dtype: torch.dtype  # of the loss
    reduction: str = "mean"
    focal_gamma: float = 0.0
    label_smoothing: float = 0.0
