"""What follows from the minutes, the images and the device: the size of the network, the batch, the augmentation.

Each rule is a function below, and `resolve_config` applies them in order, to what the settings leave open. The
constants come from runs of CIFAR-10 (docs/experiments.md, "The lab" and "The engine and the rules"), for small budgets
from runs of digits ("What draws digits after minutes on two cores").
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sfumato.data import ImageSet
from sfumato.models import ModelConfig, network_for
from sfumato.training.architecture import model_for
from sfumato.training.budget import Budget
from sfumato.training.config import DataConfig, DiffusionConfig, NetworkConfig, OptimizationConfig, TrainConfig
from sfumato.training.presets import DEFAULT_BUDGETS
from sfumato.training.speed import training_rate

Settings = TypeVar("Settings", DataConfig, NetworkConfig, DiffusionConfig, OptimizationConfig)

WIDTHS = (32, 64, 128, 192, 256)
"""Channels of the first level that are considered."""

COARSE_WIDTHS = (16, 32)
"""Channels of the first level of networks of larger patches, which learn sooner; smaller than all others."""

TIMES, COARSE_TIMES = "log-normal:mean=-0.5", "log-normal:mean=0"
"""Which times are trained on most; where patches are larger than usual more noise, as the whole is learned first."""

MOST_PATCH = 4
"""Pixels a side of a patch; larger ones hold more numbers than narrow networks have channels."""

LEAST_SIDE = 8
"""Patches along the longer side that are left of an image where they are larger than usual."""

LARGE_SIDE = 256
"""Pixels a side from which a smaller --size is recommended."""

IMAGES_A_GFLOP = 120_000
"""Images that a network should see for each 10^9 operations of its forward pass, before a larger one is better."""

FEWEST = 60_000
"""Images that any network but the smallest should see, and twice as many where its patches are the finer ones."""

LITTLE = 20_000
"""Images below which even the smallest network draws little that is recognised."""

STEPS = 1_000
"""Steps that a run should have at least, before larger batches are better."""

MOST_MEASUREMENTS = 3
"""Networks and batches whose speed is measured, a second or two each, before one is chosen."""

BATCHES = (16, 256)
"""The smallest and the largest batch that is chosen."""

OFTEN = 5_000
"""Epochs from which learning by heart is warned of."""

MANY_EPOCHS = 400
"""Epochs from which images are augmented, so that the network cannot learn them by heart."""

AUGMENT = 0.15
"""How much, as EDM does it for small sets of faces."""


@dataclass(frozen=True)
class Plan:
    """A configuration in which nothing is left open.

    Attributes:
        config: complete.
        reasons: a sentence for each thing that was settled.
        warnings: a sentence for each thing that other settings would make better.
        is_short: whether the budget is too small for the network.
        is_long: whether each image will be seen so often that it may be memorized.
        is_coarse: whether patches are larger than usual, as the budget is small.
    """

    config: TrainConfig
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    is_short: bool = False
    is_long: bool = False
    is_coarse: bool = False


def resolve_config(config: TrainConfig, images: ImageSet, device: torch.device, rate: float | None = None) -> Plan:
    """Settles what `config` leaves open.

    Args:
        config: of which some settings are None.
        images: to be learned.
        device: that will compute.
        rate: its operations a second in training; None measures them where that matters.

    Raises:
        ConfigError: the settings make no network.
    """
    config = with_default_budget(config)
    if is_complete(config):
        return Plan(config)
    rate = math.inf if config.optimization.minutes is None else rate or measured_rate(config, images, device)
    candidates = candidate_networks(config, images.image_shape)
    config, cost, seen = largest_affordable(candidates, images, rate)
    config = with_batch(config, seen, len(images))
    is_short, is_long = seen < max(LITTLE, IMAGES_A_GFLOP * cost / 1e9), seen / len(images) > OFTEN
    is_coarse = config.network.patch != candidates[-1].network.patch
    said = reasons(config, cost, seen, rate, images)
    return Plan(config, said, warnings(images, is_short, is_long), is_short, is_long, is_coarse)


def measured_rate(config: TrainConfig, images: ImageSet, device: torch.device) -> float:
    """Operations a second in training: of the smallest network, then of the one that is chosen for as many, and so on.

    Args:
        config: of which some settings are None.
        images: to be learned.
        device: that will compute.
    """
    candidates = candidate_networks(config, images.image_shape)
    measured, plan = None, with_batch(candidates[0], 2.0 * BATCHES[0] * STEPS, len(images))
    for _ in range(MOST_MEASUREMENTS):
        activations = batch_bytes(plan, images) // plan.optimization.batch_size
        rate = training_rate(plan, images, device, forward_operations(plan, images), activations)
        network, _, seen = largest_affordable(candidates, images, rate)
        measured, plan = plan, with_batch(network, seen, len(images))
        if plan == measured:
            break
    return rate


def size_notice(asked: TrainConfig, kept: TrainConfig, images: ImageSet, device: torch.device) -> tuple[str, ...]:
    """The sentence for a run that goes on for another budget, if the rules would now choose another size; else none.

    Args:
        asked: the settings as they are given now, of which some are None.
        kept: those that the run goes on with, complete.
        images: to be learned.
        device: that will compute; its speed is measured where that matters.

    Raises:
        ConfigError: the settings make no network.
    """
    begun, now = kept.network, resolve_config(asked, images, device).config.network
    if (begun.width, begun.patch) == (now.width, now.patch):
        return ()
    return (
        f"The network stays the one that the run began with, of {_size(begun)}; for "
        f"{Budget.of(asked.optimization)} the rules would now choose {_size(now)}, which a new --out takes.",
    )


def is_complete(config: TrainConfig) -> bool:
    """Whether nothing is left open."""
    network, settings = config.network, config.optimization
    candidate_networks = (network.width, network.multipliers, network.blocks, network.patch)
    return None not in (*candidate_networks, settings.batch, config.data.augment, config.diffusion.times)


def with_default_budget(config: TrainConfig) -> TrainConfig:
    """The preset's usual budget, if there is none."""
    settings = config.optimization
    if settings.images is not None or settings.minutes is not None:
        return config
    return replace(config, optimization=fill_open(settings, **DEFAULT_BUDGETS[config.preset]))


def with_levels(network: NetworkConfig, image_shape: tuple[int, int, int]) -> NetworkConfig:
    """Patches of up to 4 that bring the side to 48 pixels or less; then levels down to 8, most blocks at the last.

    Each level has twice the channels of the one above, up to four times those of the first. The UNet knows no patches,
    and has as many blocks at each level.
    """
    side, is_unet = math.sqrt(math.prod(image_shape[1:])), network.backbone == "unet"
    patch = network.patch or (1 if is_unet else min(MOST_PATCH, 2 ** max(0, math.ceil(math.log2(side / 48)))))
    count = max(2, 1 + math.floor(math.log2(side / patch / 8) + 0.5)) if network.multipliers is None else None
    levels = network.multipliers or tuple(min(4, 2**level) for level in range(count or 0))
    blocks = (2,) if is_unet else (*[2] * (len(levels) - 1), 3)
    return fill_open(network, patch=patch, multipliers=levels, blocks=blocks)


def candidate_networks(config: TrainConfig, image_shape: tuple[int, int, int]) -> list[TrainConfig]:
    """The networks that are considered, from the smallest on.

    Where width and patch are left open, narrow networks of twice the patch come first: they learn soonest.
    """
    network = with_levels(config.network, image_shape)
    usual = replace(config, diffusion=fill_open(config.diffusion, times=TIMES))
    widths = WIDTHS if network.width is None else (network.width,)
    finer = [replace(usual, network=replace(network, width=width)) for width in widths]
    patch = 2 * (network.patch or 1)
    is_open = config.network.patch is None and network.width is None and network.backbone == "convnet"
    if not is_open or patch > min(MOST_PATCH, max(image_shape[1:]) / LEAST_SIDE):
        return finer
    coarse = with_levels(replace(config.network, patch=patch), image_shape)
    sooner = replace(config, diffusion=fill_open(config.diffusion, times=COARSE_TIMES))
    return [*(replace(sooner, network=replace(coarse, width=width)) for width in COARSE_WIDTHS), *finer]


def largest_affordable(
    candidates: Sequence[TrainConfig], images: ImageSet, rate: float
) -> tuple[TrainConfig, int, float]:
    """The largest network that the budget can show enough images to, its operations, and how many images it will see.

    Both grow with the budget: a network of twice the operations should see twice the images, and none but the smallest
    fewer than `FEWEST`. Where there is no such network, the smallest.

    Args:
        candidates: from the smallest on.
        images: to be learned.
        rate: operations a second in training.
    """
    chosen: list[tuple[TrainConfig, int, float]] = []
    for config in candidates:
        operations = forward_operations(config, images)
        seen = expected_images(config.optimization, rate / (3 * operations))
        is_finer = config.network.patch != candidates[0].network.patch
        if chosen and seen < max(FEWEST * (1 + is_finer), IMAGES_A_GFLOP * operations / 1e9):
            break
        chosen.append((config, operations, seen))
    return chosen[-1]


def with_batch(config: TrainConfig, seen: float, count: int) -> TrainConfig:
    """The configuration with the augmentation and the batch for so many images seen, of so many that there are."""
    data = fill_open(config.data, augment=augment_for(seen / count))
    return replace(config, data=data, optimization=fill_open(config.optimization, batch=batch_for(seen)))


def expected_images(settings: OptimizationConfig, images_a_second: float) -> float:
    """About how many images a run sees."""
    by_count = math.inf if settings.images is None else settings.images
    by_time = math.inf if settings.minutes is None else 60 * settings.minutes * images_a_second
    return min(by_count, by_time)


def batch_for(seen: float) -> int:
    """The largest power of two that still leaves enough steps."""
    least, most = BATCHES
    return int(min(most, max(least, 2 ** math.floor(math.log2(max(1.0, seen / STEPS))))))


def augment_for(epochs: float) -> float:
    """Augmentation where images are seen so often that they would be learned by heart."""
    return AUGMENT if epochs >= MANY_EPOCHS else 0.0


def forward_operations(config: TrainConfig, images: ImageSet) -> int:
    """Floating-point operations of one image through the network, a multiply-add as two; nothing is computed."""
    return _operations(model_for(config, images))


@lru_cache(maxsize=64)  # the same few networks are compared for every rate
def _operations(described: ModelConfig) -> int:
    with torch.device("meta"):
        network = network_for(described)
        image, time = torch.zeros(1, *described.image_shape), torch.zeros(1)
    return operations_of(network, image, time)


def operations_of(network: nn.Module, image: torch.Tensor, time: torch.Tensor) -> int:
    """Floating-point operations of one call of a network."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network(image, time)
    return int(counter.get_total_flops())


def fill_open(settings: Settings, **values: object) -> Settings:
    """The settings, those that were None as given."""
    missing: dict[str, Any] = {name: value for name, value in values.items() if getattr(settings, name) is None}
    return replace(settings, **missing)


def reasons(config: TrainConfig, operations: int, seen: float, rate: float, images: ImageSet) -> tuple[str, ...]:
    """What was settled and why, for people."""
    network, settings = config.network, config.optimization
    gflop = operations / 1e9
    speed = "" if math.isinf(rate) else f", at about {_two_digits(rate / 1e12)} TFLOP/s"
    return (
        f"Network: width {network.width}, levels {_joined(network.multipliers)}, blocks {_joined(network.blocks)}"
        f"{f', patches of {network.patch}' if network.patch != 1 else ''}: "
        f"{_two_digits(gflop)} GFLOP an image{speed}.",
        f"It should see about {_two_digits(seen)} images ({_two_digits(seen / len(images))} times each) in batches of "
        f"{settings.batch}{f', augmented at {config.data.augment:g}' if config.data.augment else ''}.",
    )


def warnings(images: ImageSet, is_short: bool, is_long: bool) -> tuple[str, ...]:
    """What other settings would make better, for people."""
    sentences = []
    if math.prod(images.image_shape[1:]) > LARGE_SIDE**2:
        sentences.append("Images as large as these take long to learn: --size 64 or 128 makes better ones sooner.")
    if is_long:
        sentences.append("Images seen so often may be memorized: fewer --minutes, or more images, are better.")
    if is_short:
        sentences.append("That is little for such a network: more minutes, or a smaller --size, make better images.")
    return tuple(sentences)


def batch_bytes(config: TrainConfig, images: ImageSet) -> int:
    """Memory of the activations that one batch keeps for its backward pass, in float32; nothing is computed.

    Args:
        config: complete.
        images: to be learned.
    """
    described = model_for(config, images)
    candidate_networks: dict[int, int] = {}

    with torch.device("meta"):
        network = network_for(described)
        image, time = torch.zeros(1, *images.image_shape), torch.zeros(1)
    weights = {parameter.untyped_storage()._cdata for parameter in network.parameters()}

    def kept(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if not tensor.is_leaf and storage._cdata not in weights:  # a transposed weight is no activation
            candidate_networks[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(kept, lambda tensor: tensor), sdpa_kernel(SDPBackend.MATH):
        result = network(image, time)  # holds what was kept until it is counted
    del result
    return (config.optimization.batch or 1) * sum(candidate_networks.values())


def _size(network: NetworkConfig) -> str:
    return f"width {network.width} and patches of {network.patch}"


def _joined(numbers: tuple[int, ...] | None) -> str:
    return " ".join(map(str, numbers or ()))


def _two_digits(count: float) -> str:
    """The first two digits of a number.

    >>> _two_digits(1_234_567), _two_digits(300.4), _two_digits(0.0881), _two_digits(4.0)
    ('1,200,000', '300', '0.088', '4')
    """
    leading = math.floor(math.log10(count)) if count > 0 else 0
    places = max(0, 1 - leading)
    text = f"{round(count, 1 - leading):,.{places}f}"
    return text.rstrip("0").rstrip(".") if places else text
