"""Conditioning of networks: checks of labels, and embeddings of rows of conditions."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from sfumato.errors import ConfigError, LabelError
from sfumato.networks.layers import Embedding

NetworkLabels = Int64[Tensor, " n"] | Float[Tensor, "n columns"]
"""Class indices (-1: none), or rows of conditions (NaN: unknown), of any precision."""

Codes = Float[Tensor, " n"]
"""One column of rows of conditions: indices of categories, or standardized numbers; NaN: unknown."""


MAX_CHANNELS, MAX_BLOCKS = 2**14, 10**3
"""Maximum number of channels of a level, and of blocks of all levels."""


def check_size(channels: int, blocks: int) -> None:
    """Raises `ConfigError` if the network exceeds `MAX_CHANNELS` or `MAX_BLOCKS`."""
    if channels > MAX_CHANNELS or blocks > MAX_BLOCKS:
        raise ConfigError(
            f"a network of {channels:,} channels and {blocks:,} blocks is too large",
            f"Choose at most {MAX_CHANNELS:,} channels and {MAX_BLOCKS:,} blocks.",
        )


def check_conditions(classes: int, columns: tuple[int, ...], augmentation: int) -> None:
    """Raises `ConfigError` unless the numbers of classes, values of the columns and augmentation features are valid."""
    if augmentation < 0:
        raise ConfigError(f"the number of augmentation features is {augmentation}", "Choose 0 or more.")
    if min(classes, *columns, 0) < 0 or (classes and columns):
        raise ConfigError(
            f"{classes} classes and columns of {columns} values cannot be combined",
            "Choose either classes or columns, of 0 or more values.",
        )


def check_inputs(
    labels: NetworkLabels | None,
    augmentation: Float[Tensor, "n a"] | None,
    classes: int,
    columns: int,
    augmentation_features: int,
) -> None:
    """Raises an error if a network has no input for these labels or the augmentation."""
    if augmentation is not None and not augmentation_features:
        raise ConfigError(
            "the network has no input for the augmentation",
            "Call it without, or build it with a configuration that has `augmentation`.",
        )
    if labels is None:
        return
    if not classes and not columns:
        raise LabelError("labels were given to a network without classes", "Call it without labels.")
    if labels.shape[1:] != ((columns,) if columns else ()):
        raise LabelError(
            f"labels of shape {tuple(labels.shape)} were given to a network with "
            + (f"{columns} columns" if columns else f"{classes} classes"),
            f"Give rows (n, {columns})." if columns else "Give class indices (n,).",
        )


class CategoryEmbedding(nn.Embedding):
    """Embedding of a categorical column; row 0 of the table is for unknown values."""

    def __init__(self, values: int, features: int) -> None:
        super().__init__(values + 1, features)

    def forward(self, codes: Codes) -> Embedding:
        """(n,) to (n, features)."""
        return super().forward(codes.nan_to_num(-1).long() + 1)


class NumberEmbedding(nn.Linear):
    """Linear embedding of a numeric column, with a bias; zero for unknown values."""

    def __init__(self, features: int) -> None:
        super().__init__(2, features, bias=False)

    def forward(self, codes: Codes) -> Embedding:
        """(n,) to (n, features): linear in the number, and in 1 for a known and 0 for an unknown number."""
        is_known = ~codes.isnan()
        return super().forward(torch.stack([codes.nan_to_num(0), is_known.to(codes.dtype)], 1).to(self.weight.dtype))


class RowEmbedding(nn.Module):
    """Embedding of rows of conditions: the sum of the embeddings of the columns.

    Args:
        columns: number of values of each column; 0 for a numeric column.
        features: size of the embedding.
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
