"""How fast a device trains, measured by real steps."""

import time
from dataclasses import replace

import torch

from sfumato.architecture import model_for
from sfumato.data import ImageSet, feed_for
from sfumato.devices import convolution_rate, precision_for
from sfumato.models import build
from sfumato.training.config import TrainConfig
from sfumato.training.engine import EagerEngine
from sfumato.training.state import TrainingState

EFFICIENCY = 0.5
"""What captured training steps reach of the rate of one large convolution."""

SECONDS = 1.0
"""How long steps are measured, about."""


def training_rate(config: TrainConfig, images: ImageSet, device: torch.device, operations: int) -> float:
    """Floating-point operations a second in training, a multiply-add as two; measured in about two seconds.

    On a CUDA device, whose steps are captured only once the network is known, it follows from a large convolution;
    elsewhere real steps are measured.

    Args:
        config: complete.
        images: to be learned.
        device: that will compute.
        operations: of the forward pass of one image.
    """
    expected = EFFICIENCY * convolution_rate(device)
    if device.type == "cuda":
        return expected
    batch = max(1, min(config.optimization.batch_size, int(SECONDS * expected / (3 * operations))))
    return 3 * operations * images_a_second(config, images, device, batch)


def images_a_second(config: TrainConfig, images: ImageSet, device: torch.device, batch: int) -> float:
    """How many images a second real steps learn from, in batches of this size. Sets torch's global generators."""
    network = build(model_for(config, images)).to(device)
    count = sum(parameter.numel() for parameter in network.parameters())
    precision = precision_for(config.optimization.precision, device, count)
    config = replace(config, optimization=replace(config.optimization, batch=batch, precision=precision))
    state, feed = TrainingState(network, config.optimization), feed_for(images, 0, device)
    engine = EagerEngine(state, config, lambda _: None)
    engine.step(feed.batch(0, batch))  # loads libraries, allocates memory
    begun, seen = time.perf_counter(), state.counters.images_seen
    while time.perf_counter() - begun < SECONDS:
        engine.step(feed.batch(state.counters.images_seen, batch))
    return (state.counters.images_seen - seen) / (time.perf_counter() - begun)
