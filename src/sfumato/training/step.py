"""One training step: Algorithm 1 of DDPM for any objective, its randomness a function of seed and images seen.

A step has two halves. `prepare_inputs` prepares on the host what is small and random: times, dropped labels,
augmentation. `update` does all the rest on the device and never waits for it, so that it can be captured in a CUDA
graph.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from sfumato.data import Batch
from sfumato.diffusion.loss import NoiseLevels, drop_labels, independent, noise_levels, stratified, weighted_loss
from sfumato.training.augmentation import augmented
from sfumato.training.budget import Budget, rate_scale
from sfumato.training.config import OptimizationConfig, TrainConfig
from sfumato.training.ema import update_average
from sfumato.training.state import TrainingState
from sfumato.utils.devices import autocast
from sfumato.utils.shapes import AugmentationLabels, Images, Labels


class StepResult(NamedTuple):
    """What a step measured; `finite` is False where it was skipped."""

    loss: float
    gradient_norm: float
    finite: bool

    @staticmethod
    def of(measured: Float32[Tensor, "3"]) -> "StepResult":
        """What `update` measured, once it is on the host."""
        loss, norm, sound = measured.tolist()
        return StepResult(loss, norm, sound > 0)


class StepInputs(NamedTuple):
    """What a step learns from, on the device.

    Attributes:
        x_0: images, augmented.
        levels: their noise levels.
        labels: of which some are hidden.
        told: what the augmentation did.
    """

    x_0: Images
    levels: NoiseLevels
    labels: Labels | None
    told: AugmentationLabels | None

    def part(self, rows: slice) -> "StepInputs":
        """Those of some of the images."""
        labels, told = (None if of_all is None else of_all[rows] for of_all in (self.labels, self.told))
        return StepInputs(self.x_0[rows], NoiseLevels(*(level[rows] for level in self.levels)), labels, told)


class StepScales(NamedTuple):
    """What changes from step to step by itself, each () float32 on the device.

    Attributes:
        rate: share of the peak learning rate.
        pull: how far the averaged weights move towards the present ones.
        live: 1, or 0 for a rehearsal that changes nothing.
    """

    rate: Float32[Tensor, ""]
    pull: Float32[Tensor, ""]
    live: Float32[Tensor, ""]


def prepare_inputs(state: TrainingState, batch: Batch, config: TrainConfig) -> StepInputs:
    """What the step after `state.counters.images_seen` images learns from.

    Reseeds torch's global generators, on every device, from the seed and the images seen: a resumed run draws what an
    uninterrupted one would have drawn, dropout included.
    """
    settings, diffusion, start = config.optimization, config.diffusion, state.counters.images_seen
    torch.manual_seed(step_seed(settings.seed, start))
    x_0, told = augmented(batch.images, config.data, settings.seed, start)
    shares = (stratified if diffusion.stratified else independent)(len(x_0))
    t = diffusion.time_density(state.model.schedule, shares)
    labels = None if batch.labels is None else drop_labels(batch.labels, settings.label_dropout)
    return StepInputs(x_0, noise_levels(state.model, t, x_0, diffusion.loss_weight), labels, told)


def step_scales(state: TrainingState, count: int, settings: OptimizationConfig) -> tuple[float, float]:
    """The share of the peak learning rate, and the pull of the average, of the next step on `count` images."""
    budget, counters = Budget.of(settings), state.counters
    rate = rate_scale(settings, budget.spent(counters), budget.spent(counters, more=count))
    return rate, settings.average.pull(counters.steps + 1)


def update(
    state: TrainingState, inputs: StepInputs, scales: StepScales, settings: OptimizationConfig, microbatches: int
) -> Float32[Tensor, "3"]:
    """Learns from one batch, without waiting for the device; the counters stay as they are.

    A loss or gradient that is not finite changes nothing. The gradients stay, for the next call to forget.

    Args:
        state: changed in place.
        inputs: of `prepare_inputs`.
        scales: of this step.
        settings: precision and clipping.
        microbatches: number of parts in which the batch goes through the network. More need less memory; results change
            by rounding alone.

    Returns:
        The loss, the norm of the gradient, and 1 if both are finite, else 0.
    """
    for parameter in state.model.parameters():
        parameter.grad = None
    loss = gradients(state, inputs, settings, microbatches)
    norm = torch.nn.utils.clip_grad_norm_(state.model.parameters(), settings.clip_gradient)
    finite = torch.isfinite(loss + norm).float()
    sound = finite * scales.live
    state.optimizer.step(scales.rate, sound)
    update_average(state.average, state.model, scales.pull * sound)
    return torch.stack([loss, norm, finite])


def gradients(
    state: TrainingState, inputs: StepInputs, settings: OptimizationConfig, microbatches: int
) -> Float32[Tensor, ""]:
    """Adds the gradients of the mean weighted loss to those there are; returns the loss."""
    count = len(inputs.x_0)
    size = -(-count // microbatches)
    noise, total = torch.randn_like(inputs.x_0), inputs.x_0.new_zeros(())
    for rows in (slice(start, start + size) for start in range(0, count, size)):
        part = inputs.part(rows)
        with autocast(settings.precision, noise.device):
            losses = weighted_loss(state.model, part.x_0, part.levels, noise[rows], part.labels, part.told)
        loss = losses.sum() / count
        loss.backward()
        total += loss.detach()
    return total


def training_step(state: TrainingState, batch: Batch, config: TrainConfig, microbatches: int = 1) -> StepResult:
    """Learns from one batch, waits for the result, and counts it.

    Args:
        state: changed in place.
        batch: on the model's device.
        config: the settings.
        microbatches: of the batch, as for `update`.
    """
    settings, count = config.optimization, len(batch.images)
    values = torch.tensor([*step_scales(state, count, settings), 1.0], device=batch.images.device)
    measured = update(
        state, prepare_inputs(state, batch, config), StepScales(*values), settings, min(microbatches, count)
    )
    count_launched(state, count)
    result = StepResult.of(measured)
    count_result(state, result)
    return result


def count_launched(state: TrainingState, count: int) -> None:
    """Counts a step on `count` images, as if it succeeded."""
    state.counters.images_seen += count
    state.counters.steps += 1


def count_result(state: TrainingState, result: StepResult) -> None:
    """Counts a step that was launched as skipped, if it was."""
    state.counters.steps -= not result.finite
    state.counters.skipped += not result.finite


def step_seed(seed: int, images_seen: int) -> int:
    """The seed of the step that begins after `images_seen` images."""
    return int(np.random.SeedSequence([seed, images_seen]).generate_state(1, np.uint64)[0])
