"""Validation loss by noise level, on validation images with fixed noise."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sfumato.data import ImageSet
from sfumato.diffusion.denoiser import PreconditionedDenoiser
from sfumato.diffusion.losses import squared_error
from sfumato.diffusion.schedules import Schedule
from sfumato.sampling.sampler import ImageNoise
from sfumato.utils.shapes import Times

LEVELS = 10
BATCH = 64


@dataclass(frozen=True)
class ValidationLoss:
    """Unweighted mean squared error of the network's output, in total and at each of ten noise levels.

    The levels are the centers of ten equal intervals of the time; None where the loss is not finite.
    """

    mean: float | None
    by_time: dict[str, float | None]


class Validation:
    """A fixed set of noisy validation images: each image at all ten noise levels, up to `count` evaluations in total.

    Args:
        images: validation images.
        count: number of evaluations of the network; at least one per noise level is made.
        seed: random seed of the noise.
    """

    def __init__(self, images: ImageSet, count: int, seed: int) -> None:
        pairs = torch.arange(max(count, LEVELS))
        chosen = images.select(pairs // LEVELS % len(images))
        self.images, self.labels = chosen.floats(), chosen.labels
        self.level = pairs % LEVELS
        self.noise = ImageNoise(seed, range(len(pairs)), images.image_shape)()

    @torch.no_grad()
    def loss(self, model: PreconditionedDenoiser, on_batch: Callable[[int], None] = lambda _: None) -> ValidationLoss:
        """Computes the validation loss.

        Args:
            model: model in evaluation mode.
            on_batch: called after each batch with its size.
        """
        device = next(model.parameters()).device
        losses = []
        for part in torch.arange(len(self.level)).split(BATCH):
            labels = None if self.labels is None else self.labels[part].to(device)
            x_0, noise = self.images[part].to(device), self.noise[part].to(device)
            losses.append(squared_error(model, x_0, _tenths(model.schedule)[self.level[part]], noise, labels).cpu())
            on_batch(len(part))
        return self._summary(torch.cat(losses), _tenths(model.schedule))

    def _summary(self, losses: Tensor, times: Times) -> ValidationLoss:
        by_level = [losses[self.level == level].mean().item() for level in range(LEVELS)]
        by_time = {f"{time:.2f}": _rounded(loss) for time, loss in zip(times.tolist(), by_level, strict=True)}
        return ValidationLoss(_rounded(sum(by_level) / LEVELS), by_time)


def _tenths(schedule: Schedule) -> Times:
    """Centers of ten equal intervals of the schedule's times, rounded to the nearest timestep."""
    start = schedule.earliest if schedule.timesteps is None else 0.0
    middles = (torch.arange(LEVELS, dtype=torch.float64) + 0.5) / LEVELS
    return schedule.nearest_step(start + (1 - start) * middles)


def _rounded(loss: float) -> float | None:
    return round(loss, 6) if math.isfinite(loss) else None
