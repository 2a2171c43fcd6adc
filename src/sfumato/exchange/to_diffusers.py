"""Export to a folder of diffusers: stock classes if they compute the same, otherwise a pipeline with its own code."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from sfumato.diffusion.schedules import SCHEDULES, BetaSchedule
from sfumato.errors import ConfigError
from sfumato.exchange.diffusers_names import diffusers_state
from sfumato.exchange.layout import (
    CONFIG,
    DESCRIPTION,
    INDEX,
    PREDICTIONS,
    SCHEDULER_CONFIG,
    STOCK_DESCRIPTION,
    WEIGHTS,
)
from sfumato.exchange.schedulers import own_scheduler, stock_scheduler
from sfumato.exchange.unet2d import unet2d_config
from sfumato.models import Model, checked_weights
from sfumato.networks.convnet import ConvNet, ConvNetConfig
from sfumato.networks.custom import CustomConfig
from sfumato.networks.unet import UNetConfig
from sfumato.utils.depth import EIGHT_BITS
from sfumato.utils.files import system_error

VERSION = "0.42.1"
"""Version of diffusers with which the folders are tested."""


def write_diffusers(model: Model, weaker: Model | None, folder: Path) -> str:
    """Writes a folder that `DiffusionPipeline.from_pretrained` loads.

    Args:
        model: model whose network is part of sfumato.
        weaker: guidance checkpoint of the model, or None.
        folder: empty folder.

    Returns:
        Two sentences: the kind of the folder and its reason, and the line of Python that loads it, in which `{out}`
        stands for the final path.

    Raises:
        ConfigError: a network, noise schedule or parametrization from outside the package, a changed network, weights
            that are not finite, or a guidance checkpoint of another model.
    """
    _check_models(model, weaker)
    own, scheduler, unet = own_scheduler(model), stock_scheduler(model), stock_unet(model)
    if scheduler is not None and unet is not None and weaker is None:
        _write_stock(model, scheduler, unet, folder)
        return (
            "Pipeline of stock classes of diffusers (UNet2DModel, DDPMScheduler). "
            'Load it with: DDPMPipeline.from_pretrained("{out}")'
        )
    _write_custom(model, weaker, own, folder)
    return (
        f"Pipeline with its own code, because DDPMPipeline does not support {_differences(model, weaker)}. "
        'Load it with: DiffusionPipeline.from_pretrained("{out}", trust_remote_code=True)'
    )


def _check_models(model: Model, weaker: Model | None) -> None:
    """Raises `ConfigError` for a network from outside the package, or a guidance checkpoint of another model."""
    network = model.config.network
    if isinstance(network, CustomConfig):
        raise ConfigError(
            f"the network {network.architecture} is not part of sfumato and cannot be exported",
            "Export it with --to onnx or --to web, or share the run directory and the file of the network.",
        )
    if weaker is not None and weaker.config != model.config:
        raise ConfigError(
            "the guidance checkpoint has another configuration than the model",
            "Give the guidance checkpoint of the same run, or none.",
        )


def _differences(model: Model, weaker: Model | None) -> str:
    """The properties of a model that prevent stock classes."""
    config, depth, (_, height, width) = model.config, model.depth, model.image_shape
    levels = len(config.network.multipliers) if isinstance(config.network, UNetConfig) else 1
    found = {
        "the ConvNet": not isinstance(config.network, UNetConfig),
        "classes": bool(model.label_names),
        "conditions": bool(model.columns),
        "a guidance checkpoint": weaker is not None,
        f"the schedule {config.schedule}": not isinstance(SCHEDULES.parse(config.schedule), BetaSchedule),
        "a shift of the schedule": config.shift != 1,
        f"the parametrization {config.parametrization}": config.parametrization not in PREDICTIONS,
        f"{depth.dtype} images{' with opacity' if depth.opacity else ''}": depth != EIGHT_BITS,
        f"{height}x{width} pixels, which {levels} levels cannot halve exactly": bool(
            height % 2 ** (levels - 1) or width % 2 ** (levels - 1)
        ),
    }
    named = [difference for difference, holds in found.items() if holds]
    return ", ".join(named) or "group norms with different numbers of groups"


def _write_stock(model: Model, scheduler: Mapping[str, Any], unet: Mapping[str, Any], folder: Path) -> None:
    """Writes a folder of stock classes with these configurations."""
    index = {
        "_class_name": "DDPMPipeline",
        "unet": ["diffusers", "UNet2DModel"],
        "scheduler": ["diffusers", "DDPMScheduler"],
        STOCK_DESCRIPTION: _description(model),
    }
    _write_json(folder / INDEX, index)
    _write_json(folder / "scheduler" / SCHEDULER_CONFIG, scheduler)
    _write_network(folder / "unet", unet, diffusers_state(_inference_state(model, "the model")))


def stock_unet(model: Model) -> dict[str, Any] | None:
    """Configuration of a `UNet2DModel` that computes the same as the network of the model, or None."""
    network = model.config.network
    if not isinstance(network, UNetConfig) or model.label_names or model.columns or model.depth != EIGHT_BITS:
        return None
    return unet2d_config(network, model.image_shape[1:])


def _write_custom(model: Model, weaker: Model | None, scheduler: Mapping[str, Any], folder: Path) -> None:
    """Writes a folder with its own pipeline, network and scheduler, which has this configuration."""
    is_convnet = isinstance(model.config.network, ConvNetConfig)
    module, name = ("sfumato_convnet", "SfumatoConvNet") if is_convnet else ("sfumato_unet", "SfumatoUNet")
    index = {
        "_class_name": ["pipeline", "SfumatoPipeline"],
        "unet": [module, name],
        "scheduler": ["sfumato_schedule", "SfumatoSchedule"],
        "weaker": [None, None] if weaker is None else [module, name],
        DESCRIPTION: _description(model) | {"weaker_images_seen": 0 if weaker is None else weaker.images_seen},
    }
    network = {"_class_name": name, **network_config(model)}
    _write_json(folder / INDEX, index)
    _write_template(folder / "pipeline.py")
    _write_json(folder / "scheduler" / SCHEDULER_CONFIG, {"_class_name": "SfumatoSchedule", **scheduler})
    _write_template(folder / "scheduler" / "sfumato_schedule.py")
    _write_network(folder / "unet", network, _inference_state(model, "the model"))
    _write_template(folder / "unet" / f"{module}.py")
    if weaker is not None:
        _write_network(folder / "weaker", network, _inference_state(weaker, "the guidance checkpoint"))
        _write_template(folder / "weaker" / f"{module}.py")


def _description(model: Model) -> dict[str, Any]:
    """Configuration of the exported model, and the images that it was trained on."""
    config = replace(model.config, network=replace(model.config.network, augmentation=0))
    return asdict(config) | {"images_seen": model.images_seen}


def network_config(model: Model) -> dict[str, Any]:
    """Arguments of the class of the network."""
    config = asdict(model.config.network)
    config.pop("augmentation")
    if isinstance(model.network, ConvNet):
        del config["architecture"]
        config["periods"] = model.network.embedding.periods
    return config


def _inference_state(model: Model, name: str) -> dict[str, Tensor]:
    """The weights, without those that describe the augmentation in training."""
    weights = checked_weights(model, "Export", name)
    return {key: weight for key, weight in weights.items() if not key.endswith("embedding.augmentation.weight")}


def _write_network(folder: Path, config: Mapping[str, Any], state: dict[str, Tensor]) -> None:
    _write_json(folder / CONFIG, config)
    try:
        save_file(state, folder / WEIGHTS, {"format": "pt"})
    except SafetensorError as error:
        raise system_error(error) from error


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Writes JSON for diffusers, with the version after the name of the class."""
    file.parent.mkdir(exist_ok=True)
    version = {"_class_name": content["_class_name"], "_diffusers_version": VERSION}
    file.write_text(json.dumps(version | dict(content), indent=2) + "\n", encoding="utf-8")


def _write_template(file: Path) -> None:
    """Copies a file of `templates` with the same name."""
    text = files("sfumato.exchange.templates").joinpath(file.name).read_text(encoding="utf-8")
    file.write_text(text, encoding="utf-8")
