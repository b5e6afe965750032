"""Whether a tensor is only a tensor: what may be read, written and differentiated by hand."""

import torch
from torch import Tensor
from torch.autograd import forward_ad


def is_plain(*tensors: Tensor | None) -> bool:
    """False while tracing or compiling, inside a torch.func transform or a dual level, and for tensor subclasses."""
    if torch.compiler.is_compiling():
        return False
    return all(
        tensor is None
        or (
            type(tensor) in (Tensor, torch.nn.Parameter)
            and torch.func.debug_unwrap(tensor) is tensor
            and forward_ad.unpack_dual(tensor).tangent is None  # type: ignore[no-untyped-call]
        )
        for tensor in tensors
    )
