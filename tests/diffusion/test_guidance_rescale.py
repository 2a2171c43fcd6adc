"""Rescaling of guidance for several channels: one factor per image."""

import pytest
import torch
from torch import Tensor

from sfumato.diffusion.denoiser import Denoiser
from sfumato.diffusion.guidance import AutoGuided, ClassifierFree
from sfumato.diffusion.schedules import LinearBeta
from sfumato.utils.shapes import Images, Labels, Times

T = torch.tensor(0.4, dtype=torch.float64)
SHAPE = (3, 4, 5)
DEVIATIONS = torch.tensor([0.1, 0.5, 1.5], dtype=torch.float64).reshape(3, 1, 1)
"""Of the channels, so that a factor of each would be another."""


def images(seed: int, count: int = 4) -> Tensor:
    """Images whose channels differ in mean and deviation, and which differ in both from one another."""
    noise = torch.randn(count, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    levels = torch.linspace(0.5, 2, count, dtype=torch.float64).reshape(-1, 1, 1, 1)
    return levels * (DEVIATIONS * noise + DEVIATIONS.flip(0))


STRONG, WEAK = images(0), images(1)


class Fixed(Denoiser):
    """STRONG for images of class 0, WEAK for images without a class."""

    def __init__(self) -> None:
        super().__init__(LinearBeta(), SHAPE, ("only",))

    def forward(self, x_t: Images, t: Times, labels: Labels | None = None) -> Images:
        """The image of the same place, whatever x_t is."""
        del t
        known = torch.zeros(len(x_t), dtype=torch.bool) if labels is None else labels >= 0
        rounds = len(x_t) // len(STRONG)
        return torch.where(known[:, None, None, None], STRONG.repeat(rounds, 1, 1, 1), WEAK.repeat(rounds, 1, 1, 1))


class Weak(Fixed):
    """Returns WEAK for every input."""

    def forward(self, x_t: Images, t: Times, labels: Labels | None = None) -> Images:
        """WEAK."""
        del labels
        return super().forward(x_t, t)


def deviation(image: Tensor) -> float:
    """The standard deviation of all numbers of an image, by hand."""
    numbers = image.flatten().tolist()
    mean = sum(numbers) / len(numbers)
    return (sum((number - mean) ** 2 for number in numbers) / len(numbers)) ** 0.5  # type: ignore[no-any-return]


@pytest.mark.parametrize("share", [1.0, 0.7])
@pytest.mark.parametrize("guided", [ClassifierFree, lambda *to: AutoGuided(to[0], Weak(), *to[1:])])
def test_each_image_is_rescaled_by_one_factor_for_all_channels(guided: type[ClassifierFree], share: float) -> None:
    """arXiv 2305.08891, eq. 15 and 16."""
    found = guided(Fixed(), 3.0, share)(torch.zeros(4, *SHAPE, dtype=torch.float64), T, torch.zeros(4).long())
    for image, weak, strong in zip(found, WEAK, STRONG, strict=True):
        far = weak + 3 * (strong - weak)
        rescaled = far * (deviation(strong) / deviation(far))
        torch.testing.assert_close(image, share * rescaled + (1 - share) * far, rtol=1e-10, atol=1e-12)
