"""Sketches: short vectors of images whose distances are lower bounds of the distances of the images.

For any orthonormal P with remainder r = a - P^T P a, |a - b|^2 = |Pa - Pb|^2 + |ra - rb|^2, and |ra - rb| is at least
||ra| - |rb||. So the distances of (Pa, |ra|) are lower bounds of those of a. They are tight if P contains most of the
variance, as principal components do.

An image is the sum of its even half, which is unchanged by mirroring left to right, and its odd half, which changes
sign. The halves are orthogonal. A sketch has components of each, so that the sketch of the mirror image differs only
in the signs of the odd components.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

ITERATIONS = 2
"""Number of subspace iterations for the principal components."""

AXES = 2
"""Number of long axes of a box around sketches."""

ROUNDING = 1e-4
"""Maximum rounding error of squared distances of sketches, as a share of the largest squared norm."""


class Sketches(NamedTuple):
    """Sketches of images: norm of the remainder, components of the even half, and components of the odd half.

    Mirroring does not change the first `evens` columns.
    """

    numbers: Float[Tensor, "n s"]
    evens: int

    def narrowed(self, width: int) -> "Sketches":
        """Sketches with the first `width` components of each half."""
        outside, even, odd = self.numbers.split([1, self.evens - 1, self.numbers.shape[1] - self.evens], 1)
        outside = torch.cat([outside, even[:, width:], odd[:, width:]], 1)
        norm = torch.linalg.vector_norm(outside, dim=1, keepdim=True)
        even, odd = even[:, :width], odd[:, :width]
        return Sketches(torch.cat([norm, even, odd], 1), 1 + even.shape[1])

    def halves(self) -> tuple[Float[Tensor, "n e"], Float[Tensor, "n o"]]:
        """Columns that mirroring does not change, and those whose sign it changes."""
        return self.numbers[:, : self.evens], self.numbers[:, self.evens :]

    def mirrored(self) -> "Sketches":
        """Sketches of the mirror images."""
        even, odd = self.halves()
        return Sketches(torch.cat([even, -odd], 1), self.evens)


class Sketcher:
    """Computes sketches.

    Args:
        images: Images whose principal components are used.
        width: Number of components of each half.
    """

    def __init__(self, images: Float[Tensor, "n c h w"], width: int) -> None:
        even, odd = _halves(images)
        self._centre = even.mean(0)
        self._even, self._odd = _principal(even - self._centre, width), _principal(odd, width)

    def __call__(self, images: Float[Tensor, "n c h w"]) -> Sketches:
        """Sketches of images."""
        even, odd = _halves(images)
        even = even - self._centre
        inside, odd_inside = even @ self._even, odd @ self._odd
        # A difference of squared norms would have a large rounding error for a small remainder.
        outside = torch.cat([even - inside @ self._even.T, odd - odd_inside @ self._odd.T], 1)
        norm = torch.linalg.vector_norm(outside, dim=1, keepdim=True)
        return Sketches(torch.cat([norm, inside, odd_inside], 1), 1 + inside.shape[1])


def bounds(one: Sketches, other: Sketches, others: Float[Tensor, " n"], flips: bool) -> Float[Tensor, "m n"]:
    """Squared distances of sketches, never greater than those of the images, in spite of rounding.

    `others` are the squared norms of `other`. With `flips`, the smaller one of the distances from an image and from its
    mirror image.
    """
    (even, odd), (others_even, others_odd) = one.halves(), other.halves()
    products = odd @ others_odd.T
    squares = torch.addmm(others, even, others_even.T, alpha=-2).sub_(products.abs_() if flips else products, alpha=2)
    return squares.add_(_without_rounding(one.numbers.square().sum(1), others)[:, None])


class Boxes(NamedTuple):
    """Boxes around points, b for each of m queries, with a few long axes.

    The shifts of an image lie near a surface of two dimensions, so that such a box is much smaller than a ball.

    Attributes:
        centres: Centres.
        axes: Orthonormal long axes.
        lengths: Maximum distance of points from the centre along each axis.
        off: Maximum distance of points from the space of the axes.
    """

    centres: Float[Tensor, "m b s"]
    axes: Float[Tensor, "m b a s"]
    lengths: Float[Tensor, "m b a"]
    off: Float[Tensor, "m b"]

    @staticmethod
    def around(points: Float[Tensor, "m b v s"]) -> "Boxes":
        """Boxes around groups of v points, with their principal components as axes."""
        centres = points.mean(2)
        apart = points - centres[:, :, None]
        axes = torch.linalg.eigh(apart.mT @ apart).eigenvectors[..., -AXES:]
        along = apart @ axes
        off = torch.linalg.vector_norm(apart - along @ axes.mT, dim=3).amax(2)
        return Boxes(centres, axes.mT, along.abs().amax(2), off)

    def bounds(self, points: Float[Tensor, "n s"], squares: Float[Tensor, " n"]) -> Float[Tensor, "m b n"]:
        """Squared distance of points from each box, without its thickness `off`, from the squared norms of the points.

        No point inside the box is closer than the square root of this minus `off`.
        """
        lengths = self.lengths[..., None]
        rows = torch.cat([self.axes, self.centres[:, :, None]], 2)
        products = (rows.flatten(0, 2) @ points.T).unflatten(0, rows.shape[:3])
        along = products[:, :, :-1].sub_(self.axes @ self.centres[..., None]).abs_()
        # Only the part of a coordinate outside the box counts: a^2 - (a - l)^2 is subtracted.
        inside = torch.minimum(along, lengths)
        within = along.mul_(2).sub_(inside).mul_(inside).sum(2)
        distances: Tensor = within.add_(products[:, :, -1], alpha=2).neg_().add_(squares)
        return distances.add_(_without_rounding(self.centres.square().sum(2), squares)[..., None])


def _without_rounding(squares: Float[Tensor, "*m"], others: Float[Tensor, " n"]) -> Float[Tensor, "*m"]:
    """Squared norms minus the maximum rounding error of the distances."""
    return squares - ROUNDING * torch.maximum(squares.max(), others.max())


def _halves(images: Float[Tensor, "n c h w"]) -> tuple[Float[Tensor, "n e"], Float[Tensor, "n o"]]:
    """Even and odd half of each image, which together have its norm; a middle column is even."""
    side = images.shape[3] // 2
    left, middle, right = images[..., :side], images[..., side : images.shape[3] - side], images.flip(3)[..., :side]
    even = torch.cat([(left + right) * 0.5**0.5, middle], 3)
    return even.flatten(1), ((left - right) * 0.5**0.5).flatten(1)


def _principal(rows: Float[Tensor, "n d"], count: int) -> Float[Tensor, "d k"]:
    """Approximate principal components of centred rows, largest variance first; at most `count`."""
    basis = rows[:count].T
    for _ in range(ITERATIONS):
        basis = torch.linalg.qr(rows.T @ (rows @ basis)).Q
    inside = rows @ basis
    principal: Tensor = basis @ torch.linalg.eigh(inside.T @ inside).eigenvectors.flip(1)
    return principal


def squared_norms(rows: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """Squared norm of each row."""
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1)
    return norms.square()
