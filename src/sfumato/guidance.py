"""Ways to steer a denoiser. Each takes a Denoiser and is one, so they compose, and no sampler knows of them."""

import math

import torch

from sfumato.denoiser import Denoiser
from sfumato.errors import LabelError, SamplingError
from sfumato.shapes import UNLABELLED, Images, Labels, Times


class Wrapper(Denoiser):
    """A denoiser around another, of the same schedule, shape and classes."""

    def __init__(self, inner: Denoiser) -> None:
        super().__init__(inner.schedule, inner.image_shape, inner.label_names)
        self.inner = inner


class Labelled(Wrapper):
    """A denoiser whose labels are settled: it needs none, and refuses any."""

    def __init__(self, inner: Denoiser, labels: Labels | None) -> None:
        super().__init__(inner)
        self.labels = labels

    def forward(self, x_t: Images, t: Times, labels: Labels | None = None) -> Images:
        """E[x_0 | x_t, the settled labels]."""
        if labels is not None:
            raise LabelError("this denoiser has its labels already, and was given others", "Call it without labels.")
        denoised: Images = self.inner(x_t, t, self.labels)
        return denoised


class Clipped(Wrapper):
    """Keeps x0_hat in the range of the data, [-1, 1]. The noise that a solver derives from it follows."""

    def forward(self, x_t: Images, t: Times, labels: Labels | None = None) -> Images:
        """E[x_0 | x_t], clamped."""
        denoised: Images = self.inner(x_t, t, labels)
        return denoised.clamp(-1, 1)


class ClassifierFree(Wrapper):
    """Classifier-free guidance (arXiv 2207.12598): x0_hat = none + scale (class - none).

    In x0_hat the rule is the paper's in the noise, since its two weights add to one. Scale 1 is no guidance and costs
    one evaluation an image; 0 ignores the labels; above 1 the class is exaggerated.

    Raises:
        LabelError: the model knows no classes.
        SamplingError: the scale is not finite.
    """

    def __init__(self, inner: Denoiser, scale: float) -> None:
        super().__init__(inner)
        if not inner.label_names:
            raise LabelError(
                f"guidance {scale} was asked of a model that knows no classes",
                "Leave guidance out, or train with labels.",
            )
        if not math.isfinite(scale):
            raise SamplingError(f"guidance {scale} is not a finite number", "Choose one such as 2.")
        self.scale = scale

    def forward(self, x_t: Images, t: Times, labels: Labels | None = None) -> Images:
        """The guided E[x_0 | x_t, labels]; both halves go through the model as one batch.

        Raises:
            LabelError: no labels, at a scale other than 1.
        """
        if self.scale == 1:
            unguided: Images = self.inner(x_t, t, labels)
            return unguided
        if labels is None:
            raise LabelError("guidance has no class to guide to", "Give labels, or leave guidance out.")
        both_times = t if t.ndim == 0 else t.repeat(2)
        both_labels = torch.cat([labels, torch.full_like(labels, UNLABELLED)])
        with_class, without = self.inner(x_t.repeat(2, 1, 1, 1), both_times, both_labels).chunk(2)
        return torch.lerp(without, with_class, self.scale)
