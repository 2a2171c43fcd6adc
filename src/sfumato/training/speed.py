"""Measures the training speed of a device."""

import time
from dataclasses import replace

import torch

from sfumato.data import ImageSet, make_loader
from sfumato.data.loader import free_memory
from sfumato.errors import OutOfMemoryError
from sfumato.models import Model
from sfumato.training.architecture import model_for
from sfumato.training.config import TrainConfig
from sfumato.training.engine import EagerEngine
from sfumato.training.state import TrainingState
from sfumato.utils.devices import convolution_rate, out_of_memory, precision_for

EFFICIENCY = 0.5
"""Speed of captured training steps as a share of that of one large convolution."""

SECONDS = 1.0
"""Approximate duration of the measurement."""

LONG = 10.0
"""Duration in seconds of a first step from which it is used as the measurement, since start-up is a small part."""

MAX_MEMORY_SHARE = 0.5
"""Maximum share of the free memory for the activations of a measured batch."""


def training_rate(
    config: TrainConfig, images: ImageSet, device: torch.device, operations: int, activations: int
) -> float:
    """Floating-point operations per second in training (FLOP/s, a multiply-add counts as two); takes about two seconds.

    On a CUDA device it is estimated from a large convolution. On other devices training steps are measured, unless one
    image does not fit into memory.

    Args:
        config: resolved configuration.
        images: training images.
        device: training device.
        operations: FLOP of the forward pass of one image.
        activations: bytes of the activations of one image that the backward pass needs.
    """
    expected = EFFICIENCY * convolution_rate(device)
    if device.type == "cuda":
        return expected
    fitting = int(MAX_MEMORY_SHARE * free_memory(device) / activations)
    if not fitting:
        return expected
    batch = max(1, min(config.optimization.batch_size, fitting, int(SECONDS * expected / (3 * operations))))
    try:
        with out_of_memory("Choose a smaller --size."):
            return 3 * operations * images_a_second(config, images, device, batch)
    except OutOfMemoryError:
        return expected


def images_a_second(config: TrainConfig, images: ImageSet, device: torch.device, batch: int) -> float:
    """Images per second of training steps with this batch size. Sets torch's global generators.

    Reads only the images of one batch.
    """
    network = Model(model_for(config, images)).to(device)
    count = sum(parameter.numel() for parameter in network.parameters())
    precision = precision_for(config.optimization.precision, device, count)
    config = replace(config, optimization=replace(config.optimization, batch=batch, precision=precision))
    few = images.select(torch.arange(min(batch, len(images))))
    state, feed = TrainingState(network, config.optimization), make_loader(few, 0, device)
    engine = EagerEngine(state, config, lambda _: None)
    start = time.perf_counter()
    engine.step(feed.batch(0, batch))  # loads libraries, allocates memory
    if time.perf_counter() - start > LONG:
        return batch / (time.perf_counter() - start)
    start, seen = time.perf_counter(), state.counters.images_seen
    while time.perf_counter() - start < SECONDS:
        engine.step(feed.batch(state.counters.images_seen, batch))
    return (state.counters.images_seen - seen) / (time.perf_counter() - start)
