"""Builds the model configuration from the training configuration and the images; checks custom networks."""

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace

import torch

from sfumato.data import ImageSet
from sfumato.data.augmentation import AUGMENTATION_FEATURES
from sfumato.data.labels import LABEL, name_and_kind
from sfumato.diffusion.denoiser import PreconditionedDenoiser
from sfumato.diffusion.losses import CUSTOM_LOSSES, times_for_loss
from sfumato.errors import ConfigError
from sfumato.metrics.features.custom import register_features
from sfumato.models import Model, ModelConfig
from sfumato.networks.convnet import ConvNetConfig
from sfumato.networks.custom import CustomConfig, register_network, takes
from sfumato.networks.unet import UNetConfig
from sfumato.sampling.sampler import evaluated
from sfumato.training.config import TrainConfig
from sfumato.utils.shapes import unlabelled


def model_for(config: TrainConfig, images: ImageSet) -> ModelConfig:
    """The model configuration for a resolved training configuration and its images.

    Raises:
        ConfigError: the settings are invalid for these images.
    """
    diffusion = config.diffusion
    return ModelConfig(
        network=_network(config, images),
        schedule=diffusion.schedule,
        zero_terminal_snr=diffusion.zero_terminal_snr,
        shift=diffusion.shift,
        parametrization=diffusion.parametrization,
        image_shape=images.image_shape,
        label_names=images.label_names,
        columns=images.columns,
        label_column=name_and_kind(next(iter(config.data.condition), LABEL))[0] if images.label_names else LABEL,
        depth=images.depth,
    )


def _network(config: TrainConfig, images: ImageSet) -> UNetConfig | ConvNetConfig | CustomConfig:
    """The network configuration. Attention at r pixels: the level whose longer side is closest to r (log scale)."""
    requested = config.network
    if requested.is_custom:
        return _custom_network(config, images)
    width, multipliers, blocks, patch = requested.width, requested.multipliers, requested.blocks, requested.patch
    if width is None or multipliers is None or blocks is None or patch is None:
        raise ConfigError(
            "the size of the network is not set",
            "Set it, or complete the settings with `sfumato.training.autoconfig.resolve_config`.",
        )
    channels, *sides = images.image_shape
    level_sides = [max(sides) / patch / 2**level for level in range(len(multipliers))]
    attends = tuple(
        i for i, side in enumerate(level_sides) if any(round(math.log2(side / r)) == 0 for r in requested.attention)
    )
    classes, columns = len(images.label_names), tuple(column.size for column in images.columns)
    features = AUGMENTATION_FEATURES if config.data.augment else 0
    dropout = requested.dropout
    if requested.backbone == "convnet":
        each = blocks * len(multipliers) if len(blocks) == 1 else blocks
        return ConvNetConfig(channels, width, multipliers, each, attends, dropout, classes, columns, features, patch)
    if len(set(blocks)) > 1:
        raise ConfigError(
            f"--blocks {blocks} requires --backbone convnet", "Give one number, or choose --backbone convnet."
        )
    return UNetConfig(channels, width, multipliers, blocks[0], attends, dropout, classes, columns, features)


def _custom_network(config: TrainConfig, images: ImageSet) -> CustomConfig:
    """The configuration of a custom network, whose constructor has all arguments that the settings need."""
    path, (channels, height, width) = config.network.backbone, images.image_shape
    columns, augmentation = tuple(column.size for column in images.columns), config.data.augment
    for keyword, is_needed, flag in (
        ("classes", images.label_names, "--condition or --labels"),
        ("columns", columns, "--condition or labels by column"),
        ("augmentation", augmentation, "--augment"),
    ):
        if is_needed and not takes(path, keyword):
            raise ConfigError(
                f"the constructor of {path} has no argument {keyword}, which {flag} requires",
                f"Add the argument {keyword}, or leave {flag} out.",
            )
    features = AUGMENTATION_FEATURES if augmentation else 0
    return CustomConfig(path, channels, (height, width), len(images.label_names), columns, features)


def register_custom_code(config: TrainConfig) -> None:
    """Imports the network, the loss and the features that a person named by import paths on the command line."""
    register_network(config.network.backbone)
    CUSTOM_LOSSES.register(config.diffusion.loss)
    register_features(config.monitoring.eval_features)


def without_unknown_inputs(config: TrainConfig, images: ImageSet | None) -> TrainConfig:
    """Disables labels and automatic augmentation if the constructor of a custom network has no arguments for them."""
    if not config.network.is_custom:
        return config
    path, data = config.network.backbone, config.data
    has_columns = bool(data.condition or (images is not None and images.columns))
    if not has_columns and not takes(path, "classes"):
        data = replace(data, labels=False)
    if data.augment is None and not takes(path, "augmentation"):
        data = replace(data, augment=0.0)
    return replace(config, data=data)


def check_call(model: Model) -> None:
    """Raises `ConfigError` unless a custom network has weights and returns images for each kind of input."""
    described, inputs = model.config.network, model.example_inputs()
    if not isinstance(described, CustomConfig):
        return
    path = described.architecture
    if not any(weight.requires_grad for weight in model.network.parameters()):
        raise ConfigError(f"{path} has no weights to train", "Give it parameters that require gradients.")
    x, time, labels = inputs
    calls: list[tuple[torch.Tensor | None, ...]] = [inputs]
    if labels is not None:
        calls.append((x, time, unlabelled(labels)))  # labels that are dropped; for an embedding, use labels + 1
        calls.append((x, time, None))  # sampling without labels
    if described.augmentation:
        calls.append((*inputs, torch.zeros(1, described.augmentation, device=x.device)))
    for call in calls:
        _check_one_call(model, path, call)


def _check_one_call(model: Model, path: str, inputs: Sequence[torch.Tensor | None]) -> None:
    """Raises `ConfigError` unless the network returns a tensor of the shape of the images for these inputs."""
    names = ("x", "time", "labels", "augmentation")
    shown = [None if v is None else v.tolist() if v.dtype == torch.int64 else tuple(v.shape) for v in inputs]
    given = ", ".join(f"{name} {value}" for name, value in zip(names, shown, strict=False))
    try:
        (output,) = evaluated(model, [lambda: model.network(*inputs)])
    except Exception as error:  # custom code may raise anything
        raise ConfigError(
            f"{path} was called with {given}, and raised {type(error).__name__}: {error}",
            "Correct its forward(x, time, labels): labels are -1 where they are dropped, or None (docs/extending.md).",
        ) from error
    result = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
    if inputs[0] is not None and result != tuple(inputs[0].shape):
        raise ConfigError(
            f"{path} was called with {given}, and returned {result}", "Return one tensor with the shape of x."
        )


def check_loss(model: PreconditionedDenoiser, config: TrainConfig) -> None:
    """Raises `ConfigError` unless a custom loss returns one value per image for two images."""
    custom = config.diffusion.custom_loss
    if custom is None:
        return
    path, (x, _, labels) = config.diffusion.loss, model.example_inputs()
    images = x.repeat(2, 1, 1, 1)
    times = times_for_loss(torch.full((2,), 0.5, dtype=torch.float64), images)
    rows = None if labels is None else labels.repeat(2, *[1] * (labels.ndim - 1))
    try:
        twin = deepcopy(model)  # a call in training mode would change batch statistics
        losses = custom(twin, images, times, torch.ones_like(images), rows)
    except Exception as error:  # custom code may raise anything
        raise ConfigError(
            f"the loss {path} raised {type(error).__name__}: {error}", "Correct it (docs/extending.md)."
        ) from error
    result = tuple(losses.shape) if isinstance(losses, torch.Tensor) else type(losses).__name__
    if result == (2,) and not losses.requires_grad:
        raise ConfigError(f"the loss {path} does not depend on the weights", "Return it without detach or no_grad.")
    if result != (2,):
        raise ConfigError(
            f"the loss {path} returned {result} for 2 images",
            "Return one value per image, such as the mean over its channels and pixels.",
        )
