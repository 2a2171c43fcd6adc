"""Validation loss by noise level, on validation images with fixed noise."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from sfumato.data import ImageSet
from sfumato.diffusion.denoiser import PreconditionedDenoiser
from sfumato.diffusion.losses import squared_error
from sfumato.diffusion.schedules import Schedule
from sfumato.sampling.sampler import ImageNoise
from sfumato.utils.shapes import Times

LEVELS = 10
VALIDATION_BATCH = 64


@dataclass(frozen=True)
class ValidationLoss:
    """Unweighted mean squared error of the network's output, in total and at each of ten noise levels.

    The levels are the centers of ten equal intervals of the time; None where the loss is not finite.
    """

    mean: float | None
    by_time: dict[str, float | None]


class Validation:
    """A fixed set of noisy validation images: each at all ten noise levels, with about `count` evaluations in total."""

    def __init__(self, images: ImageSet, count: int, seed: int) -> None:
        pairs = torch.arange(max(count, LEVELS))
        chosen = images.select(pairs // LEVELS % len(images))
        self.images, self.labels = chosen.floats(), chosen.labels
        self.level = pairs % LEVELS
        self.noise = ImageNoise(seed, range(len(pairs)), images.image_shape)()

    @torch.no_grad()
    def loss(self, model: PreconditionedDenoiser, on_batch: Callable[[int], None] = lambda _: None) -> ValidationLoss:
        """Computes the validation loss."""
        device, times, parts = model.device, _tenths(model.schedule), []
        for part in torch.arange(len(self.level)).split(VALIDATION_BATCH):
            labels = None if self.labels is None else self.labels[part].to(device)
            x_0, noise = self.images[part].to(device), self.noise[part].to(device)
            parts.append(squared_error(model, x_0, times[self.level[part]], noise, labels).cpu())
            on_batch(len(part))
        losses = torch.cat(parts)
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
