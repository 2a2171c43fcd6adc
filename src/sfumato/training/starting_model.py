"""Fine-tuning: a run that starts from the network and the weights of another model (`--from`)."""

from pathlib import Path

import torch
from torch import Tensor

from sfumato.data import ImageSet
from sfumato.data.conditions import FARTHEST, Category, Column, Number
from sfumato.errors import ConfigError
from sfumato.exchange.load import load
from sfumato.models import Model
from sfumato.networks.convnet import ConvNetConfig
from sfumato.networks.custom import CustomConfig
from sfumato.training.architecture import model_for
from sfumato.training.config import ADOPTED, TrainConfig, with_settings
from sfumato.training.presets import PRESETS
from sfumato.training.run_directory import has_trained
from sfumato.utils.text import listed

AUGMENTATION = "augmentation.weight"
"""End of the name of the weights of the augmentation features."""

MOST_NAMES = 10
"""Number of classes and columns that a message lists."""


def starting_model(config: TrainConfig, out: str | Path) -> Model | None:
    """The model that a new run starts from; None for a run without one, and for a run that is resumed.

    Raises:
        ConfigError: the model has a network that cannot be trained.
        RunError: there is no model, or a file of it is broken.
    """
    start = config.network.start
    if start is None or has_trained(Path(out)):
        return None
    model = load(start, network=config.network.backbone if config.network.is_custom else None)
    if not isinstance(model, Model):
        raise ConfigError(
            f"{start} has a network of diffusers that sfumato can sample but not train",
            "Start from a model of sfumato, or from a UNet2DModel with the settings of google/ddpm-cifar10-32.",
        )
    return model


def with_network_of(config: TrainConfig, model: Model, images: ImageSet) -> TrainConfig:
    """The configuration with the network, the noise schedule and the parametrization of a model.

    Raises:
        ConfigError: the images are too small for the network.
    """
    network = model.config.network
    diffusion = {name: value for name, value in vars(model.config).items() if name in ADOPTED}
    if isinstance(network, CustomConfig):
        return _with_times(with_settings(config, diffusion))
    is_convnet = isinstance(network, ConvNetConfig)
    patch = network.patch if isinstance(network, ConvNetConfig) else 1
    sides = [max(images.image_shape[1:]) / patch / 2**level for level in network.attention_levels]
    values = diffusion | {
        "backbone": "convnet" if is_convnet else "unet",
        "width": network.width,
        "multipliers": network.multipliers,
        "blocks": network.blocks if isinstance(network, ConvNetConfig) else (network.blocks,),
        "attention": tuple(max(1, round(side)) for side in sides),
        "patch": patch,
    }
    changed = _with_times(with_settings(config, values))
    built = model_for(changed, images).network
    if not isinstance(built, CustomConfig) and built.attention_levels != network.attention_levels:
        height, width = images.image_shape[1:]
        raise ConfigError(
            f"images of {width}x{height} pixels are too small for the network of {config.network.start}",
            "Choose a larger --size.",
        )
    return changed


def _with_times(config: TrainConfig) -> TrainConfig:
    """Chooses the distribution of the training times, if it is not set, for the noise schedule."""
    usual, now = PRESETS[config.preset].diffusion, config.diffusion
    if now.times is not None:
        return config
    if (usual.schedule, usual.parametrization) == (now.schedule, now.parametrization):
        return with_settings(config, {"times": usual.times})
    return with_settings(config, {"times": None if now.schedule == "edm" else "uniform"})


def started_message(config: TrainConfig, model: Model) -> str:
    """A message about the model that a run starts from."""
    seen = f", after {model.images_seen:,} images" if model.images_seen else ""
    network, diffusion = config.network, config.diffusion
    return (
        f"Started from {network.start}{seen}. The run has its network ({network.backbone}), its noise schedule "
        f"({diffusion.schedule}) and its parametrization ({diffusion.parametrization})."
    )


def transfer(source: Model, target: Model) -> tuple[str, ...]:
    """Copies the weights of a model to a new model with the same architecture, in place.

    Embeddings of classes and columns are matched by name, except those of custom networks. Weights of another shape
    keep their initialization.

    Returns:
        Messages about labels that are kept or new, and about weights that are new.
    """
    weights, messages = dict(source.network.state_dict()), []
    if not source.is_custom:
        _replace_labels(weights, source, target)
        messages += _label_notices(source, target)
    elif source.known_columns != target.known_columns:
        messages.append("The network is custom: embeddings of other classes or columns are kept by order, not by name.")
    fresh = set()
    for name, current in target.network.state_dict().items():
        found = weights.get(name)
        if found is not None and found.shape == current.shape:
            current.copy_(found)
        elif name.endswith(AUGMENTATION):
            current.zero_()
        else:
            fresh.add(name.rpartition(".")[0])
    if fresh:
        names = ", ".join(sorted(fresh))
        messages.append(f"Initialized, because their shapes differ from those in the model: {names}.")
    return tuple(messages)


def _replace_labels(weights: dict[str, Tensor], source: Model, target: Model) -> None:
    """Replaces the embeddings of the labels by those for the labels of another model.

    The network without labels remains the same: the embedding of an unknown value, if its column is removed, is added
    to a bias, and that of a new column is zero.
    """
    old = {column: weights.pop(name) for name, column in _label_weights(source).items()}
    bias = next(name for name in weights if name.endswith("embedding.mix.bias"))
    pairs, features = _matching_columns(source, target), len(weights[bias])
    for name, column in _label_weights(target).items():
        match pairs.get(column), column:
            case Category() as before, Category():
                table = old.pop(before)
                rows = dict(zip(before.values, table[1:], strict=True))
                weights[name] = torch.stack([table[0], *(rows.get(value, table[0]) for value in column.values)])
            case Number() as before, Number():  # w (v - mean) / deviation + b remains the same for each number v
                w, b = old.pop(before).T
                shift = (column.mean - before.mean) / before.deviation
                weights[name] = torch.stack([w * (column.deviation / before.deviation), b + w * shift], 1)
            case _:
                weights[name] = torch.zeros((column.size + 1, features) if column.size else (features, 2))
    for column, table in old.items():
        if column.size:
            weights[bias] = weights[bias] + table[0]


def _label_weights(model: Model) -> dict[str, Column]:
    """The columns of a model, by the names of the weights that embed them."""
    prefix = "embedding." if isinstance(model.config.network, ConvNetConfig) else ""
    rows = [f"{prefix}row_embedding.columns.{index}.weight" for index in range(len(model.columns))]
    names = [f"{prefix}class_embedding.weight"] if model.label_names else rows
    return dict(zip(names, model.known_columns, strict=True))


def _matching_columns(source: Model, target: Model) -> dict[Column, Column]:
    """Columns of the target, and those of the source with the same name and kind. Classes match classes."""
    if source.label_names and target.label_names:
        return dict(zip(target.known_columns, source.known_columns, strict=True))
    old = {(column.name, column.kind): column for column in source.known_columns}
    found = {column: old.get((column.name, column.kind)) for column in target.known_columns}
    return {column: before for column, before in found.items() if before is not None and _is_near(column, before)}


def _is_near(column: Column, before: Column) -> bool:
    """False for numbers that a model with the column `before` does not accept, such as those in another unit."""
    if not (isinstance(column, Number) and isinstance(before, Number)):
        return True
    return all(abs(end - before.mean) <= FARTHEST * before.deviation for end in (column.low, column.high))


def _label_notices(source: Model, target: Model) -> list[str]:
    """Messages about classes and columns whose embeddings are kept or new."""
    pairs = _matching_columns(source, target)
    kept: list[str] = []
    new: list[str] = []
    for column in target.known_columns:
        before, values = pairs.get(column), column.values if isinstance(column, Category) else ()
        learned = [value for value in values if isinstance(before, Category) and value in before.values]
        others = [value for value in values if value not in learned]
        if target.label_names:
            kept, new = learned, others
        elif before is None or (values and not learned):
            new.append(column.name)
        else:
            kept.append(column.name)
            new += [f"{column.name}={value}" for value in others]
    notices = {"Kept the embeddings of": kept, "New, without an embedding in the model": new}
    return [f"{text}: {listed(names, MOST_NAMES)}." for text, names in notices.items() if names]
