"""Loads models: those of sfumato, and those in folders of diffusers, local or on the Hugging Face Hub."""

from pathlib import Path

import torch
from torch import nn

from sfumato import models
from sfumato.errors import ConfigError
from sfumato.exchange.foreign import ForeignModel
from sfumato.exchange.from_diffusers import (
    check_components,
    component_folder,
    is_diffusers_folder,
    read_model,
    read_weaker,
)
from sfumato.exchange.hub_files import downloaded, name_and_revision
from sfumato.exchange.layout import CONFIG, INDEX, SCHEDULER_CONFIG
from sfumato.exchange.weights import NAMES, weights_file
from sfumato.models import Model
from sfumato.networks.custom import Builder
from sfumato.utils.hub import PREFIX, is_hub_name

CONFIGURATIONS = (
    *(INDEX, CONFIG, f"unet/{CONFIG}", f"weaker/{CONFIG}"),
    *(SCHEDULER_CONFIG, f"scheduler/{SCHEDULER_CONFIG}"),
)
"""Files that are downloaded before the weights."""


def load(
    path: str | Path, device: str | torch.device = "cpu", *, network: str | Builder | nn.Module | None = None
) -> Model | ForeignModel:
    """Loads a model from a run directory, a model folder, or a folder of diffusers.

    A `UNet2DModel` of diffusers becomes our UNet where both are the same network; otherwise it needs the package
    diffusers, and can be sampled and evaluated, but not saved or trained.

    Args:
        path: run directory, folder with `config.json` and `model.safetensors`, folder of diffusers, or hf:USER/NAME or
            hf:USER/NAME@REVISION for such a folder on the Hugging Face Hub.
        device: device to which the model is loaded.
        network: custom network of the model: a class or function that builds it, a module, or an import path, whose
            code is run. None: a network of the package. Loading a file never runs code that the file names.

    Returns:
        The model with the EMA of the weights, in evaluation mode.

    Raises:
        RunError: there is no model, a file is truncated, changed or of another kind, or the network needs diffusers,
            which is not installed.
        ConfigError: the model has a custom network that is neither given as `network` nor registered in this process,
            or `network` is not the network of the model; or the Hub does not allow the name.
    """
    if not is_foreign(path):
        return models.load(path, device, network=network)
    if network is not None:
        raise ConfigError(f"a network was given for {path}, which is in the format of diffusers", "Leave it out.")
    return read_model(_local_folder(path)).to(device)


def load_with_guidance_checkpoint(
    path: str | Path, device: str | torch.device = "cpu", *, network: str | Builder | nn.Module | None = None
) -> tuple[Model | ForeignModel, Model | None]:
    """Loads a model and its guidance checkpoint, which have the same revision if they are on the Hub.

    Arguments and errors are those of `load`.

    Returns:
        The model, and the weaker model as from `load_guidance_checkpoint`.
    """
    path = with_commit(path)
    return load(path, device, network=network), load_guidance_checkpoint(path, device)


def load_guidance_checkpoint(path: str | Path, device: str | torch.device = "cpu") -> Model | None:
    """Loads the guidance checkpoint of a model: its EMA weights early in training, for `guidance.AutoGuided`.

    Arguments and errors are those of `load`.

    Returns:
        The weaker model; None if there is no guidance checkpoint that is earlier than the model.
    """
    if not is_foreign(path):
        return models.load_guidance_checkpoint(path, device)
    weaker = read_weaker(_local_folder(path))
    return None if weaker is None else weaker.to(device)


def with_commit(path: str | Path) -> Path:
    """hf:USER/NAME@COMMIT for a model on the Hub, so that later calls read the same revision; other paths as they are.

    Raises:
        ConfigError: the Hub does not allow the name.
        RunError: huggingface_hub is not installed, or the Hub has no such model.
    """
    return _pinned(path, downloaded(path, CONFIGURATIONS)) if is_hub_name(path) else Path(path)


def _pinned(path: str | Path, folder: Path) -> Path:
    """hf:USER/NAME@COMMIT of a model that is downloaded to a folder."""
    return Path(f"{PREFIX}{name_and_revision(path)[0]}@{folder.name}")


def is_foreign(path: str | Path) -> bool:
    """Whether a path is a folder of diffusers, or a model of the Hub."""
    return is_hub_name(path) or is_diffusers_folder(Path(path))


def _local_folder(path: str | Path) -> Path:
    """The folder of a model. The weights of hf:USER/NAME are only downloaded if they can be imported."""
    if not is_hub_name(path):
        return Path(path)
    folder = downloaded(path, CONFIGURATIONS)
    path = _pinned(path, folder)
    check_components(folder, PREFIX + name_and_revision(path)[0])
    networks = {component_folder(folder, "unet"), *folder.glob("weaker")}
    for name in NAMES:
        missing = [network.relative_to(folder) / name for network in networks if weights_file(network) is None]
        if missing:
            downloaded(path, (*CONFIGURATIONS, *(file.as_posix() for file in missing)))
    return folder
