"""Analytic denoisers of small data sets, and a short sampler."""

import torch

from sfumato.diffusion import analytic
from sfumato.diffusion.schedules import LinearBeta
from sfumato.sampling.sampler import (
    SamplerConfig,
    sampler_config,
)

LINEAR = LinearBeta()
CORNERS = torch.tensor([[1.0, -1, -1, -1], [-1, 1, -1, -1], [-1, -1, 1, -1], [-1, -1, -1, 1], [1, 1, 1, 1]]).reshape(
    5, 1, 2, 2
)
"""A data set of five images."""


def corners() -> analytic.Mixture:
    """The data set's exact denoiser: three images are of class "odd", two of class "even"."""
    return analytic.images(LINEAR, CORNERS, torch.tensor([0, 1, 0, 1, 0]), ("odd", "even"))


def unlabelled() -> analytic.Mixture:
    """The exact denoiser of a Gaussian that hardly reaches the data's limits."""
    return analytic.gaussian(LINEAR, torch.full((1, 2, 2), 0.2), 0.04)


def brief(steps: int = 2) -> SamplerConfig:
    """A route of few steps."""
    return sampler_config(LINEAR, solver="ddpm", time_grid="trailing", steps=steps)
