"""Automatic configuration: chooses network size, batch size and augmentation for the budget, images and device.

Each rule is a function, and `resolve_config` applies them to the settings that are None. The constants were measured on
CIFAR-10 (docs/experiments.md, "The lab" and "The engine and the rules"), and on digits for small budgets ("What draws
digits after minutes on two cores").
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
from sfumato.models import ModelConfig, build_on_meta
from sfumato.training.architecture import model_for
from sfumato.training.config import DiffusionConfig, NetworkConfig, OptimizationConfig, TrainConfig
from sfumato.training.data_config import DataConfig
from sfumato.training.presets import DEFAULT_BUDGETS
from sfumato.training.speed import training_rate
from sfumato.training.state import Budget

Settings = TypeVar("Settings", DataConfig, NetworkConfig, DiffusionConfig, OptimizationConfig)

CANDIDATE_WIDTHS = (32, 64, 128, 192, 256)
"""Candidate numbers of channels of the first level."""

COARSE_WIDTHS = (16, 32)
"""The same for networks with a larger patch size, which are smaller and learn faster."""

TIMES, COARSE_TIMES = "log-normal:mean=-0.5", "log-normal:mean=0"
"""Densities of the training times: usual, and with more noise for networks with a larger patch size."""

MAX_PATCH = 4
"""Maximum patch size in pixels; larger patches have more values than narrow networks have channels."""

MIN_SIDE = 8
"""Minimum number of patches along the longer side of an image for the larger patch size."""

LARGE_SIDE = 256
"""Side in pixels above which a smaller --size is recommended."""

IMAGES_PER_GFLOP = 120_000
"""Images that a network should see per GFLOP of its forward pass; with more, a larger network is better."""

MIN_IMAGES_SEEN = 60_000
"""Minimum number of images seen for all networks but the smallest; twice as many for the smaller patch size."""

SHORT_RUN = 20_000
"""Images seen below which samples of the smallest network are hardly recognisable."""

MIN_STEPS = 1_000
"""Minimum number of steps; the batch size is chosen so that a run has at least this many."""

MAX_MEASUREMENTS = 3
"""Maximum number of speed measurements, of one or two seconds each."""

BATCHES = (16, 256)
"""Minimum and maximum batch size."""

MEMORIZATION_EPOCHS = 5_000
"""Epochs above which a warning about memorization is given."""

AUGMENTATION_EPOCHS = 400
"""Epochs from which images are augmented, against overfitting."""

AUGMENT = 0.15
"""Probability of each augmentation, as in EDM for small data sets of faces."""


@dataclass(frozen=True)
class Plan:
    """A resolved configuration: all settings have a value.

    Attributes:
        config: resolved configuration.
        reasons: messages about the chosen values.
        warnings: messages about settings that would give a better result.
        is_short: whether the budget is too small for the network.
        is_long: whether each image will be seen so often that it may be memorized.
        is_coarse: whether the larger patch size was chosen because the budget is small.
    """

    config: TrainConfig
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    is_short: bool = False
    is_long: bool = False
    is_coarse: bool = False


def resolve_config(config: TrainConfig, images: ImageSet, device: torch.device, rate: float | None = None) -> Plan:
    """Chooses values for all settings that are None. Measures the speed of the device in training, if it is needed.

    Args:
        config: training configuration.
        images: training images.
        device: training device.
        rate: the speed in FLOP/s, if it was measured before.

    Raises:
        ConfigError: the settings are invalid for these images.
    """
    config = with_default_budget(config)
    if is_complete(config):
        return Plan(config)
    rate = math.inf if config.optimization.minutes is None else rate or measured_rate(config, images, device)
    candidates = candidate_networks(config, images.image_shape)
    config, cost, seen = largest_affordable(candidates, images, rate)
    config = with_batch(config, seen, len(images))
    is_short = seen < max(SHORT_RUN, IMAGES_PER_GFLOP * cost / 1e9)
    is_long = seen / len(images) > MEMORIZATION_EPOCHS
    is_coarse = config.network.patch != candidates[-1].network.patch
    messages = reasons(config, cost, seen, rate, images)
    return Plan(config, messages, warnings(images, is_short, is_long), is_short, is_long, is_coarse)


def measured_rate(config: TrainConfig, images: ImageSet, device: torch.device) -> float:
    """Measures the training speed of the device in FLOP/s.

    Measures the smallest network, then the network chosen for that speed, and so on until the choice does not change.
    """
    candidates = candidate_networks(config, images.image_shape)
    measured, plan = None, with_batch(candidates[0], 2.0 * BATCHES[0] * MIN_STEPS, len(images))
    for _ in range(MAX_MEASUREMENTS):
        activations = batch_bytes(plan, images) // plan.optimization.batch_size
        rate = training_rate(plan, images, device, forward_operations(plan, images), activations)
        network, _, seen = largest_affordable(candidates, images, rate)
        measured, plan = plan, with_batch(network, seen, len(images))
        if plan == measured:
            break
    return rate


def size_notice(requested: TrainConfig, kept: TrainConfig, images: ImageSet, device: torch.device) -> tuple[str, ...]:
    """A message if a new run with the requested settings would have another network size than the resumed run."""
    before, now = kept.network, resolve_config(requested, images, device).config.network
    if (before.width, before.patch) == (now.width, now.patch):
        return ()
    return (
        f"The network keeps {_size(before)}. A new run for {Budget.of(requested.optimization)} would use {_size(now)}: "
        "choose another --out for that.",
    )


def is_complete(config: TrainConfig) -> bool:
    """Whether all settings have a value."""
    network, settings = config.network, config.optimization
    sizes = () if network.is_custom else (network.width, network.multipliers, network.blocks, network.patch)
    return None not in (*sizes, settings.batch, config.data.augment, config.diffusion.times)


def with_default_budget(config: TrainConfig) -> TrainConfig:
    """Sets the default budget of the preset if there is no budget."""
    settings = config.optimization
    if settings.images is not None or settings.minutes is not None:
        return config
    return replace(config, optimization=fill_unset(settings, **DEFAULT_BUDGETS[config.preset]))


def with_levels(network: NetworkConfig, image_shape: tuple[int, int, int]) -> NetworkConfig:
    """Chooses patch size, levels and blocks.

    The patch size (1, 2 or 4) reduces the side to 48 or less; the levels halve it down to about 8. Each level has twice
    the channels of the previous one, up to four times those of the first. The last level of a ConvNet has more blocks.
    The UNet has patch size 1 and the same number of blocks at each level.
    """
    side, is_unet = math.sqrt(math.prod(image_shape[1:])), network.backbone == "unet"
    patch = network.patch or (1 if is_unet else min(MAX_PATCH, 2 ** max(0, math.ceil(math.log2(side / 48)))))
    count = max(2, 1 + math.floor(math.log2(side / patch / 8) + 0.5)) if network.multipliers is None else None
    levels = network.multipliers or tuple(min(4, 2**level) for level in range(count or 0))
    blocks = (2,) if is_unet else (*[2] * (len(levels) - 1), 3)
    return fill_unset(network, patch=patch, multipliers=levels, blocks=blocks)


def candidate_networks(config: TrainConfig, image_shape: tuple[int, int, int]) -> list[TrainConfig]:
    """Candidate configurations, smallest network first.

    If width and patch size are unset, narrow networks with twice the patch size come first: they learn fastest.
    """
    usual = replace(config, diffusion=fill_unset(config.diffusion, times=TIMES))
    if config.network.is_custom:
        return [usual]
    network = with_levels(config.network, image_shape)
    widths = CANDIDATE_WIDTHS if network.width is None else (network.width,)
    finer = [replace(usual, network=replace(network, width=width)) for width in widths]
    patch = 2 * (network.patch or 1)
    is_open = config.network.patch is None and network.width is None and network.backbone == "convnet"
    if not is_open or patch > min(MAX_PATCH, max(image_shape[1:]) / MIN_SIDE):
        return finer
    coarse = with_levels(replace(config.network, patch=patch), image_shape)
    sooner = replace(config, diffusion=fill_unset(config.diffusion, times=COARSE_TIMES))
    return [*(replace(sooner, network=replace(coarse, width=width)) for width in COARSE_WIDTHS), *finer]


def largest_affordable(
    candidates: Sequence[TrainConfig], images: ImageSet, rate: float
) -> tuple[TrainConfig, int, float]:
    """The largest network that sees enough images within the budget; otherwise the smallest.

    A network with twice the FLOP should see twice the images, and all but the smallest at least `MIN_IMAGES_SEEN`.

    Returns:
        The configuration, the FLOP of its forward pass, and the expected number of images seen.
    """
    chosen: list[tuple[TrainConfig, int, float]] = []
    for config in candidates:
        operations = forward_operations(config, images)
        seen = expected_images(config.optimization, rate / (3 * operations))
        is_finer = config.network.patch != candidates[0].network.patch
        if chosen and seen < max(MIN_IMAGES_SEEN * (1 + is_finer), IMAGES_PER_GFLOP * operations / 1e9):
            break
        chosen.append((config, operations, seen))
    return chosen[-1]


def with_batch(config: TrainConfig, seen: float, count: int) -> TrainConfig:
    """Sets augmentation and batch size for `seen` images seen, of a data set of `count` images."""
    data = fill_unset(config.data, augment=AUGMENT if seen / count >= AUGMENTATION_EPOCHS else 0.0)
    return replace(config, data=data, optimization=fill_unset(config.optimization, batch=batch_for(seen)))


def expected_images(settings: OptimizationConfig, images_a_second: float) -> float:
    """Expected number of images seen in a run."""
    by_count = math.inf if settings.images is None else settings.images
    by_time = math.inf if settings.minutes is None else 60 * settings.minutes * images_a_second
    return min(by_count, by_time)


def batch_for(seen: float) -> int:
    """The largest power of two with enough steps, within `BATCHES`."""
    least, most = BATCHES
    return int(min(most, max(least, 2 ** math.floor(math.log2(max(1.0, seen / MIN_STEPS))))))


def forward_operations(config: TrainConfig, images: ImageSet) -> int:
    """FLOP of the forward pass of one image (a multiply-add counts as two), counted without computing."""
    return _operations(model_for(config, images))


@lru_cache(maxsize=64)  # called with the same few networks for every rate
def _operations(described: ModelConfig) -> int:
    model = build_on_meta(described)
    return operations_of(model.network, *model.example_inputs())


def operations_of(network: nn.Module, *inputs: torch.Tensor | None) -> int:
    """FLOP of one call of a network."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        network(*inputs)
    return int(counter.get_total_flops())


def fill_unset(settings: Settings, **values: object) -> Settings:
    """Sets those of the given settings that are None."""
    missing: dict[str, Any] = {name: value for name, value in values.items() if getattr(settings, name) is None}
    return replace(settings, **missing)


def reasons(config: TrainConfig, operations: int, seen: float, rate: float, images: ImageSet) -> tuple[str, ...]:
    """Messages about the chosen values."""
    network, settings = config.network, config.optimization
    gflop = operations / 1e9
    speed = "" if math.isinf(rate) else f", at about {_two_digits(rate / 1e12)} TFLOP/s"
    own = f"width {network.width}, levels {_joined(network.multipliers)}, blocks {_joined(network.blocks)}"
    patches = "" if network.patch == 1 else f", patch size {network.patch}"
    return (
        f"Network: {network.backbone if network.is_custom else own + patches}: "
        f"{_two_digits(gflop)} GFLOP per image{speed}.",
        f"Training: about {_two_digits(seen)} images ({_two_digits(seen / len(images))} epochs), batch size "
        f"{settings.batch}{f', augmentation probability {config.data.augment:g}' if config.data.augment else ''}.",
    )


def warnings(images: ImageSet, is_short: bool, is_long: bool) -> tuple[str, ...]:
    """Messages about settings that would give a better result."""
    is_large = math.prod(images.image_shape[1:]) > LARGE_SIDE**2
    notices = (
        (is_large, "Training on images of this size is slow: --size 64 or 128 gives better samples in the same time."),
        (is_long, "The model may memorize images that it sees this often: use fewer --minutes or more images."),
        (is_short, "The budget is small for this network: more --minutes or a smaller --size gives better samples."),
    )
    return tuple(text for applies, text in notices if applies)


def batch_bytes(config: TrainConfig, images: ImageSet) -> int:
    """Memory of the activations of one batch for the backward pass in float32, in bytes; counted without computing."""
    model = build_on_meta(model_for(config, images))
    weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    sizes: dict[int, int] = {}

    def kept(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if not tensor.is_leaf and storage._cdata not in weights:  # a transposed weight is not an activation
            sizes[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(kept, lambda tensor: tensor), sdpa_kernel(SDPBackend.MATH):
        result = model.network(*model.example_inputs())  # holds the activations until they are counted
    del result
    return (config.optimization.batch or 1) * sum(sizes.values())


def _size(network: NetworkConfig) -> str:
    return f"width {network.width} and patch size {network.patch}"


def _joined(numbers: tuple[int, ...] | None) -> str:
    return " ".join(map(str, numbers or ()))


def _two_digits(count: float) -> str:
    """A number with two significant digits.

    >>> _two_digits(1_234_567), _two_digits(300.4), _two_digits(0.0881), _two_digits(4.0)
    ('1,200,000', '300', '0.088', '4')
    """
    leading = math.floor(math.log10(count)) if count > 0 else 0
    places = max(0, 1 - leading)
    text = f"{round(count, 1 - leading):,.{places}f}"
    return text.rstrip("0").rstrip(".") if places else text
