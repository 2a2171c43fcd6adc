"""`sf.train`: training from Python on a data source, an image set, arrays or tensors."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sfumato.data.dataset import ImageSet
from sfumato.data.in_memory import IN_MEMORY, Collection, ImageLabels, from_arrays
from sfumato.diffusion.losses import CUSTOM_LOSSES, Loss
from sfumato.errors import ConfigError
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
    """Trains a model in the run directory `out`, or resumes the run in it. Sets torch's global generators.

    >>> result = sf.train("photos/", "runs/photos", {"size": 64, "minutes": 30})  # doctest: +SKIP
    >>> images = sf.sample(result.model, 16)  # doctest: +SKIP

    Args:
        data: source (a folder, an archive, `hf:NAME`, "digits"), the result of `load_images`, or images in memory, as
            for `data.from_arrays`.
        out: run directory.
        settings: values by the names of the flags of `sfumato train`, with underscores, such as {"minutes": 30,
            "learning_rate": 1e-3}. The preset sets the others, or they are chosen for the budget, images and device.
        labels: class of each image in memory, or columns of conditions, as for `data.from_arrays`.
        preset: "default", "ddpm" or "tiny"; None: "tiny" for "digits", otherwise "default".
        network: custom network, called with (x, time, labels): a class or function that builds it, a module, of which
            copies are trained, or an import path (docs/extending.md). None: the network of the settings.
        loss: custom loss: a function of (denoiser, images, times, noise, labels) that returns one value per image, or
            its import path. None: the loss of the settings.
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
        cache: folder for decoded images and compiled code; None: SFUMATO_CACHE, or the user's cache.
        debug: run GPU operations synchronously, so that an error shows the operation that failed.
        progress: show a progress bar and messages, if stdout is a terminal or a notebook.
        reporter: receives the progress instead.
        should_stop: called after each step; when it returns True, the run is saved and training stops.

    Returns:
        The training state at the end; `.model` has the EMA of the weights, ready for sampling.

    Raises:
        DataError: the images cannot be used for training.
        RunError: the directory contains something else, or cannot be written.
        ConfigError: the settings are inconsistent, or the network or the loss cannot be called.
        TrainingError: the loss or its gradient is no longer finite.
        OutOfMemoryError: a step on a single image does not fit into the device's memory.
        DeviceError: the device failed.
    """
    values: dict[str, Any] = dict(settings or {})
    images = None if isinstance(data, str | Path) else _in_memory(data, labels, values)
    if images is None and labels is not None:
        raise ConfigError("labels were given for a source, which has its own", "Leave them out.")
    if network is not None:
        values["backbone"] = network
    if loss is not None:
        values["loss"] = loss
    if "backbone" in values:
        values["backbone"] = register_network(values["backbone"])
    if "loss" in values:
        values["loss"] = CUSTOM_LOSSES.register(values["loss"])
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
    """The image set of data in memory; raises `ConfigError` for settings for reading a source."""
    not_applicable = [name for name in OF_SOURCES if name in settings]
    if not_applicable:
        raise ConfigError(
            f"{', '.join(not_applicable)} cannot be applied to images in memory",
            "Leave it out, or train on a source: a folder, an archive or an .npz file.",
        )
    if not isinstance(data, ImageSet):
        return from_arrays(data, labels, None if settings.get("range") == "auto" else settings.get("range"))
    if labels is not None or "range" in settings:
        raise ConfigError("labels or a range were given for an ImageSet, which has its own", "Leave them out.")
    return data
