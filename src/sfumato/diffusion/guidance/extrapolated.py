"""Guidance by extrapolation: beyond a strong estimate, away from a weak one.

In x0_hat the rule is what the papers write in the noise or the score, since its two weights add to one.
"""

from abc import abstractmethod
from typing import NamedTuple

import torch

from sfumato.diffusion.denoiser import Denoiser, Rescheduled
from sfumato.diffusion.guidance.base import Wrapper
from sfumato.errors import LabelError, SamplingError
from sfumato.utils.shapes import Images, Labels, Times, unlabelled


class Estimates(NamedTuple):
    """Two estimates of the same x_0, (n, C, H, W) each: the one to go away from, and the one to go beyond."""

    weak: Images
    strong: Images


MOST_SCALE = 1e6
"""Of guidance, in either direction; 32-bit floats hold what it makes of images."""


class Extrapolated(Wrapper):
    """x0_hat = weak + scale (strong - weak), then rescaled; a kind of guidance says how the two are made.

    Scale 1 is the strong estimate, which is the inner denoiser's own, at one evaluation an image. 0 is the weak one,
    above 1 their difference is exaggerated.

    Guidance makes images glaring, since it widens their range. Rescaling gives each the standard deviation of its
    strong estimate again. Lin et al. (arXiv 2305.08891), eq. 15 and 16, here in x0_hat.

    Args:
        inner: the denoiser to guide.
        scale: how far to go.
        rescale: phi of the paper, 0 (not at all) to 1 (wholly); the paper's is 0.7.

    Raises:
        SamplingError: a scale beyond `MOST_SCALE`, or a rescale that is not in [0, 1].
    """

    def __init__(self, inner: Denoiser, scale: float, rescale: float) -> None:
        super().__init__(inner)
        if not abs(scale) <= MOST_SCALE:
            raise SamplingError(f"guidance {scale} is out of range", f"Choose up to {MOST_SCALE:g}, such as 2.")
        if not 0 <= rescale <= 1:
            raise SamplingError(f"the rescaling {rescale} of guidance is out of range", "Choose 0 (none) to 1 (whole).")
        self.scale = scale
        self.rescale = rescale

    def forward(self, x_t: Images, t: Times, labels: Labels | None = None) -> Images:
        """The guided E[x_0 | x_t, labels].

        Raises:
            LabelError: labels that this kind of guidance cannot do with.
        """
        if self.scale == 1:
            unguided: Images = self.inner(x_t, t, labels)
            return unguided
        weak, strong = self.estimates(x_t, t, labels)
        guided = torch.lerp(weak, strong, self.scale)
        return _rescaled(guided, strong, self.rescale) if self.rescale else guided

    @abstractmethod
    def estimates(self, x_t: Images, t: Times, labels: Labels | None) -> Estimates:
        """The weak and the strong estimate; asked at scales other than 1."""


class ClassifierFree(Extrapolated):
    """Classifier-free guidance (arXiv 2207.12598): away from the model that is told no class, towards the class.

    The same for any other conditions, all of which the weak estimate is without.

    Raises:
        LabelError: the model knows no classes, and no other conditions.
        SamplingError: a scale or rescale that is out of range.
    """

    def __init__(self, inner: Denoiser, scale: float, rescale: float = 0.0) -> None:
        super().__init__(inner, scale, rescale)
        if not inner.is_conditional:
            raise LabelError(
                f"guidance {scale} was asked of a model that knows no classes",
                "Leave guidance out, guide by a weaker model (`--autoguide RUN`), or train with labels.",
            )

    def estimates(self, x_t: Images, t: Times, labels: Labels | None) -> Estimates:
        """Without the class and with it, which go through the model as one batch."""
        if labels is None:
            raise LabelError(
                "guidance has no class to guide to, and no other condition", "Give labels, or leave guidance out."
            )
        both_times = t if t.ndim == 0 else t.repeat(2)
        both_labels = torch.cat([labels, unlabelled(labels)])
        with_class, without = self.inner(x_t.repeat(2, 1, 1, 1), both_times, both_labels).chunk(2)
        return Estimates(without, with_class)


class AutoGuided(Extrapolated):
    """Autoguidance (arXiv 2406.02507): away from the mistakes that a weaker model makes more of.

    Both models are told the labels, if there are any.

    Args:
        inner: the denoiser to guide.
        guide: a weaker one of the same images and classes, such as a smaller network, or one that was trained less; of
            any schedule.
        scale: how far to go.
        rescale: how much of the added contrast is taken back.

    Raises:
        LabelError: the guide knows other classes or columns.
        SamplingError: the guide makes images of another shape; a scale or rescale that is out of range.
    """

    def __init__(self, inner: Denoiser, guide: Denoiser, scale: float, rescale: float = 0.0) -> None:
        super().__init__(inner, scale, rescale)
        if guide.image_shape != inner.image_shape:
            raise SamplingError(
                f"a guide for images of {_spoken(guide.image_shape)} was given to a model of "
                f"{_spoken(inner.image_shape)}",
                "Choose a guide of the same shape.",
            )
        if guide.label_names != inner.label_names:
            raise LabelError(
                f"the guide knows other classes ({', '.join(guide.label_names) or 'none'}) than the model "
                f"({', '.join(inner.label_names) or 'none'})",
                "Choose a guide that was trained with the same classes.",
            )
        if guide.columns != inner.columns:
            raise LabelError(
                f"the guide knows other columns ({', '.join(map(str, guide.columns)) or 'none'}) than the model "
                f"({', '.join(map(str, inner.columns)) or 'none'})",
                "Choose a guide that was trained with the same columns of the same images.",
            )
        self.guide = guide if guide.schedule == inner.schedule else Rescheduled(guide, inner.schedule)

    def estimates(self, x_t: Images, t: Times, labels: Labels | None) -> Estimates:
        """The guide's and the model's."""
        return Estimates(self.guide(x_t, t, labels), self.inner(x_t, t, labels))


def _rescaled(guided: Images, strong: Images, share: float) -> Images:
    """`guided`, scaled to the standard deviation of `strong`, by a share. An image without contrast stays as it is."""
    wanted, present = (each.std((1, 2, 3), correction=0, keepdim=True) for each in (strong, guided))
    factor = torch.where(present > 0, wanted / present, 1)
    return guided * (1 + share * (factor - 1))


def _spoken(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
