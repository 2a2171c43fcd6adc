"""Rows of conditions as a vector beside that of time: of each column an embedding, and the sum of them."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sfumato.nn.layers import Embedding

Codes = Float[Tensor, " n"]
"""One column of some rows: indices of a category's values, or standardised numbers; NaN where it is not known."""


class CategoryEmbedding(nn.Embedding):
    """A vector for each value of a category; row 0 of the table stands for a value that is not known."""

    def __init__(self, values: int, features: int) -> None:
        super().__init__(values + 1, features)

    def forward(self, codes: Codes) -> Embedding:
        """(n,) to (n, features)."""
        return super().forward(codes.nan_to_num(-1).long() + 1)


class NumberEmbedding(nn.Linear):
    """A vector that grows with a number from where its mean is; a number that is not known adds nothing."""

    def __init__(self, features: int) -> None:
        super().__init__(2, features, bias=False)

    def forward(self, codes: Codes) -> Embedding:
        """(n,) to (n, features), linear in the number and in whether it is known."""
        return super().forward(torch.stack([codes.nan_to_num(0), ~codes.isnan()], 1).to(self.weight.dtype))


class RowEmbedding(nn.Module):
    """The sum of the embeddings of all columns.

    Args:
        columns: of each column how many values it has, 0 for a number.
        features: of an embedding.
    """

    def __init__(self, columns: tuple[int, ...], features: int) -> None:
        super().__init__()
        self.columns = nn.ModuleList(
            CategoryEmbedding(values, features) if values else NumberEmbedding(features) for values in columns
        )

    def forward(self, rows: Float[Tensor, "n columns"]) -> Embedding:
        """(n, k) to (n, features)."""
        embedded = [embed(codes) for embed, codes in zip(self.columns, rows.T, strict=True)]
        return torch.stack(embedded).sum(0)
