"""The nodes of PyTorch's autograd graph: their names, and what they keep."""

from typing import Any

from torch import Tensor

Node = Any  # torch.autograd.graph.Node: its saved attributes exist at run time only

# An operation that a rule may speak of.
OPERATIONS = {
    "Softmax": "softmax",
    "LogSoftmax": "log_softmax",
    "Sigmoid": "sigmoid",
    "LogSigmoid": "logsigmoid",
    "Log": "log",
    "Relu": "relu",
    "LeakyRelu": "leaky_relu",
    "Elu": "elu",
    "Gelu": "gelu",
    "Silu": "silu",
    "Tanh": "tanh",
    "Hardtanh": "clamp",
    "Clamp": "clamp",
    "ClampMin": "clamp",
    "ClampMax": "clamp",
    "Exp": "exp",
    "Softplus": "softplus",
    "Logsumexp": "logsumexp",
    "Logaddexp": "logaddexp",
}
# What only looks at the same numbers otherwise: other axes, other dtype, fewer rows.
SAME_NUMBERS = {
    "View", "UnsafeView", "ReshapeAlias", "Squeeze", "Unsqueeze", "Transpose", "T", "Permute", "ToCopy", "Clone",
    "Alias", "Expand", "Slice", "Select", "Index", "IndexSelect", "AsStrided", "MaskedSelect", "Contiguous", "Unbind",
    "SwapAxes", "MoveDim", "UpsampleBilinear2D", "UpsampleNearest2D", "UpsampleBicubic2D", "UpsampleLinear1D", "Split",
    "SplitWithSizes", "Chunk", "Narrow", "Flatten", "Mt", "Detach",
}  # fmt: skip
# What makes new numbers with weights: below it are features, not logits.
LAYERS = {
    "Addmm", "Mm", "Bmm", "Baddbmm", "Addbmm", "Mv", "Addmv", "Dot", "Linear", "Convolution", "MkldnnConvolution",
    "CudnnConvolution", "ConvolutionOverrideable", "MkldnnLinear", "Embedding", "EmbeddingBag", "NativeBatchNorm",
    "CudnnBatchNorm", "NativeLayerNorm", "NativeGroupNorm", "Bilinear", "Trilinear",
}  # fmt: skip
REDUCTIONS = {"Mean", "Sum"}


def name(node: Node) -> str:
    """The name of a node without its suffix and number: "NllLoss", "_ByHand"."""
    full = str(node.name()).rsplit("::", 1)[-1]
    stem, mark, number = full.rpartition("Backward")
    return stem if mark and (not number or number.isdigit()) else full


def saved(node: Node, attribute: str) -> Any:
    """What a node keeps under `_saved_<attribute>`, or None where it keeps nothing of the kind."""
    return getattr(node, f"_saved_{attribute}", None)


def signed(number: int) -> int:
    """A size or index as it was: PyTorch shows negative ones wrapped to 64 bits.

    >>> signed(18446744073709551516)
    -100
    """
    return number - 2**64 if number >= 2**63 else number


def children(node: Node) -> list[Node]:
    """The nodes below that can have a gradient."""
    return [below for below, _ in node.next_functions if below is not None]


def is_python(node: Node) -> bool:
    """Whether this is somebody's own `autograd.Function`: what it computes cannot be read."""
    return hasattr(node, "saved_tensors") and hasattr(node, "needs_input_grad")


def number_of(value: Any) -> float | None:
    """A constant factor as a number; None for a tensor of several."""
    if isinstance(value, Tensor):
        return float(value.detach()) if value.numel() == 1 and value.device.type != "meta" else None
    return float(value) if isinstance(value, (int, float)) else None
