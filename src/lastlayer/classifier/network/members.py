"""The default network of a table: several small ones that answer together, each of which has not seen some rows.

Every row belongs to one member by what stands in it, and that member alone does not learn from it. So each training
row is judged by a network that has not seen it, as in cross-validation, in one training: where validation rows are few,
those judgements say far better than they do when to stop (docs/decisions/013).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everybody calls it

MEMBERS = 8
_WIDTH = 64
_DROPOUT = 0.1
_LARGEST_VECTOR = 16
_MIXERS = (0x9E3779B97F4A7C15 - 2**64, 0xBF58476D1CE4E5B9 - 2**64)  # of splitmix64, as signed numbers


class TableMembers(nn.Module):
    """Several MLPs beside a linear path, over numbers and over a learnt vector per category.

    In use the features are the mean over the members; since the head is linear, so are the logits.
    """

    def __init__(self, numbers: int, index_sizes: tuple[int, ...], width: int = _WIDTH) -> None:
        super().__init__()
        sizes = [min(_LARGEST_VECTOR, (size + 1) // 2) for size in index_sizes]
        self.vectors = nn.ModuleList(nn.Embedding(size, to) for size, to in zip(index_sizes, sizes, strict=True))
        inputs = numbers + sum(sizes)
        self.first, self.second = _Linear(inputs, width), _Linear(width, width)
        self.straight = _Linear(inputs, width)
        self.features = width

    def forward(self, numbers: Tensor, indices: Tensor) -> Tensor:
        """(rows, numbers) and (rows, categories) to (rows, features)."""
        return self._each(numbers, indices).mean(0)

    def taught(self, numbers: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
        """What the members learn from: features (rows × (members − 1), features), and of which row each is.

        Every row is there as often as every other, so that a mean over them is a mean over rows.
        """
        member, row = (torch.arange(MEMBERS, device=numbers.device).unsqueeze(1) != _owner(numbers, indices)).nonzero(
            as_tuple=True
        )
        return self._each(numbers, indices)[member, row], row

    def held_out(self, numbers: Tensor, indices: Tensor) -> Tensor:
        """Features (rows, features) of each row by the member that has not learnt from it."""
        owner = _owner(numbers, indices)
        return self._each(numbers, indices)[owner, torch.arange(len(owner), device=owner.device)]

    def _each(self, numbers: Tensor, indices: Tensor) -> Tensor:
        """(members, rows, features)."""
        parts = [numbers, *(vectors(indices[:, place]) for place, vectors in enumerate(self.vectors))]
        x = torch.cat(parts, 1).expand(MEMBERS, -1, -1)
        hidden = F.dropout(F.relu(self.first(x)), _DROPOUT, self.training)
        hidden = F.dropout(F.relu(self.second(hidden)), _DROPOUT, self.training)
        features: Tensor = hidden + self.straight(x)
        return features


class _Linear(nn.Module):
    """A linear layer for each member."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(max(inputs, 1))
        self.weight = nn.Parameter(torch.empty(MEMBERS, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(MEMBERS, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """(members, rows, inputs) to (members, rows, outputs)."""
        return torch.baddbmm(self.bias, x, self.weight)


class HeldOut(nn.Module):
    """A network of members that answers for each row by the member that has not learnt from it."""

    def __init__(self, members: TableMembers, head: nn.Module) -> None:
        super().__init__()
        self.members, self.head = members, head

    def forward(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Logits of `inputs`."""
        logits: Tensor = self.head(self.members.held_out(*inputs))
        return logits


def _owner(numbers: Tensor, indices: Tensor) -> Tensor:
    """The member that does not learn from each row: of its contents alone, so that equal rows have one."""
    bits = torch.cat([numbers.float().contiguous().view(torch.int32).long(), indices], 1)
    mixed = torch.zeros(len(bits), dtype=torch.int64, device=bits.device)
    for column in bits.unbind(1):
        mixed = (mixed ^ column) * _MIXERS[0]
        mixed = (mixed ^ ((mixed >> 29) & 0x7FFFFFFFF)) * _MIXERS[1]
    return ((mixed >> 33) & 0x3FFFFFFF) % MEMBERS
