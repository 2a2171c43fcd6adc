"""One training step (DDPM, Algorithm 1), for any loss. Random numbers depend on the seed and the images seen only.

A step has two parts. `prepare_inputs` runs on the host and samples the times, dropped labels and augmentation. `update`
runs on the device and never waits for it, so that it can be captured in a CUDA graph.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from sfumato.data import Batch, augmented
from sfumato.diffusion.denoiser import PreconditionedDenoiser
from sfumato.diffusion.losses import Loss, NoiseLevels, drop_labels, noise_levels, times_for_loss, weighted_loss
from sfumato.diffusion.time_densities import independent, stratified
from sfumato.training.config import OptimizationConfig, TrainConfig
from sfumato.training.ema import update_average
from sfumato.training.optim import learning_rate_scale
from sfumato.training.state import Budget, TrainingState
from sfumato.utils.devices import autocast
from sfumato.utils.shapes import AugmentationLabels, Images, Labels, Times


class StepResult(NamedTuple):
    """Measurements of a step; `finite` is False if the step was skipped."""

    loss: float
    gradient_norm: float
    finite: bool

    @staticmethod
    def of(measured: Float32[Tensor, "3"]) -> "StepResult":
        """The result of `update` as Python numbers; waits for the device unless the tensor is on the host."""
        loss, norm, finite = measured.tolist()
        return StepResult(loss, norm, finite > 0)


class StepInputs(NamedTuple):
    """Inputs of a training step, on the device.

    Attributes:
        x_0: (n, C, H, W) augmented images.
        levels: noise levels of the images.
        labels: labels of the images after label dropout.
        augmentation: description of the augmentation of each image.
        times: (n,) in [0, 1], for a custom loss; None otherwise. On the device of the images if that is a GPU.
    """

    x_0: Images
    levels: NoiseLevels
    labels: Labels | None
    augmentation: AugmentationLabels | None
    times: Times | None

    def part(self, rows: slice) -> "StepInputs":
        """Inputs of a microbatch."""
        levels = NoiseLevels(*(level[rows] for level in self.levels))
        rest = (self.labels, self.augmentation, self.times)
        return StepInputs(self.x_0[rows], levels, *(None if of_all is None else of_all[rows] for of_all in rest))


class StepScales(NamedTuple):
    """Scalars that change from step to step, each () float32 on the device.

    Attributes:
        learning_rate: learning rate as a share of its peak.
        ema_rate: rate of the EMA, 1 - decay.
        enabled: 1, or 0 for a warm-up step that changes nothing.
    """

    learning_rate: Float32[Tensor, ""]
    ema_rate: Float32[Tensor, ""]
    enabled: Float32[Tensor, ""]


def prepare_inputs(state: TrainingState, batch: Batch, config: TrainConfig) -> StepInputs:
    """Samples the inputs of the step after `state.counters.images_seen` images.

    Seeds torch's global generators on every device from the seed and the images seen, so that a resumed run uses the
    same random numbers as an uninterrupted one, dropout included.
    """
    settings, diffusion, start = config.optimization, config.diffusion, state.counters.images_seen
    torch.manual_seed(step_seed(settings.seed, start))
    data = config.data
    augment = data.augment or 0.0
    x_0, augmentation = augmented(batch.images, data.flip, data.translate, augment, settings.seed, start)
    shares = (stratified if diffusion.stratified else independent)(len(x_0))
    t = diffusion.time_density(state.model.schedule, shares)
    labels = None if batch.labels is None else drop_labels(batch.labels, settings.label_dropout)
    times = None if diffusion.custom_loss is None else times_for_loss(t, x_0)
    return StepInputs(x_0, noise_levels(state.model, t, x_0, diffusion.loss_weight), labels, augmentation, times)


def step_scales(state: TrainingState, count: int, settings: OptimizationConfig) -> tuple[float, float]:
    """Share of the peak learning rate, and rate of the EMA, of the next step on `count` images."""
    budget, counters = Budget.of(settings), state.counters
    rate = learning_rate_scale(settings, budget.spent(counters), budget.spent(counters, more=count))
    return rate, settings.ema_decay.rate(counters.steps + 1)


def update(
    state: TrainingState, inputs: StepInputs, scales: StepScales, config: TrainConfig, microbatches: int
) -> Float32[Tensor, "3"]:
    """Updates the weights and their EMA with one batch, without waiting for the device. Does not change the counters.

    If the loss or the gradient is not finite, nothing changes. The gradients remain until the next call.

    Args:
        state: training state, changed in place.
        inputs: result of `prepare_inputs`.
        scales: scalars of this step.
        config: training configuration: loss, precision, gradient clipping.
        microbatches: number of microbatches for gradient accumulation. More need less memory; the result changes by
            rounding only.

    Returns:
        (3,): the loss, the norm of the gradient, and 1 if both are finite, otherwise 0.
    """
    for parameter in state.model.parameters():
        parameter.grad = None
    statistics = [(buffer, buffer.clone()) for buffer in state.model.buffers()]  # such as those of BatchNorm
    loss = gradients(state, inputs, config, microbatches)
    norm = torch.nn.utils.clip_grad_norm_(state.model.parameters(), config.optimization.clip_gradient)
    finite = torch.isfinite(loss + norm).float()
    enabled = finite * scales.enabled
    state.optimizer.step(scales.learning_rate, enabled)
    for buffer, before in statistics:
        buffer.copy_(torch.where(enabled > 0, buffer, before))
    update_average(state.average, state.model, scales.ema_rate * enabled)
    return torch.stack([loss, norm, finite])


def gradients(state: TrainingState, inputs: StepInputs, config: TrainConfig, microbatches: int) -> Float32[Tensor, ""]:
    """Accumulates the gradients of the mean loss over the microbatches; returns the loss."""
    count = len(inputs.x_0)
    size = -(-count // microbatches)
    noise, total = torch.randn_like(inputs.x_0), inputs.x_0.new_zeros(())
    for rows in (slice(start, start + size) for start in range(0, count, size)):
        part = inputs.part(rows)
        with autocast(config.optimization.precision, noise.device):
            losses = image_losses(state.model, part, noise[rows], config.diffusion.custom_loss)
        loss = losses.sum() / count
        loss.backward()
        total += loss.detach()
    return total


def image_losses(
    model: PreconditionedDenoiser, inputs: StepInputs, noise: Images, custom: Loss | None
) -> Float[Tensor, " n"]:
    """The loss of each image: the weighted squared error or the custom loss."""
    if custom is None or inputs.times is None:
        return weighted_loss(model, inputs.x_0, inputs.levels, noise, inputs.labels, inputs.augmentation)
    model = model if inputs.augmentation is None else model.with_augmentation(inputs.augmentation)
    return custom(model, inputs.x_0, inputs.times, noise, inputs.labels)


def training_step(state: TrainingState, batch: Batch, config: TrainConfig, microbatches: int = 1) -> StepResult:
    """Runs one step eagerly, waits for the result and updates the counters."""
    settings, count = config.optimization, len(batch.images)
    values = torch.tensor([*step_scales(state, count, settings), 1.0], device=batch.images.device)
    inputs = prepare_inputs(state, batch, config)
    measured = update(state, inputs, StepScales(*values), config, min(microbatches, count))
    count_launched(state, count)
    result = StepResult.of(measured)
    count_result(state, result)
    return result


def count_launched(state: TrainingState, count: int) -> None:
    """Counts a launched step on `count` images, assuming that it succeeds."""
    state.counters.images_seen += count
    state.counters.steps += 1


def count_result(state: TrainingState, result: StepResult) -> None:
    """Corrects the counters if a launched step was skipped."""
    state.counters.steps -= not result.finite
    state.counters.skipped += not result.finite


def step_seed(seed: int, images_seen: int) -> int:
    """Seed of the step that starts after `images_seen` images."""
    return int(np.random.SeedSequence([seed, images_seen]).generate_state(1, np.uint64)[0])
