"""Spherical interpolation of latents."""

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.errors import SamplingError
from sfumato.utils.shapes import Images

NO_ANGLE = 1e-9
"""Angle in radians below which directions are considered equal or opposite."""


MAX_IMAGES = 10**6
"""Maximum number of images of an interpolation, which are all in memory."""


def path(latents: Images, frames: int) -> Float[Tensor, "f c h w"]:
    """Interpolates between consecutive latents at equal angles.

    Args:
        latents: (k, C, H, W), two or more.
        frames: number of latents from one to the next, both included.

    Returns:
        ((k - 1) (frames - 1) + 1, C, H, W), which contains each given latent once.

    Raises:
        SamplingError: fewer than two latents or frames.
    """
    check_interpolation(len(latents), frames)
    shares = torch.linspace(0, 1, frames, dtype=torch.float64)[:-1].repeat(len(latents) - 1)
    starts, ends = (these.repeat_interleave(frames - 1, 0) for these in (latents[:-1], latents[1:]))
    return torch.cat([slerp(starts, ends, shares), latents[-1:]])


def check_interpolation(ends: int, frames: int) -> None:
    """Raises `SamplingError` unless there are at least two latents and two frames, and not too many."""
    if ends < 2 or frames < 2 or ends * frames > MAX_IMAGES:
        raise SamplingError(
            f"an interpolation of {ends} images with {frames} frames was requested",
            f"Give at least 2 of both, and at most {MAX_IMAGES:,} images in total.",
        )


def slerp(a: Images, b: Images, share: float | Float[Tensor, " n"]) -> Images:
    """Spherical interpolation from a to b along the great circle. DDIM (arXiv 2010.02502), section 5.3.

    Linear interpolation would reduce the norm of noise. The angle and the norm are interpolated linearly. For opposite
    latents one of the great circles is chosen; if one is zero, the interpolation is linear.

    Args:
        a: (n, C, H, W); the pixels of an image are one vector.
        b: (n, C, H, W).
        share: in [0, 1]: 0 gives a, 1 gives b; one for all images, or (n,).

    Returns:
        (n, C, H, W) with the dtype of a, computed in float64.

    Raises:
        SamplingError: a share out of range.
    """
    shares = torch.as_tensor(share, dtype=torch.float64, device=a.device).reshape(-1, 1)
    if not ((shares >= 0) & (shares <= 1)).all():
        raise SamplingError(f"the interpolation share {share} is out of range", "Choose 0 to 1.")
    (from_, norm_from), (to, norm_to) = (_direction(each.double().flatten(1)) for each in (a, b))
    cosine = (from_ * to).sum(1, keepdim=True)
    across, sine = _direction(to - cosine * from_)
    across = torch.where(sine > NO_ANGLE, across, _any_across(from_))
    angle = shares * torch.atan2(sine, cosine)
    direction = angle.cos() * from_ + angle.sin() * across
    return (torch.lerp(norm_from, norm_to, shares) * direction).reshape(a.shape).to(a.dtype)


def _direction(vectors: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n 1"]]:
    """Unit vectors and norms; zero vectors remain zero."""
    norm = vectors.norm(dim=1, keepdim=True)
    return vectors / norm.clamp(min=torch.finfo(vectors.dtype).tiny), norm


def _any_across(directions: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """A unit vector orthogonal to each direction, from the axis with its smallest component."""
    axis = torch.nn.functional.one_hot(directions.abs().argmin(1), directions.shape[1]).to(directions.dtype)
    across, _ = _direction(axis - (axis * directions).sum(1, keepdim=True) * directions)
    return across
