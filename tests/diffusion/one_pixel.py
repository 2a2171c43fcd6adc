"""Data of one grey pixel, for the tests of schedules and solvers."""

import pytest
import torch
from torch import Tensor

from sfumato.diffusion import analytic
from sfumato.diffusion.denoiser import Denoiser
from sfumato.diffusion.schedules import Cosine, Flow, LinearBeta, Schedule, Shifted, VarianceExploding, ZeroTerminal

LINEAR = LinearBeta()
MEAN = 0.4

SCHEDULES: list[Schedule] = [LINEAR, Cosine(), VarianceExploding(), Flow(), ZeroTerminal(LINEAR), Shifted(Flow(), 2.0)]
"""One of each kind, with and without signal at t = 1."""


def kind_of(schedule: Schedule) -> str:
    """A short id for pytest."""
    return type(schedule).__name__


every_schedule = pytest.mark.parametrize("schedule", SCHEDULES, ids=kind_of)


def number(value: float) -> Tensor:
    """In float64."""
    return torch.tensor(value, dtype=torch.float64)


def at(step: int) -> Tensor:
    """The time at which a step of DDPM ends."""
    return number(step / 1000)


def pixel(value: float) -> Tensor:
    """One grey image of one pixel."""
    return torch.full((1, 1, 1, 1), value, dtype=torch.float64)


def no_noise() -> Tensor:
    """A source of noise that must not be asked."""
    pytest.fail("noise was drawn")


def data(variance: float, mean: float = MEAN, schedule: Schedule = LINEAR) -> Denoiser:
    """The exact denoiser of N(mean, variance) for one pixel."""
    return analytic.gaussian(schedule, torch.full((1, 1, 1), mean, dtype=torch.float64), variance)
