"""Whether a tensor is only a tensor: what may be read, written and differentiated by hand."""

import torch
from torch import Tensor
from torch.autograd import forward_ad

# torch.autograd.grad(is_grads_batched=True) hands such tensors to a backward; nothing public tells them apart.
_is_batched_gradient = getattr(torch._C._functorch, "is_legacy_batchedtensor", lambda tensor: False)
_PLAIN = (Tensor, torch.nn.Parameter)
_unwrapped, _is_compiling = torch.func.debug_unwrap, torch.compiler.is_compiling
_is_wrapped = getattr(
    torch._C._functorch, "is_functorch_wrapped_tensor", lambda tensor: _unwrapped(tensor) is not tensor
)
_is_transforming = getattr(torch._C, "_are_functorch_transforms_active", lambda: False)


def is_plain(*tensors: Tensor | None) -> bool:
    """False while tracing or compiling, inside a torch.func transform or a dual level, and for tensor subclasses."""
    # Inside a transform even what is made of plain tensors is wrapped, and has no memory of its own.
    if _is_compiling() or _is_transforming():
        return False
    # Outside every dual level no tensor has a tangent; looking for one costs as much as the rest.
    dual = getattr(forward_ad, "_current_level", 0) >= 0
    for tensor in tensors:
        if tensor is None:
            continue
        if type(tensor) not in _PLAIN or _is_wrapped(tensor) or _is_batched_gradient(tensor):
            return False
        if dual and forward_ad.unpack_dual(tensor).tangent is not None:  # type: ignore[no-untyped-call]
            return False
    return True
