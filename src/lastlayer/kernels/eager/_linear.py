"""The product in front of the linear losses."""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 - the field's name for it


def linear(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """features · weightᵀ + bias, with half precision accumulated and returned in float32."""
    if features.dtype in (torch.float16, torch.bfloat16):
        features, weight = features.float(), weight.float()
        bias = None if bias is None else bias.float()
    return F.linear(features, weight, bias)
