"""The held-out loss by noise level: on images never trained on, with noise that never changes."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sfumato.data import ImageSet
from sfumato.diffusion.denoiser import PreconditionedDenoiser
from sfumato.diffusion.loss import simple_loss
from sfumato.diffusion.schedules import Schedule
from sfumato.sampling.sampler import ImageNoise
from sfumato.utils.shapes import Times

LEVELS = 10
BATCH = 64


@dataclass(frozen=True)
class ValidationLoss:
    """Mean squared error of the network's output, unweighted: overall, and at each noise level.

    The levels are the middles of the tenths of time, on a continuous schedule from its earliest time on. None where it
    is not finite.
    """

    mean: float | None
    by_time: dict[str, float | None]


class Validation:
    """A fixed set of noisy held-out images: every image in turn at all ten levels, until there are `count` in all.

    Args:
        images: the held-out images.
        count: evaluations in all; at least one a level is made.
        seed: of the noise.
    """

    def __init__(self, images: ImageSet, count: int, seed: int) -> None:
        pairs = torch.arange(max(count, LEVELS))
        chosen = images.select(pairs // LEVELS % len(images))
        self.images, self.labels = chosen.floats(), chosen.labels
        self.level = pairs % LEVELS
        self.noise = ImageNoise(seed, range(len(pairs)), images.image_shape)()

    @torch.no_grad()
    def loss(self, model: PreconditionedDenoiser, on_batch: Callable[[int], None] = lambda _: None) -> ValidationLoss:
        """The loss of `model`, which is in evaluation mode; `on_batch` hears how many evaluations each batch made."""
        device = next(model.parameters()).device
        losses = []
        for part in torch.arange(len(self.level)).split(BATCH):
            labels = None if self.labels is None else self.labels[part].to(device)
            x_0, noise = self.images[part].to(device), self.noise[part].to(device)
            losses.append(simple_loss(model, x_0, _tenths(model.schedule)[self.level[part]], noise, labels).cpu())
            on_batch(len(part))
        return self._summary(torch.cat(losses), _tenths(model.schedule))

    def _summary(self, losses: Tensor, times: Times) -> ValidationLoss:
        by_level = [losses[self.level == level].mean().item() for level in range(LEVELS)]
        by_time = {f"{time:.2f}": _rounded(loss) for time, loss in zip(times.tolist(), by_level, strict=True)}
        return ValidationLoss(_rounded(sum(by_level) / LEVELS), by_time)


def _tenths(schedule: Schedule) -> Times:
    """The middle of each tenth of the times in use, moved to the nearest step of the schedule."""
    start = schedule.earliest if schedule.timesteps is None else 0.0
    middles = (torch.arange(LEVELS, dtype=torch.float64) + 0.5) / LEVELS
    return schedule.nearest_step(start + (1 - start) * middles)


def _rounded(loss: float) -> float | None:
    return round(loss, 6) if math.isfinite(loss) else None
