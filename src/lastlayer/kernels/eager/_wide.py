"""The dtype that a computation runs in, one step wider than the dtype of its input."""

import torch
from torch import Tensor

_WIDER = {torch.float16: torch.float32, torch.bfloat16: torch.float32, torch.float32: torch.float64}


def wide(x: Tensor) -> Tensor:
    """Return `x` in the dtype that kernels compute in; float64 stays, and so does float32 where there is no float64."""
    if x.dtype is torch.float32 and x.device.type == "mps":
        return x
    return x.to(_WIDER.get(x.dtype, x.dtype))
