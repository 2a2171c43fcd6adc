"""How fast a device trains, measured by real steps."""

import time
from dataclasses import replace

import torch

from sfumato.data import ImageSet, make_loader
from sfumato.data.loader import free_memory
from sfumato.errors import OutOfMemoryError
from sfumato.models import build
from sfumato.training.architecture import model_for
from sfumato.training.config import TrainConfig
from sfumato.training.engine import EagerEngine
from sfumato.training.state import TrainingState
from sfumato.utils.devices import convolution_rate, out_of_memory, precision_for

EFFICIENCY = 0.5
"""What captured training steps reach of the rate of one large convolution."""

SECONDS = 1.0
"""How long steps are measured, about."""

LONG = 10.0
"""Seconds of a first step in which loading libraries is a small part, so that it is measured itself."""

LARGEST_SHARE = 0.5
"""Of the free memory, that the activations of a measured batch may take."""


def training_rate(
    config: TrainConfig, images: ImageSet, device: torch.device, operations: int, activations: int
) -> float:
    """Floating-point operations a second in training, a multiply-add as two; measured in about two seconds.

    On a CUDA device, whose steps are captured only once the network is known, it follows from a large convolution;
    elsewhere real steps are measured, unless not even one image fits into memory.

    Args:
        config: complete.
        images: to be learned.
        device: that will compute.
        operations: of the forward pass of one image.
        activations: bytes that one image keeps for its backward pass.
    """
    expected = EFFICIENCY * convolution_rate(device)
    if device.type == "cuda":
        return expected
    fitting = int(LARGEST_SHARE * free_memory(device) / activations)
    if not fitting:
        return expected
    batch = max(1, min(config.optimization.batch_size, fitting, int(SECONDS * expected / (3 * operations))))
    try:
        with out_of_memory("Choose a smaller --size."):
            return 3 * operations * images_a_second(config, images, device, batch)
    except OutOfMemoryError:
        return expected


def images_a_second(config: TrainConfig, images: ImageSet, device: torch.device, batch: int) -> float:
    """How many images a second real steps learn from, in batches of this size. Sets torch's global generators.

    Only as many images as there are in a batch are read.
    """
    network = build(model_for(config, images)).to(device)
    count = sum(parameter.numel() for parameter in network.parameters())
    precision = precision_for(config.optimization.precision, device, count)
    config = replace(config, optimization=replace(config.optimization, batch=batch, precision=precision))
    few = images.select(torch.arange(min(batch, len(images))))
    state, feed = TrainingState(network, config.optimization), make_loader(few, 0, device)
    engine = EagerEngine(state, config, lambda _: None)
    begun = time.perf_counter()
    engine.step(feed.batch(0, batch))  # loads libraries, allocates memory
    if time.perf_counter() - begun > LONG:
        return batch / (time.perf_counter() - begun)
    begun, seen = time.perf_counter(), state.counters.images_seen
    while time.perf_counter() - begun < SECONDS:
        engine.step(feed.batch(state.counters.images_seen, batch))
    return (state.counters.images_seen - seen) / (time.perf_counter() - begun)
