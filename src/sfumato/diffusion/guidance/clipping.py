"""Ways to keep x0_hat in the range of the data, [-1, 1]. The noise that a solver derives from it follows.

What is not a number stays so: no clipping hides a model that has failed.
"""

from collections.abc import Callable

from sfumato.diffusion.denoiser import Denoiser
from sfumato.diffusion.guidance.base import Wrapper
from sfumato.errors import SamplingError
from sfumato.utils.shapes import Images, Labels, Times


class Clipped(Wrapper):
    """Cuts x0_hat off at -1 and 1."""

    def forward(self, x_t: Images, t: Times, labels: Labels | None = None) -> Images:
        """E[x_0 | x_t], clamped."""
        denoised: Images = self.inner(x_t, t, labels)
        return denoised.clamp(-1, 1)


class DynamicThreshold(Wrapper):
    """Scales x0_hat down to [-1, 1] where guidance drives many of its pixels beyond. Imagen (arXiv 2205.11487), 2.3.

    Args:
        inner: the denoiser.
        quantile: the share of an image's values that must lie in the range before it is scaled.

    Raises:
        SamplingError: a quantile that is not in (0, 1].
    """

    def __init__(self, inner: Denoiser, quantile: float = 0.995) -> None:
        super().__init__(inner)
        if not 0 < quantile <= 1:
            raise SamplingError(f"the quantile {quantile} is out of range", "Choose above 0, at most 1.")
        self.quantile = quantile

    def forward(self, x_t: Images, t: Times, labels: Labels | None = None) -> Images:
        """E[x_0 | x_t], each image clamped to its own threshold s >= 1 and divided by it."""
        denoised: Images = self.inner(x_t, t, labels)
        threshold = denoised.flatten(1).abs().quantile(self.quantile, dim=1).clamp(min=1)[:, None, None, None]
        return denoised.clamp(-threshold, threshold) / threshold


def _unchanged(denoiser: Denoiser) -> Denoiser:
    return denoiser


Clip = Callable[[Denoiser], Denoiser]
"""Wraps a denoiser so that its estimates keep to the data's range."""

CLIPS: dict[str, Clip] = {
    "static": Clipped,
    "dynamic": DynamicThreshold,
    "none": _unchanged,
}
"""Ways to keep x0_hat in the range of the data."""


def clip_for(name: str) -> Clip:
    """The clipping of a name in `CLIPS`.

    Raises:
        SamplingError: an unknown name; lists what is possible.
    """
    if name not in CLIPS:
        raise SamplingError(f"the clipping {name!r} is unknown", f"Choose among: {', '.join(CLIPS)}.")
    return CLIPS[name]
