"""Whether a tensor is only a tensor: what may be read, written and differentiated by hand."""

import torch
from torch import Tensor
from torch.autograd import forward_ad

# torch.autograd.grad(is_grads_batched=True) hands such tensors to a backward; nothing public tells them apart.
_is_batched_gradient = getattr(torch._C._functorch, "is_legacy_batchedtensor", lambda tensor: False)


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
            and not _is_batched_gradient(tensor)
        )
        for tensor in tensors
    )
