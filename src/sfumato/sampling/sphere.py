"""Ways between latents on the sphere that noise lives on."""

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.errors import SamplingError
from sfumato.utils.shapes import Images

NO_ANGLE = 1e-9
"""Directions that differ by less, in radians, are taken for the same, or for opposite."""


MOST_BETWEEN = 10**6
"""Images from the first end to the last, which are all in memory."""


def path(latents: Images, frames: int) -> Float[Tensor, "f c h w"]:
    """From each latent to the next by equal angles.

    Args:
        latents: (k, C, H, W), two or more.
        frames: latents from one to the next, both included.

    Returns:
        ((k - 1) (frames - 1) + 1, C, H, W): each given latent is there once.

    Raises:
        SamplingError: fewer than two latents or frames.
    """
    check_interpolation(len(latents), frames)
    shares = torch.linspace(0, 1, frames, dtype=torch.float64)[:-1].repeat(len(latents) - 1)
    starts, ends = (these.repeat_interleave(frames - 1, 0) for these in (latents[:-1], latents[1:]))
    return torch.cat([slerp(starts, ends, shares), latents[-1:]])


def check_interpolation(ends: int, frames: int) -> None:
    """Raises `SamplingError` unless there are two ends or more, two frames or more between them, and not too many."""
    if ends < 2 or frames < 2 or ends * frames > MOST_BETWEEN:
        raise SamplingError(
            f"{ends} images to go between and {frames} frames from one to the next were given",
            f"Give at least 2 of both, and at most {MOST_BETWEEN:,} images in all.",
        )


def slerp(a: Images, b: Images, share: float | Float[Tensor, " n"]) -> Images:
    """Spherical interpolation: part of the way from a to b along the great circle. DDIM (2010.02502), section 5.3.

    A straight line between two noises passes through weaker noise, which no image has; a circle keeps to the sphere.
    The angle from a grows in proportion to the share, and so does the norm where the two norms differ. Between
    opposite latents there are many great circles, and one is chosen; from and to zeros the way is straight.

    Args:
        a: (n, C, H, W); all pixels of an image are one vector.
        b: (n, C, H, W).
        share: 0 gives a, 1 gives b; in [0, 1], one for all images or one an image.

    Returns:
        (n, C, H, W) of the dtype of a, computed in float64.

    Raises:
        SamplingError: a share out of range.
    """
    shares = torch.as_tensor(share, dtype=torch.float64, device=a.device).reshape(-1, 1)
    if not ((shares >= 0) & (shares <= 1)).all():
        raise SamplingError(f"a share of {share} of the way between latents was asked", "Choose 0 to 1.")
    (from_, norm_from), (to, norm_to) = (_direction(each.double().flatten(1)) for each in (a, b))
    cosine = (from_ * to).sum(1, keepdim=True)
    across, sine = _direction(to - cosine * from_)
    across = torch.where(sine > NO_ANGLE, across, _any_across(from_))
    angle = shares * torch.atan2(sine, cosine)
    direction = angle.cos() * from_ + angle.sin() * across
    return (torch.lerp(norm_from, norm_to, shares) * direction).reshape(a.shape).to(a.dtype)


def _direction(vectors: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n 1"]]:
    """The unit vectors, and the norms; zeros stay zeros."""
    norm = vectors.norm(dim=1, keepdim=True)
    return vectors / norm.clamp(min=torch.finfo(vectors.dtype).tiny), norm


def _any_across(directions: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """A unit vector at right angles to each: what an axis that it hardly leans to has across it."""
    axis = torch.nn.functional.one_hot(directions.abs().argmin(1), directions.shape[1]).to(directions.dtype)
    across, _ = _direction(axis - (axis * directions).sum(1, keepdim=True) * directions)
    return across
