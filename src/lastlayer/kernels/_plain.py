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
_is_recording = getattr(torch._C, "_is_tracing", lambda: False)  # torch.jit.trace
_modes = getattr(torch._C, "_len_torch_dispatch_stack", lambda: 0)  # those that see every operation, as make_fx does


def is_plain(*tensors: Tensor | None) -> bool:
    """False where somebody follows each operation, inside a torch.func transform or a dual level, and for subclasses.

    Who traces, compiles, or counts under a dispatch mode would take what a kernel writes for a constant, or miss it.
    """
    # Inside a transform even what is made of plain tensors is wrapped, and has no memory of its own.
    if _is_compiling() or _is_transforming() or _is_recording() or _modes():
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
