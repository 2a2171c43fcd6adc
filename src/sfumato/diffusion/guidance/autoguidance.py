"""Autoguidance: guidance by a weaker model."""

from sfumato.diffusion.denoiser import Denoiser, Rescheduled
from sfumato.diffusion.guidance.base import Estimates, Extrapolated
from sfumato.errors import LabelError, SamplingError
from sfumato.utils.shapes import Images, Labels, Times

AUTOGUIDANCE_SCALE, CONDITIONAL_AUTOGUIDANCE_SCALE = 2.0, 1.5
"""Guidance scale with the guidance checkpoint: of an unconditional model and of a conditional one.

Measured in docs/experiments.md, "How to draw with a guide" and "Twenty minutes, with classes".
"""


def default_autoguidance_scale(model: Denoiser) -> float:
    """Guidance scale with the guidance checkpoint of a run, if no scale is given."""
    return CONDITIONAL_AUTOGUIDANCE_SCALE if model.is_conditional else AUTOGUIDANCE_SCALE


class AutoGuided(Extrapolated):
    """Autoguidance (arXiv 2406.02507): extrapolates from the estimate of a weaker model, with the same labels.

    Args:
        inner: denoiser to guide.
        guide: weaker model of the same images and classes, such as a guidance checkpoint or a smaller network, with any
            schedule.
        scale: guidance scale; 1 is no guidance.
        rescale: rescale factor, 0 (none) to 1 (full).

    Raises:
        LabelError: the weaker model has other classes or columns.
        SamplingError: the weaker model has another image shape; a scale or rescale factor that is out of range.
    """

    def __init__(self, inner: Denoiser, guide: Denoiser, scale: float, rescale: float = 0.0) -> None:
        super().__init__(inner, scale, rescale)
        if guide.image_shape != inner.image_shape:
            raise SamplingError(
                f"the weaker model has image shape {_shape_text(guide.image_shape)}, the model "
                f"{_shape_text(inner.image_shape)}",
                "Choose a weaker model with the same image shape.",
            )
        if guide.label_names != inner.label_names:
            raise LabelError(
                f"the weaker model has other classes ({', '.join(guide.label_names) or 'none'}) than the model "
                f"({', '.join(inner.label_names) or 'none'})",
                "Choose a weaker model that was trained with the same classes.",
            )
        if guide.columns != inner.columns:
            raise LabelError(
                f"the weaker model has other columns ({', '.join(map(str, guide.columns)) or 'none'}) than the model "
                f"({', '.join(map(str, inner.columns)) or 'none'})",
                "Choose a weaker model that was trained with the same columns of the same images.",
            )
        self.guide = guide if guide.schedule == inner.schedule else Rescheduled(guide, inner.schedule)

    def estimates(self, x_t: Images, t: Times, labels: Labels | None) -> Estimates:
        """The estimates of the weaker model and of the model."""
        return Estimates(self.guide(x_t, t, labels), self.inner(x_t, t, labels))


def _shape_text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
