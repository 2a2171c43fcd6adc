"""Classifier-free guidance."""

import torch

from sfumato.diffusion.denoiser import Denoiser
from sfumato.diffusion.guidance.base import Estimates, Extrapolated
from sfumato.errors import LabelError
from sfumato.utils.shapes import Images, Labels, Times, unlabelled


class ClassifierFree(Extrapolated):
    """Classifier-free guidance (arXiv 2207.12598), by class labels or any other conditions.

    The weak estimate is that without conditions. Both estimates are computed in one batch.

    Args:
        inner: denoiser to guide, trained with label dropout.
        scale: guidance scale; 1 is no guidance.
        rescale: rescale factor, 0 (none) to 1 (full).

    Raises:
        LabelError: the model is unconditional.
        SamplingError: a scale or rescale factor that is out of range.
    """

    def __init__(self, inner: Denoiser, scale: float, rescale: float = 0.0) -> None:
        super().__init__(inner, scale, rescale)
        if not inner.is_conditional:
            raise LabelError(
                f"guidance {scale} was requested for a model without classes",
                "Leave guidance out, use a weaker model (`--autoguidance RUN`), or train with labels.",
            )

    def estimates(self, x_t: Images, t: Times, labels: Labels | None) -> Estimates:
        """The estimates without and with labels, computed in one batch."""
        if labels is None:
            raise LabelError("classifier-free guidance was given no labels", "Give labels, or leave guidance out.")
        both_times = t if t.ndim == 0 else t.repeat(2)
        both_labels = torch.cat([labels, unlabelled(labels)])
        with_class, without = self.inner(x_t.repeat(2, 1, 1, 1), both_times, both_labels).chunk(2)
        return Estimates(without, with_class)
