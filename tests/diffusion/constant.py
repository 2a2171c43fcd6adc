"""A denoiser that always returns the same estimate."""

import torch
from torch import Tensor

from sfumato.diffusion.denoiser import Denoiser
from sfumato.diffusion.schedules import LinearBeta
from sfumato.utils.shapes import Images, Labels, Times

T = torch.tensor(0.3, dtype=torch.float64)


class Constant(Denoiser):
    """Answers the same, whatever it is asked."""

    def __init__(self, *values: float) -> None:
        super().__init__(LinearBeta(), (1, 1, len(values)))
        self.values = torch.tensor(values)

    def forward(self, x_t: Images, t: Times, labels: Labels | None = None) -> Images:  # noqa: ARG002
        """The values."""
        return self.values.to(x_t.dtype).expand(x_t.shape)


def answer(denoiser: Denoiser) -> list[float]:
    """What a `Constant`, wrapped, answers for one image."""
    answered: Tensor = denoiser(torch.zeros(1, *denoiser.image_shape), T)
    return answered.flatten().tolist()
