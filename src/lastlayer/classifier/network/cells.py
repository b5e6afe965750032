"""The cells of a row as one vector: its numbers, and a learnt vector for each of its categories."""

import torch
from torch import Tensor, nn

_LARGEST_VECTOR = 16
_LARGEST_COLUMN = 2**24  # numbers that the vectors of one column hold, 64 MiB


class Cells(nn.Module):
    """Rows of a table as each of several networks reads them: every network learns vectors of its own.

    Vectors that networks share would tell each of them of rows that it must not see. Those of other words and of a
    missing cell are 0, the middle of the others, until training meets one: where it never does, the other cells of such
    a row answer, not chance.

    Attributes:
        width: How long the vector of a row is.
    """

    def __init__(self, numbers: int, index_sizes: tuple[int, ...], members: int = 1) -> None:
        super().__init__()
        sizes = [_size(categories, members) for categories in index_sizes]
        vectors = [nn.Embedding(each, members * size) for each, size in zip(index_sizes, sizes, strict=True)]
        with torch.no_grad():
            for column in vectors:
                column.weight[[0, -1]] = 0.0
        self.vectors = nn.ModuleList(vectors)
        self.members, self.width = members, numbers + sum(sizes)

    def forward(self, numbers: Tensor, indices: Tensor) -> Tensor:
        """(rows, numbers) and (rows, categories) to (members, rows, width)."""
        parts = [numbers.expand(self.members, -1, -1)]
        for place, column in enumerate(self.vectors):
            parts.append(column(indices[:, place]).unflatten(1, (self.members, -1)).transpose(0, 1))
        return torch.cat(parts, 2)


def _size(categories: int, members: int) -> int:
    return min(_LARGEST_VECTOR, (categories + 1) // 2, max(1, _LARGEST_COLUMN // (categories * members)))
