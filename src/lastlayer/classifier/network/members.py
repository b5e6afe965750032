"""The default network of a table: several small ones that answer together, each of which has not seen some rows.

Every row belongs to one member by what stands in it, and that member alone does not learn from it. So each training
row is judged by a network that has not seen it, as in cross-validation, in one training: where validation rows are few,
those judgements say far better than they do when to stop (docs/decisions/013).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everybody calls it

from lastlayer.classifier.network.cells import Cells

MEMBERS = 8
_WIDTH = 128
_DROPOUT = 0.1
_MIXERS = (0x9E3779B97F4A7C15 - 2**64, 0xBF58476D1CE4E5B9 - 2**64)  # of splitmix64, as signed numbers


class TableMembers(nn.Module):
    """Several MLPs beside a linear path, over numbers and over a learnt vector per category.

    In use the features are the mean over the members; since the head is linear, so are the logits.

    Attributes:
        features: How many they are.
        lost: Which share of the cells of each row a member does not see at a step of the training.
    """

    def __init__(self, numbers: int, index_sizes: tuple[int, ...], width: int = _WIDTH) -> None:
        super().__init__()
        self.cells = Cells(numbers, index_sizes, MEMBERS)
        self.first, self.second = _Linear(self.cells.width, width), _Linear(width, width)
        self.straight = _Linear(self.cells.width, width)
        self.features, self.lost = width, 0.0

    def forward(self, numbers: Tensor, indices: Tensor) -> Tensor:
        """(rows, numbers) and (rows, categories) to (rows, features)."""
        return self._each(numbers, indices).mean(0)

    def taught(self, numbers: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
        """What the members learn from: features (rows × (members − 1), features), and of which row each is.

        Every row is there as often as every other, so that a mean over them is a mean over rows.
        """
        every = torch.arange(MEMBERS, device=numbers.device).unsqueeze(1)
        member, row = (every != self.owner(numbers, indices)).nonzero(as_tuple=True)
        return self._each(numbers, indices)[member, row], row

    def held_out(self, numbers: Tensor, indices: Tensor) -> Tensor:
        """Features (rows, features) of each row by the member that has not learnt from it."""
        owner = self.owner(numbers, indices)
        return self._each(numbers, indices)[owner, torch.arange(len(owner), device=owner.device)]

    def owner(self, numbers: Tensor, indices: Tensor) -> Tensor:
        """The member that does not learn from each row: of its contents alone, so that equal rows have one."""
        bits = torch.cat([numbers.float().contiguous().view(torch.int32).long(), indices], 1)
        mixed = torch.zeros(len(bits), dtype=torch.int64, device=bits.device)
        for column in bits.unbind(1):
            mixed = (mixed ^ column) * _MIXERS[0]
            mixed = (mixed ^ ((mixed >> 29) & 0x7FFFFFFFF)) * _MIXERS[1]
        return ((mixed >> 33) & 0x3FFFFFFF) % MEMBERS

    def blend(self, share: float, weight: Tensor, bias: Tensor) -> None:
        """Make features that are linear in the cells a `share` of each member's, and keep the rest of its own.

        Args:
            share: From 0 to 1.
            weight: (members, width of the cells, features).
            bias: (members, 1, features).
        """
        with torch.no_grad():
            for parameter in (self.second.weight, self.second.bias, self.straight.weight, self.straight.bias):
                parameter.mul_(1 - share)  # ReLU of a share is the share of the ReLU
            self.straight.weight.add_(share * weight)
            self.straight.bias.add_(share * bias)

    def _each(self, numbers: Tensor, indices: Tensor) -> Tensor:
        """(members, rows, features)."""
        x = F.dropout(self.cells(numbers, indices), self.lost, self.training)
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
