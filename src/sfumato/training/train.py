"""`sf.train`: trains a model on a data source, an image set, arrays or tensors."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sfumato.data.dataset import ImageSet
from sfumato.data.in_memory import IN_MEMORY, Collection, ImageLabels, from_arrays
from sfumato.diffusion.losses import CUSTOM_LOSSES, Loss
from sfumato.errors import ConfigError
from sfumato.metrics.features.custom import EXTRACTORS
from sfumato.networks.custom import Builder, register_network
from sfumato.training.loop import Reporter, TrainingResult, run_training
from sfumato.training.presets import config_for

OF_SOURCES = ("size", "fit", "channels", "pages", "split", "nodata", "name_encoding", "condition")
"""Settings for reading a source, which cannot be applied to images in memory."""


def train(
    data: str | Path | ImageSet | Collection,
    out: str | Path,
    settings: Mapping[str, object] | None = None,
    *,
    labels: ImageLabels | None = None,
    preset: str | None = None,
    network: str | Builder | nn.Module | None = None,
    loss: str | Loss | None = None,
    device: str | torch.device = "auto",
    cache: Path | None = None,
    debug: bool = False,
    progress: bool = True,
    reporter: Reporter | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainingResult:
    """Trains a model, or resumes its training if `out` contains a run.

    Seeds the global random number generators of PyTorch.

    >>> result = sf.train("photos/", "runs/photos", {"size": 64, "minutes": 30})  # doctest: +SKIP
    >>> images = sf.sample(result.model, 16)  # doctest: +SKIP

    Args:
        data: source (a folder, an archive, `hf:NAME`, "digits" or "shapes"), `ImageSet`, or images in memory as for
            `data.from_arrays`.
        out: run directory; created if it does not exist.
        settings: values by the names of the flags of `sfumato train`, with underscores, such as {"minutes": 30,
            "learning_rate": 1e-3}; {"from": PATH} starts from the weights of another model (a run, a model folder,
            a folder of diffusers, or hf:USER/NAME). Other settings have the values of the preset, or are chosen for the
            budget, the images and the device.
        labels: class of each image in memory, or columns of conditions, as for `data.from_arrays`; None: the labels
            that `data` contains, if any.
        preset: "default", "ddpm", "tiny" or "patches"; None: "tiny" for "digits", "patches" for "shapes", otherwise
            "default".
        network: custom network, called with (x, time, labels): a class or function that builds it, a module (a copy is
            trained), or an import path; see docs/extending.md. None: the network of the settings.
        loss: custom loss: a function of (denoiser, images, times, noise, labels) that returns one value per image, or
            its import path. None: the loss of the settings.
        device: "auto" (CUDA if available, else MPS, else the CPU), "cpu", "cuda", "cuda:1" or "mps".
        cache: folder for decoded images and compiled code; None: SFUMATO_CACHE, or the user's cache.
        debug: run GPU operations synchronously, so that an error shows the operation that failed.
        progress: show a progress bar and messages if stdout is a terminal or a notebook; ignored if `reporter` is
            given.
        reporter: object that receives the progress and the messages; None: the progress bar.
        should_stop: called after each step. If it returns True, the run is saved, and training ends.

    Returns:
        The result of the run: training state, resolved configuration and completed share. Its `model` has the EMA of
        the weights and is in evaluation mode.

    Raises:
        DataError: the images cannot be used for training.
        RunError: `out` contains other files, or a run with other settings or data; another process trains in it; or it
            cannot be read or written.
        ConfigError: the settings are not valid, or the network or the loss cannot be called.
        TrainingError: the loss or its gradient is not finite in 10 consecutive steps.
        OutOfMemoryError: a training step on a single image does not fit into the memory of the device.
        DeviceError: the device failed.
    """
    values: dict[str, Any] = dict(settings or {})
    images = None if isinstance(data, str | Path) else _in_memory(data, labels, values)
    if images is None and labels is not None:
        raise ConfigError("labels can be given for images in memory only, not for a source", "Leave labels out.")
    if network is not None:
        values["backbone"] = network
    if loss is not None:
        values["loss"] = loss
    if "backbone" in values:
        values["backbone"] = register_network(values["backbone"])
    if "loss" in values:
        values["loss"] = CUSTOM_LOSSES.register(values["loss"])
    if "eval_features" in values:
        values["eval_features"] = EXTRACTORS.register(values["eval_features"])
    config = config_for(str(data) if images is None else IN_MEMORY, values, preset=preset)
    return run_training(
        config,
        out,
        images=images,
        device=str(device),
        cache=cache,
        debug=debug,
        progress=progress,
        reporter=reporter,
        should_stop=should_stop,
    )


def _in_memory(data: ImageSet | Collection, labels: ImageLabels | None, settings: Mapping[str, Any]) -> ImageSet:
    """The image set of data in memory. Raises `ConfigError` for settings that only apply to a source."""
    not_applicable = [name for name in OF_SOURCES if name in settings]
    if not_applicable:
        raise ConfigError(
            f"{', '.join(not_applicable)} cannot be applied to images in memory",
            "Leave it out, or train on a source: a folder, an archive or an .npz file.",
        )
    if not isinstance(data, ImageSet):
        return from_arrays(data, labels, None if settings.get("range") == "auto" else settings.get("range"))
    if labels is not None or "range" in settings:
        raise ConfigError("labels or a range were given for an ImageSet, which contains both", "Leave them out.")
    return data
