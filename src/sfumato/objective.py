"""What training minimises: DDPM's simple loss, Algorithm 1."""

import torch
from jaxtyping import Float
from torch import Tensor

from sfumato.denoiser import NetworkDenoiser
from sfumato.schedule import Schedule
from sfumato.shapes import UNLABELLED, Images, Labels, Times, over


def uniform_times(schedule: Schedule, count: int) -> Times:
    """Times of `count` images: each of the T steps equally likely, t = 1/T ... 1. Drawn from torch's CPU generator."""
    step = torch.randint(1, schedule.timesteps + 1, (count,))
    return step.double() / schedule.timesteps


def dropped(labels: Labels, probability: float) -> Labels:
    """The labels with each one forgotten at `probability`, so that the model also learns to do without.

    Classifier-free guidance, arXiv 2207.12598, Algorithm 1. Drawn from torch's CPU generator.
    """
    forgotten = torch.rand(len(labels)) < probability
    return labels.masked_fill(forgotten.to(labels.device), UNLABELLED)


def simple_loss(
    denoiser: NetworkDenoiser, x_0: Images, t: Times, noise: Images, labels: Labels | None = None
) -> Float[Tensor, " n"]:
    """Mean squared error of the network's prediction at x_t, one value an image, float32. DDPM eq. 14."""
    schedule = denoiser.schedule
    x_t = over(schedule.alpha(t), x_0) * x_0 + over(schedule.sigma(t), x_0) * noise
    error = denoiser.predict(x_t, t, labels) - denoiser.target(x_0, noise, t)
    return error.float().square().mean(dim=(1, 2, 3))
