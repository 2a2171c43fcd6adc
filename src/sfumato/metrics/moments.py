"""Mean and covariance of features, accumulated over batches in float64."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from sfumato.errors import DataError, TooFewImagesError

ROWS_PER_PRODUCT = 2048
"""Number of rows per matrix product; smaller batches are concatenated first."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and covariance of a set of features, on the CPU.

    Attributes:
        count: Number of rows, at least 1.
        mean: Mean of the rows.
        scatter: Sum of (row - mean) (row - mean)^T over the rows.
    """

    count: int
    mean: Float64[Tensor, " d"]
    scatter: Float64[Tensor, "d d"]

    @staticmethod
    def of(features: Float[Tensor, "n d"]) -> "Moments":
        """Moments of a tensor of features.

        Raises:
            DataError: There are no rows.
        """
        return moments_of([features])

    @cached_property
    def covariance(self) -> Float64[Tensor, "d d"]:
        """Unbiased estimate of the covariance, scatter / (count - 1).

        Raises:
            TooFewImagesError: There is only one row.
        """
        if self.count < 2:
            raise TooFewImagesError(f"{self.count} image(s) have no covariance", "Give at least 2.")
        covariance: Tensor = self.scatter / (self.count - 1)
        return covariance

    @cached_property
    def root(self) -> Float64[Tensor, "d rank"]:
        """Matrix R with R R^T = covariance; the number of columns is the rank."""
        values, vectors = torch.linalg.eigh(self.covariance)
        kept = above_rounding(values)
        root: Tensor = vectors[:, kept] * values[kept].sqrt()
        return root

    def __add__(self, other: "Moments") -> "Moments":
        """Moments of the union of both sets.

        Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979),
        generalised to vectors.
        """
        count = self.count + other.count
        apart = other.mean - self.mean
        between = torch.outer(apart, apart) * (self.count * other.count / count)
        return Moments(count, self.mean + apart * (other.count / count), self.scatter + other.scatter + between)


def above_rounding(eigenvalues: Float64[Tensor, " d"]) -> Bool[Tensor, " d"]:
    """Mask of the eigenvalues (ascending) that are larger than the rounding error of an eigenvalue 0."""
    greatest = eigenvalues[-1:].sum()  # 0 if there are none
    return eigenvalues > len(eigenvalues) * torch.finfo(eigenvalues.dtype).eps * greatest


def moments_of(batches: Iterable[Float[Tensor, "_ d"]]) -> Moments:
    """Moments of all rows of all batches, with constant memory.

    The batch sizes change the moments only by rounding.

    Args:
        batches: Features of equal width, on any device.

    Raises:
        DataError: There are no rows.
    """
    total: Moments | None = None
    for rows in _pieces(batches):
        mean = rows.mean(0)
        centred = rows - mean
        piece = Moments(len(rows), mean, centred.T @ centred)
        total = piece if total is None else total + piece
    if total is None:
        raise DataError("There are no features", "Give at least 2 images.")
    return total


def _pieces(batches: Iterable[Tensor]) -> Iterable[Float64[Tensor, "_ d"]]:
    """The same rows in float64 on the CPU, `ROWS_PER_PRODUCT` at a time."""
    waiting: list[Tensor] = []
    for batch in batches:
        waiting.append(batch.cpu())
        if sum(len(each) for each in waiting) >= ROWS_PER_PRODUCT:
            *whole, rest = torch.cat(waiting).split(ROWS_PER_PRODUCT)
            waiting = [rest]
            yield from (piece.double() for piece in whole)
    left = torch.cat(waiting) if waiting else torch.empty(0, 0)
    if len(left):
        yield left.double()


def check_widths(one: Tensor, other: Tensor) -> None:
    """Raises `DataError` unless two sets of features, or their means, have the same width."""
    if one.shape[-1] != other.shape[-1]:
        raise DataError(
            f"Features of width {one.shape[-1]} are compared with features of width {other.shape[-1]}",
            "Compute both with the same network.",
        )
