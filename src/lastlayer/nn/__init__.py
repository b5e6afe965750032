"""Modules: PyTorch's losses with lastlayer's functions, and heads that keep activation and loss together."""

from lastlayer.nn.heads import BinaryHead, MultiClassHead, MultiLabelHead
from lastlayer.nn.losses import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    KLDivLoss,
    LinearCrossEntropyLoss,
    NLLLoss,
)

__all__ = [
    # losses
    "CrossEntropyLoss",
    "NLLLoss",
    "BCELoss",
    "BCEWithLogitsLoss",
    "KLDivLoss",
    "LinearCrossEntropyLoss",
    # heads
    "BinaryHead",
    "MultiClassHead",
    "MultiLabelHead",
]
