"""Samples of no class in particular have the classes as often as the data, where the model's law is known.

Exact denoisers have no error of their own: what differs is the sampler's.
"""

import pytest
import torch
from torch import Tensor

from sfumato.data import load_images
from sfumato.diffusion import analytic
from sfumato.diffusion.guidance import AutoGuided, ClassifierFree
from sfumato.diffusion.schedules import SCHEDULES
from sfumato.sampling.sampler import sample

WEIGHTS = torch.tensor([0.05, 0.1, 0.15, 0.3, 0.4])
COUNT = 2000

RARE = {4: 23.5, 9: 33.7}
"""By degrees of freedom, the chi-square that chance exceeds once in ten thousand times."""


def chi_square(found: Tensor, expected: Tensor) -> float:
    """Pearson's, of counts; both (k,)."""
    return ((found - expected).square() / expected).sum().item()


def clusters(schedule: str) -> analytic.Mixture:
    """Five narrow Gaussians of unequal weights in 4 pixels, near enough to each other that all are decided between."""
    means = torch.tensor(
        [[-0.6, -0.6, 0, 0], [0.6, -0.5, 0, 0], [0, 0.6, 0.3, 0], [0, 0, -0.5, 0.6], [0, 0.2, 0, -0.7]]
    )
    names = tuple("abcde")
    return analytic.Mixture(
        SCHEDULES[schedule], means.reshape(5, 1, 2, 2), torch.full((5,), 0.003), WEIGHTS, torch.arange(5), names
    )


def counts(images: Tensor, model: analytic.Mixture) -> Tensor:
    """How many images are nearest to each component."""
    nearest = torch.cdist(images.flatten(1).double(), model.means).argmin(1)
    return torch.bincount(nearest, minlength=len(model.means))


@pytest.mark.parametrize("schedule", ["linear", "cosine", "edm", "flow"])
@pytest.mark.parametrize("solver", [None, "ddim"])
def test_samples_of_a_mixture_have_its_proportions(schedule: str, solver: str | None) -> None:
    """By the default solver in its 20 steps, and by the ODE in 50."""
    model = clusters(schedule)
    images = sample(model, COUNT, solver=solver, steps=50 if solver else None, batch=COUNT)
    assert chi_square(counts(images, model), COUNT * WEIGHTS) < RARE[4]


@pytest.mark.parametrize("guided", [ClassifierFree, lambda model, scale: AutoGuided(model, clusters("edm"), scale)])
def test_neutral_guidance_keeps_the_proportions(guided: type[ClassifierFree]) -> None:
    model = clusters("edm")
    scale = 1.0 if guided is ClassifierFree else 2.0
    images = sample(guided(model, scale), COUNT, batch=COUNT)
    assert chi_square(counts(images, model), COUNT * WEIGHTS) < RARE[4]


def test_samples_of_the_digits_have_the_proportions_of_the_data() -> None:
    """500 unlabelled samples by default settings, as a network's once had a chi-square of 42 (docs/experiments.md)."""
    digits = load_images("digits")
    assert digits.labels is not None
    model = analytic.images(SCHEDULES["linear"], digits.floats(), digits.labels, digits.label_names)
    images = sample(model, 500, batch=500)
    found = torch.bincount(digits.labels[torch.cdist(images.flatten(1).double(), model.means).argmin(1)], minlength=10)
    expected = torch.bincount(digits.labels) * 500 / len(digits)
    assert chi_square(found, expected) < RARE[9]
