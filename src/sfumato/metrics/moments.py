"""Mean and covariance of features that pass by in batches, in float64."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from sfumato.errors import DataError, TooFewImagesError

PIECE = 2048
"""Rows that are multiplied at once: small batches are gathered first."""


@dataclass(frozen=True, eq=False)
class Moments:
    """What a Gaussian knows of a set of features, on the CPU.

    Attributes:
        count: How many rows there were, from 1.
        mean: Of the rows.
        scatter: The sum of (row - mean) (row - mean)^T.
    """

    count: int
    mean: Float64[Tensor, " d"]
    scatter: Float64[Tensor, "d d"]

    @staticmethod
    def of(features: Float[Tensor, "n d"]) -> Moments:
        """The moments of features that are at hand, from 1 row.

        Raises:
            DataError: There are none.
        """
        return moments_of([features])

    @cached_property
    def covariance(self) -> Float64[Tensor, "d d"]:
        """The unbiased estimate, scatter / (count - 1).

        Raises:
            TooFewImagesError: There is but one row.
        """
        if self.count < 2:
            raise TooFewImagesError(f"{self.count} image(s) have no covariance", "Give at least 2.")
        covariance: Tensor = self.scatter / (self.count - 1)
        return covariance

    @cached_property
    def root(self) -> Float64[Tensor, "d rank"]:
        """A matrix R with R R^T = covariance, and as many columns as its rank."""
        values, vectors = torch.linalg.eigh(self.covariance)
        kept = above_rounding(values)
        root: Tensor = vectors[:, kept] * values[kept].sqrt()
        return root

    def __add__(self, other: Moments) -> Moments:
        """The moments of both sets together.

        Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979),
        for vectors.
        """
        count = self.count + other.count
        apart = other.mean - self.mean
        between = torch.outer(apart, apart) * (self.count * other.count / count)
        return Moments(count, self.mean + apart * (other.count / count), self.scatter + other.scatter + between)


def above_rounding(eigenvalues: Float64[Tensor, " d"]) -> Bool[Tensor, " d"]:
    """Which of the ascending eigenvalues of a covariance cannot be zeros that were rounded."""
    greatest = eigenvalues[-1:].sum()  # 0 where there are none
    return eigenvalues > len(eigenvalues) * torch.finfo(eigenvalues.dtype).eps * greatest


def moments_of(batches: Iterable[Float[Tensor, "_ d"]]) -> Moments:
    """The moments of all rows of all batches; only `PIECE` rows and the moments are ever held.

    How rows are cut into batches changes the moments by rounding alone.

    Args:
        batches: Features of one width; on any device.

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
        raise DataError("There are no features to take moments of", "Give at least 2 images.")
    return total


def _pieces(batches: Iterable[Tensor]) -> Iterable[Float64[Tensor, "_ d"]]:
    """The same rows, in float64 on the CPU, `PIECE` at a time."""
    waiting: list[Tensor] = []
    for batch in batches:
        waiting.append(batch.cpu())
        if sum(len(each) for each in waiting) >= PIECE:
            *whole, rest = torch.cat(waiting).split(PIECE)
            waiting = [rest]
            yield from (piece.double() for piece in whole)
    left = torch.cat(waiting) if waiting else torch.empty(0, 0)
    if len(left):
        yield left.double()
