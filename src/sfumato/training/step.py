"""One training step: Algorithm 1 of DDPM for any objective, its randomness a function of seed and images seen.

A step has two halves. `drawn` prepares on the host what is small and random: times, hidden labels, augmentation.
`learn` does all the rest on the device and never waits for it, so that it can be captured in a CUDA graph.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from sfumato.data import Batch
from sfumato.diffusion.loss import Levels, dropped, independent, levels_at, stratified, weighted_loss
from sfumato.training.augmentation import augmented
from sfumato.training.budget import Budget, rate_scale
from sfumato.training.config import OptimizationConfig, TrainConfig
from sfumato.training.ema import update_average
from sfumato.training.state import TrainingState
from sfumato.utils.devices import autocast
from sfumato.utils.shapes import Images, Labels, Told


class StepResult(NamedTuple):
    """What a step measured; `finite` is False where it was skipped."""

    loss: float
    gradient_norm: float
    finite: bool

    @staticmethod
    def of(measured: Float32[Tensor, "3"]) -> "StepResult":
        """What `learn` measured, once it is on the host."""
        loss, norm, sound = measured.tolist()
        return StepResult(loss, norm, sound > 0)


class Inputs(NamedTuple):
    """What a step learns from, on the device.

    Attributes:
        x_0: images, augmented.
        levels: their noise levels.
        labels: of which some are hidden.
        told: what the augmentation did.
    """

    x_0: Images
    levels: Levels
    labels: Labels | None
    told: Told | None

    def part(self, rows: slice) -> "Inputs":
        """Those of some of the images."""
        labels, told = (None if of_all is None else of_all[rows] for of_all in (self.labels, self.told))
        return Inputs(self.x_0[rows], Levels(*(level[rows] for level in self.levels)), labels, told)


class Scales(NamedTuple):
    """What changes from step to step by itself, each () float32 on the device.

    Attributes:
        rate: share of the peak learning rate.
        pull: how far the averaged weights move towards the present ones.
        live: 1, or 0 for a rehearsal that changes nothing.
    """

    rate: Float32[Tensor, ""]
    pull: Float32[Tensor, ""]
    live: Float32[Tensor, ""]


def drawn(state: TrainingState, batch: Batch, config: TrainConfig) -> Inputs:
    """What the step after `state.counters.images_seen` images learns from.

    Reseeds torch's global generators, on every device, from the seed and the images seen: a resumed run draws what an
    uninterrupted one would have drawn, dropout included.
    """
    settings, diffusion, start = config.optimization, config.diffusion, state.counters.images_seen
    torch.manual_seed(step_seed(settings.seed, start))
    x_0, told = augmented(batch.images, config.data, settings.seed, start)
    shares = (stratified if diffusion.stratified else independent)(len(x_0))
    t = diffusion.time_density(state.model.schedule, shares)
    labels = None if batch.labels is None else dropped(batch.labels, settings.label_dropout)
    return Inputs(x_0, levels_at(state.model, t, x_0, diffusion.loss_weight), labels, told)


def scales(state: TrainingState, count: int, settings: OptimizationConfig) -> tuple[float, float]:
    """The share of the peak learning rate, and the pull of the average, of the next step on `count` images."""
    budget, counters = Budget.of(settings), state.counters
    rate = rate_scale(settings, budget.spent(counters), budget.spent(counters, more=count))
    return rate, settings.average.pull(counters.steps + 1)


def learn(
    state: TrainingState, inputs: Inputs, scales: Scales, settings: OptimizationConfig, parts: int
) -> Float32[Tensor, "3"]:
    """Learns from one batch, without waiting for the device; the counters stay as they are.

    A loss or gradient that is not finite changes nothing. The gradients stay, for the next call to forget.

    Args:
        state: changed in place.
        inputs: of `drawn`.
        scales: of this step.
        settings: precision and clipping.
        parts: the batch goes through the network in so many parts, which needs less memory and changes no result but
            by rounding.

    Returns:
        The loss, the norm of the gradient, and 1 if both are finite, else 0.
    """
    for parameter in state.model.parameters():
        parameter.grad = None
    loss = gradients(state, inputs, settings, parts)
    norm = torch.nn.utils.clip_grad_norm_(state.model.parameters(), settings.clip_gradient)
    finite = torch.isfinite(loss + norm).float()
    sound = finite * scales.live
    state.optimizer.step(scales.rate, sound)
    update_average(state.average, state.model, scales.pull * sound)
    return torch.stack([loss, norm, finite])


def gradients(state: TrainingState, inputs: Inputs, settings: OptimizationConfig, parts: int) -> Float32[Tensor, ""]:
    """Adds the gradients of the mean weighted loss to those there are; returns the loss."""
    count = len(inputs.x_0)
    size = -(-count // parts)
    noise, total = torch.randn_like(inputs.x_0), inputs.x_0.new_zeros(())
    for rows in (slice(start, start + size) for start in range(0, count, size)):
        part = inputs.part(rows)
        with autocast(settings.precision, noise.device):
            losses = weighted_loss(state.model, part.x_0, part.levels, noise[rows], part.labels, part.told)
        loss = losses.sum() / count
        loss.backward()
        total += loss.detach()
    return total


def training_step(state: TrainingState, batch: Batch, config: TrainConfig, parts: int = 1) -> StepResult:
    """Learns from one batch, waits for the result, and counts it.

    Args:
        state: changed in place.
        batch: on the model's device.
        config: the settings.
        parts: of the batch, as for `learn`.
    """
    settings, count = config.optimization, len(batch.images)
    values = torch.tensor([*scales(state, count, settings), 1.0], device=batch.images.device)
    measured = learn(state, drawn(state, batch, config), Scales(*values), settings, min(parts, count))
    launched(state, count)
    result = StepResult.of(measured)
    received(state, result)
    return result


def launched(state: TrainingState, count: int) -> None:
    """Counts a step on `count` images, as if it succeeded."""
    state.counters.images_seen += count
    state.counters.steps += 1


def received(state: TrainingState, result: StepResult) -> None:
    """Counts a step that was launched as skipped, if it was."""
    state.counters.steps -= not result.finite
    state.counters.skipped += not result.finite


def step_seed(seed: int, images_seen: int) -> int:
    """The seed of the step that begins after `images_seen` images."""
    return int(np.random.SeedSequence([seed, images_seen]).generate_state(1, np.uint64)[0])
