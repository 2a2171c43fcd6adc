"""Sketches: a few numbers of each image, whose distances bound those of the images from below, mirror images included.

For any orthonormal P, |a - b|^2 = |Pa - Pb|^2 + |ra - rb|^2 with r what P leaves out, where |ra - rb| is at least
||ra| - |rb||. So the distances of (Pa, |ra|) bound those of a from below, and closely where P holds most of the
variance: principal components.

An image is the sum of its even half, which mirroring left to right does not change, and its odd half, which changes
sign. Both are orthogonal, so a sketch has components of each, and that of the mirror image is had by a change of sign.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

ITERATIONS = 2
"""Of the subspace iteration that finds principal components."""

AXES = 2
"""Directions in which a box around sketches may be long."""

ROUNDING = 1e-4
"""Largest error of squared distances of sketches, as a share of the largest squared norm."""


class Sketches(NamedTuple):
    """Those of some images.

    Attributes:
        numbers: The norm of what is left out, the components of the even half, and those of the odd half, (n, s).
        evens: How many of these mirroring does not change.
    """

    numbers: Tensor
    evens: int

    def narrowed(self, width: int) -> Sketches:
        """The first `width` components of each half."""
        outside, even, odd = self.numbers.split([1, self.evens - 1, self.numbers.shape[1] - self.evens], 1)
        outside = torch.cat([outside, even[:, width:], odd[:, width:]], 1)
        norm = torch.linalg.vector_norm(outside, dim=1, keepdim=True)
        even, odd = even[:, :width], odd[:, :width]
        return Sketches(torch.cat([norm, even, odd], 1), 1 + even.shape[1])

    def at(self, rows: Int64[Tensor, " m"]) -> Sketches:
        """Those of the images at `rows`."""
        return Sketches(self.numbers.index_select(0, rows), self.evens)

    def halves(self) -> tuple[Float[Tensor, "n e"], Float[Tensor, "n o"]]:
        """The numbers that mirroring does not change, and those whose sign it changes."""
        return self.numbers[:, : self.evens], self.numbers[:, self.evens :]

    def mirrored(self) -> Sketches:
        """Those of the mirror images."""
        even, odd = self.halves()
        return Sketches(torch.cat([even, -odd], 1), self.evens)


class Sketcher:
    """Makes sketches.

    Args:
        images: Whose principal components are used.
        width: How many of each half.
    """

    def __init__(self, images: Float[Tensor, "n c h w"], width: int) -> None:
        even, odd = _halves(images)
        self._centre = even.mean(0)
        self._even, self._odd = _principal(even - self._centre, width), _principal(odd, width)

    def __call__(self, images: Float[Tensor, "n c h w"]) -> Sketches:
        """The sketches of images."""
        even, odd = _halves(images)
        even = even - self._centre
        inside, odd_inside = even @ self._even, odd @ self._odd
        # A difference of squared norms would round the norm of a small remainder to far more or less than it is.
        outside = torch.cat([even - inside @ self._even.T, odd - odd_inside @ self._odd.T], 1)
        norm = torch.linalg.vector_norm(outside, dim=1, keepdim=True)
        return Sketches(torch.cat([norm, inside, odd_inside], 1), 1 + inside.shape[1])


def bounds(one: Sketches, other: Sketches, others: Float[Tensor, " n"], flips: bool) -> Float[Tensor, "m n"]:
    """Squared distances that are never greater than those of the images, in spite of rounding.

    Args:
        one: m sketches.
        other: n sketches.
        others: Their squared norms.
        flips: Whether the smaller of the distances from an image and from its mirror image is wanted.
    """
    (even, odd), (others_even, others_odd) = one.halves(), other.halves()
    products = odd @ others_odd.T
    squares = torch.addmm(others, even, others_even.T, alpha=-2).sub_(products.abs_() if flips else products, alpha=2)
    return squares.add_(_without_rounding(one.numbers.square().sum(1), others)[:, None])


class Boxes(NamedTuple):
    """Boxes around points, b for each of m queries: long in a few directions, and thin in all others.

    Shifts of an image lie near a surface of two dimensions, so such a box is much smaller than a ball around them.

    Attributes:
        centres: (m, b, s).
        axes: The long directions, orthonormal, (m, b, a, s).
        lengths: How far points are from the centre in each of these, at most, (m, b, a).
        off: How far they are from the space of these, at most, (m, b).
    """

    centres: Tensor
    axes: Tensor
    lengths: Tensor
    off: Tensor

    @staticmethod
    def around(points: Float[Tensor, "m b v s"]) -> Boxes:
        """The boxes around each v points; the axes are their principal components."""
        centres = points.mean(2)
        apart = points - centres[:, :, None]
        axes = torch.linalg.eigh(apart.mT @ apart).eigenvectors[..., -AXES:]
        along = apart @ axes
        off = torch.linalg.vector_norm(apart - along @ axes.mT, dim=3).amax(2)
        return Boxes(centres, axes.mT, along.abs().amax(2), off)

    def bounds(self, points: Float[Tensor, "n s"], squares: Float[Tensor, " n"]) -> Float[Tensor, "m b n"]:
        """The squared distance of points from each box, as if nothing in the box were off the space of its axes.

        So nothing in the box is closer than the root of this, less `off`.

        Args:
            points: n points.
            squares: Their squared norms.
        """
        lengths = self.lengths[..., None]
        rows = torch.cat([self.axes, self.centres[:, :, None]], 2)
        products = (rows.flatten(0, 2) @ points.T).unflatten(0, rows.shape[:3])
        along = products[:, :, :-1].sub_(self.axes @ self.centres[..., None]).abs_()
        # Of the square of each coordinate only that of what is beyond the box counts: a^2 - (a - l)^2 is left out.
        inside = torch.minimum(along, lengths)
        within = along.mul_(2).sub_(inside).mul_(inside).sum(2)
        distances: Tensor = within.add_(products[:, :, -1], alpha=2).neg_().add_(squares)
        return distances.add_(_without_rounding(self.centres.square().sum(2), squares)[..., None])


def _without_rounding(squares: Float[Tensor, "*m"], others: Float[Tensor, " n"]) -> Float[Tensor, "*m"]:
    """Squared norms, less the largest error of the distances that they are part of."""
    return squares - ROUNDING * torch.maximum(squares.max(), others.max())


def _halves(images: Float[Tensor, "n c h w"]) -> tuple[Float[Tensor, "n e"], Float[Tensor, "n o"]]:
    """The even and the odd half of each image, which together have its norm; a middle column is even."""
    side = images.shape[3] // 2
    left, middle, right = images[..., :side], images[..., side : images.shape[3] - side], images.flip(3)[..., :side]
    even = torch.cat([(left + right) * 0.5**0.5, middle], 3)
    return even.flatten(1), ((left - right) * 0.5**0.5).flatten(1)


def _principal(rows: Float[Tensor, "n d"], count: int) -> Float[Tensor, "d k"]:
    """About the principal components of centred rows, those of the largest variance first; at most `count`."""
    basis = rows[:count].T
    for _ in range(ITERATIONS):
        basis = torch.linalg.qr(rows.T @ (rows @ basis)).Q
    inside = rows @ basis
    principal: Tensor = basis @ torch.linalg.eigh(inside.T @ inside).eigenvectors.flip(1)
    return principal


def squared_norms(rows: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
    """The squared norm of each row."""
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1)
    return norms.square()
