"""Features are compared with features of their own kind."""

from __future__ import annotations

from torch import Tensor

from sfumato.errors import DataError


def check_widths(one: Tensor, other: Tensor) -> None:
    """Raises `DataError` if the rows of two sets of features, or their means, differ in length."""
    if one.shape[-1] != other.shape[-1]:
        raise DataError(
            f"Features of {one.shape[-1]} numbers are compared with features of {other.shape[-1]}",
            "Make both by the same network.",
        )
