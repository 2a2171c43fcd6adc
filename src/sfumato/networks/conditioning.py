"""What a network is told of images besides their times: which labels it takes, and rows of conditions as a vector."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sfumato.errors import ConfigError, LabelError
from sfumato.networks.layers import Embedding

Labels = Int64[Tensor, " n"] | Float[Tensor, "n columns"]
"""Class indices (-1: none), or rows of conditions (NaN: not known)."""

Codes = Float[Tensor, " n"]
"""One column of some rows: indices of a category's values, or standardised numbers; NaN where it is not known."""


def check_conditions(classes: int, columns: tuple[int, ...], augmentation: int) -> None:
    """Raises `ConfigError` if no network can be made for so many classes, columns of so many values, or numbers."""
    if augmentation < 0:
        raise ConfigError(f"augmentation is told in {augmentation} numbers", "Choose 0 or more.")
    if min(classes, *columns, 0) < 0 or (classes and columns):
        raise ConfigError(
            f"{classes} classes and columns of {columns} values do not go together",
            "Choose classes, or columns of 0 or more values.",
        )


def check_labels(labels: Labels, classes: int, columns: int) -> None:
    """Raises `LabelError` if the labels are not of the kind that a network of so many classes or columns is for."""
    if not classes and not columns:
        raise LabelError("labels were given to a network made for no classes", "Call it without labels.")
    if labels.shape[1:] != ((columns,) if columns else ()):
        raise LabelError(
            f"labels of shape {tuple(labels.shape)} were given to a network made for "
            + (f"{columns} columns" if columns else f"{classes} classes"),
            f"Give rows (n, {columns})." if columns else "Give class indices (n,).",
        )


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
