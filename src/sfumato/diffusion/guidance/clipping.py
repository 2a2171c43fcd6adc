"""Clipping of x0_hat to the range of the data, [-1, 1]. NaN is not changed."""

from collections.abc import Callable

from sfumato.diffusion.denoiser import Denoiser
from sfumato.diffusion.guidance.base import Wrapper
from sfumato.errors import SamplingError
from sfumato.utils.registry import Registry
from sfumato.utils.shapes import Images, Labels, Times


class Clipped(Wrapper):
    """Clamps x0_hat to [-1, 1]."""

    def forward(self, x_t: Images, t: Times, labels: Labels | None = None) -> Images:
        """E[x_0 | x_t], clamped."""
        denoised: Images = self.inner(x_t, t, labels)
        return denoised.clamp(-1, 1)


class DynamicThreshold(Wrapper):
    """Dynamic thresholding: scales images of x0_hat with many values outside [-1, 1]. Imagen (arXiv 2205.11487), 2.3.

    Args:
        inner: denoiser to wrap.
        quantile: quantile of the absolute values of an image that is scaled to 1, if it is larger.

    Raises:
        SamplingError: a quantile that is not in (0, 1].
    """

    def __init__(self, inner: Denoiser, quantile: float = 0.995) -> None:
        super().__init__(inner)
        if not 0 < quantile <= 1:
            raise SamplingError(f"the quantile {quantile} is out of range", "Choose above 0, at most 1.")
        self.quantile = quantile

    def forward(self, x_t: Images, t: Times, labels: Labels | None = None) -> Images:
        """E[x_0 | x_t], each image clamped to a threshold s >= 1 and divided by it."""
        denoised: Images = self.inner(x_t, t, labels)
        threshold = denoised.flatten(1).abs().quantile(self.quantile, dim=1).clamp(min=1)[:, None, None, None]
        return denoised.clamp(-threshold, threshold) / threshold


def _unchanged(denoiser: Denoiser) -> Denoiser:
    return denoiser


Clip = Callable[[Denoiser], Denoiser]
"""Wraps a denoiser so that its estimates are in the range of the data."""

CLIPS: Registry[Clip] = Registry(
    "clipping",
    SamplingError,
    {
        "static": Clipped,
        "dynamic": DynamicThreshold,
        "none": _unchanged,
    },
)
"""Methods of clipping by name."""
