"""Class indices as vectors, and the arg max as one: what softmax is the soft form of."""

import torch
from jaxtyping import Bool, Int, Num
from torch import Tensor

from lastlayer.errors import DtypeError, OptionError, TargetError
from lastlayer.functional import _checks


def one_hot(tensor: Int[Tensor, "*shape"], num_classes: int = -1) -> Int[Tensor, "*shape classes"]:
    r"""A vector per index: 1 at the index, 0 elsewhere.

    Args:
        tensor: int64 class indices of any shape.
        num_classes: Length of the new last axis; −1 takes the largest index + 1.

    Returns:
        int64 zeros and ones. As targets of `cross_entropy` convert them: `one_hot(y, C).float()`, or pass `y`.

    Raises:
        DtypeError: `tensor` is not an int64 tensor.
        TargetError: an index is negative, or not below `num_classes`.
        OptionError: `tensor` is empty and `num_classes` is −1.

    >>> one_hot(torch.tensor([1, 0, 2]))
    tensor([[0, 1, 0],
            [1, 0, 0],
            [0, 0, 1]])
    """
    _checks.is_tensor("one_hot", tensor=tensor)
    if tensor.dtype is not torch.int64:
        raise DtypeError(
            f"one_hot is only applicable to index tensor of type LongTensor, got {tensor.dtype}. "
            "Convert it: tensor.long()."
        )
    if num_classes < -1:
        raise _ClassValueError(
            f"Class values must be smaller than num_classes: got num_classes={num_classes}. Pass the count, "
            "or -1 for the largest index + 1."
        )
    if num_classes < 0 and tensor.numel() == 0:
        raise OptionError("Can not infer total number of classes from empty tensor. Pass num_classes.")
    if tensor.numel() and _checks.values_can_be_read(tensor):
        low, high = (int(bound) for bound in torch.aminmax(tensor))
        if low < 0:
            raise _ClassValueError(f"Class values must be non-negative, got {low}. Classes are numbered from 0.")
        if 0 <= num_classes <= high:
            raise _ClassValueError(
                f"Class values must be smaller than num_classes: got {high} with num_classes={num_classes}. "
                f"Pass num_classes={high + 1}, or relabel."
            )
    return torch.nn.functional.one_hot(tensor, num_classes)


class _ClassValueError(TargetError, RuntimeError):
    """PyTorch raises RuntimeError here and IndexError in the losses."""


def hardmax(
    input: Num[Tensor, "*shape"], dim: int, *, return_ties: bool = False
) -> Int[Tensor, "*shape"] | tuple[Int[Tensor, "*shape"], Bool[Tensor, "..."]]:
    r"""The arg max as a one-hot vector: what softmax becomes as the temperature falls to 0.

    Its gradient is 0 wherever it has one, which is why nothing is trained through it.

    Args:
        input: Logits or probabilities; the result is the same for both.
        dim: The class axis.
        return_ties: Return (hardmax, tied): tied is True where more than one entry is the largest. The first of
            them gets the 1.

    Returns:
        int64 zeros and ones of the shape of `input`.

    Raises:
        DtypeError: `input` is not a tensor.
        ShapeError: there is no axis `dim`.

    >>> hardmax(torch.tensor([[5.0, 4.0, 2.0], [4.0, 4.0, 1.0]]), dim=1, return_ties=True)
    (tensor([[1, 0, 0],
            [1, 0, 0]]), tensor([False,  True]))
    """
    _checks.is_tensor("hardmax", input=input)
    dim = _checks.dimension(input, dim)
    largest = input.amax(dim, keepdim=True)
    at_top = input == largest
    first = torch.zeros_like(input, dtype=torch.int64).scatter(dim, at_top.int().argmax(dim, keepdim=True), 1)
    return (first, at_top.sum(dim) > 1) if return_ties else first
