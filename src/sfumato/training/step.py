"""One training step: Algorithm 1 of DDPM for any objective, its randomness a function of seed and images seen."""

from typing import NamedTuple

import numpy as np
import torch

from sfumato.devices import autocast
from sfumato.objective import dropped, independent, stratified, times_for, weight_for, weighted_loss
from sfumato.shapes import Images, Labels
from sfumato.training.augmentation import augmented
from sfumato.training.config import OptimizationConfig, TrainConfig
from sfumato.training.ema import update_average
from sfumato.training.state import TrainingState


class StepResult(NamedTuple):
    """What a step measured; `finite` is False where it was skipped."""

    loss: float
    gradient_norm: float
    finite: bool


def training_step(state: TrainingState, x_0: Images, labels: Labels | None, config: TrainConfig) -> StepResult:
    """Learns from one batch and counts it. A loss or gradient that is not finite changes nothing but the counters.

    Reseeds torch's global generators, on every device, from the seed and the images seen: a resumed run draws what an
    uninterrupted one would have drawn, dropout included.

    Args:
        state: changed in place.
        x_0: the batch, on the model's device.
        labels: its classes, or None.
        config: the settings.
    """
    counters, settings, diffusion = state.counters, config.optimization, config.diffusion
    torch.manual_seed(step_seed(settings.seed, counters.images_seen))
    x_0, told = augmented(x_0, config.data, settings.seed, counters.images_seen)
    draw = stratified if diffusion.stratified else independent
    t = times_for(diffusion.times)(state.model.schedule, draw(len(x_0)))
    kept = None if labels is None else dropped(labels, settings.label_dropout)
    noise = torch.randn(x_0.shape, device=x_0.device)
    with autocast(settings.precision, x_0.device):
        loss = weighted_loss(state.model, x_0, t, noise, kept, weight_for(diffusion.weight), told).mean()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(state.model.parameters(), settings.clip_gradient)
    finite = bool(torch.isfinite(loss + norm))
    if finite:
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate(settings, counters.images_seen + len(x_0))
        state.optimizer.step()
        counters.steps += 1
        update_average(state.average, state.model, settings.ema, counters.steps)
    state.optimizer.zero_grad(set_to_none=True)
    counters.skipped += not finite
    counters.images_seen += len(x_0)
    return StepResult(loss.item(), norm.item(), finite)


def step_seed(seed: int, images_seen: int) -> int:
    """The seed of the step that begins after `images_seen` images."""
    return int(np.random.SeedSequence([seed, images_seen]).generate_state(1, np.uint64)[0])


def learning_rate(config: OptimizationConfig, images: int) -> float:
    """The learning rate of the step that ends at `images`: a straight rise over the warm-up, then constant."""
    return config.learning_rate * min(1.0, images / config.warmup) if config.warmup else config.learning_rate
