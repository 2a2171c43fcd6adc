"""Base classes of wrappers and guidance, and wrappers for fixed labels and progress bars."""

from abc import abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import torch

from sfumato.diffusion.denoiser import Denoiser
from sfumato.errors import LabelError, SamplingError
from sfumato.utils.shapes import Images, Labels, Times


class Wrapper(Denoiser):
    """Base class of wrappers, which have the schedule, shape, classes and columns of the inner denoiser."""

    def __init__(self, inner: Denoiser) -> None:
        super().__init__(inner.schedule, inner.image_shape, inner.label_names, inner.columns, inner.label_column)
        self.inner = inner


class Labelled(Wrapper):
    """A denoiser with fixed labels, which is called without labels."""

    def __init__(self, inner: Denoiser, labels: Labels | None) -> None:
        super().__init__(inner)
        self.labels = labels

    def forward(self, x_t: Images, t: Times, labels: Labels | None = None) -> Images:
        """E[x_0 | x_t, labels] with the fixed labels.

        Raises:
            LabelError: labels were given.
        """
        if labels is not None:
            raise LabelError("labels were given to a denoiser with fixed labels", "Call it without labels.")
        denoised: Images = self.inner(x_t, t, self.labels)
        return denoised


class Observed(Wrapper):
    """A denoiser that calls a function with the number of images after every evaluation; for progress bars."""

    def __init__(self, inner: Denoiser, on_evaluation: Callable[[int], None]) -> None:
        super().__init__(inner)
        self.on_evaluation = on_evaluation

    def forward(self, x_t: Images, t: Times, labels: Labels | None = None) -> Images:
        """Estimate of the inner denoiser."""
        denoised: Images = self.inner(x_t, t, labels)
        self.on_evaluation(len(x_t))
        return denoised


class Estimates(NamedTuple):
    """The weak and the strong estimate of x_0 between which guidance extrapolates, (n, C, H, W) each."""

    weak: Images
    strong: Images


MAX_SCALE = 1e6
"""Largest absolute guidance scale; up to it, results are finite in float32."""


class Extrapolated(Wrapper):
    """Base class of guidance: x0_hat = weak + scale (strong - weak), optionally rescaled.

    The papers extrapolate the noise or the score, which is equivalent because the two coefficients add to 1. Scale 1 is
    the estimate of the inner denoiser, without further evaluations; scale 0 is the weak estimate.

    Rescaling gives each image the standard deviation of its strong estimate, to avoid too much contrast: Lin et al.
    (arXiv 2305.08891), eq. 15 and 16, applied to x0_hat.

    Args:
        inner: denoiser to guide.
        scale: guidance scale.
        rescale: phi of the paper, 0 (none) to 1 (full); 0.7 in the paper.

    Raises:
        SamplingError: a scale beyond `MAX_SCALE`, or a rescale factor outside [0, 1].
    """

    def __init__(self, inner: Denoiser, scale: float, rescale: float) -> None:
        super().__init__(inner)
        if not abs(scale) <= MAX_SCALE:
            raise SamplingError(
                f"the guidance scale {scale} is out of range", f"Choose up to {MAX_SCALE:g}, such as 2."
            )
        if not 0 <= rescale <= 1:
            raise SamplingError(
                f"the guidance rescale factor {rescale} is out of range", "Choose 0 (none) to 1 (full)."
            )
        self.scale = scale
        self.rescale = rescale

    def forward(self, x_t: Images, t: Times, labels: Labels | None = None) -> Images:
        """Guided estimate of E[x_0 | x_t, labels].

        Raises:
            LabelError: labels that this guidance does not support.
        """
        if self.scale == 1:
            unguided: Images = self.inner(x_t, t, labels)
            return unguided
        weak, strong = self.estimates(x_t, t, labels)
        guided = torch.lerp(weak, strong, self.scale)
        return _rescaled(guided, strong, self.rescale) if self.rescale else guided

    @abstractmethod
    def estimates(self, x_t: Images, t: Times, labels: Labels | None) -> Estimates:
        """The weak and the strong estimate; not called for scale 1."""


def _rescaled(guided: Images, strong: Images, share: float) -> Images:
    """`guided` rescaled to the standard deviation of `strong`, by a share; constant images do not change."""
    target, current = (each.std((1, 2, 3), correction=0, keepdim=True) for each in (strong, guided))
    factor = torch.where(current > 0, target / current, 1)
    return guided * (1 + share * (factor - 1))
