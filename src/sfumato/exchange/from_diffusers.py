"""Import of a folder of diffusers. No code in it is run."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from sfumato.errors import ConfigError, RunError
from sfumato.exchange.diffusers_names import sfumato_state, with_new_names
from sfumato.exchange.foreign import ForeignModel, foreign_model
from sfumato.exchange.layout import (
    CONFIG,
    DESCRIPTION,
    INDEX,
    LIBRARY,
    PIPELINE,
    SCHEDULER_CONFIG,
    STOCK_DESCRIPTION,
)
from sfumato.exchange.schedulers import Noise, noise_of, own_scheduler
from sfumato.exchange.to_diffusers import network_config
from sfumato.exchange.unet2d import UNet2DSettings, check_settings, our_config
from sfumato.exchange.weights import COPY, as_float32, read_weights
from sfumato.models import Model, ModelConfig, build_described
from sfumato.networks.custom import CustomConfig
from sfumato.utils.files import parsed_json, read_text, validated

UNET = "UNet2DModel"


def is_diffusers_folder(folder: Path) -> bool:
    """Whether a folder is in the format of diffusers: a pipeline, or a single network."""
    if (folder / INDEX).is_file():
        return True
    try:
        return "_diffusers_version" in _read_json(folder / CONFIG)
    except RunError:
        return False


def component_folder(folder: Path, name: str) -> Path:
    """The subfolder of a component; the folder itself in the layout of old models."""
    return folder / name if (folder / name).is_dir() else folder


def check_components(folder: Path, name: object) -> None:
    """Raises `RunError` unless the configurations in a folder, called `name` in the message, can be imported."""
    if not is_diffusers_folder(folder):
        raise RunError(
            f"{name} contains no {INDEX} and no {CONFIG} of diffusers",
            "Choose a model with a UNet2DModel, such as hf:google/ddpm-cifar10-32.",
        )
    index = _read_index(folder)
    if not index.is_own:
        _read_stock(folder, index)


def read_model(folder: Path) -> Model | ForeignModel:
    """Reads the model of a folder, on the CPU and in evaluation mode.

    Args:
        folder: folder of a pipeline with the components `unet` and `scheduler`, in subfolders or at the top.

    Returns:
        A model with our network where it is the same as that of the folder, otherwise with the network of diffusers.

    Raises:
        RunError: a pipeline of other components, a file that is missing, broken or of another network, a scheduler
            without an equivalent, or a network that needs diffusers, which is not installed.
    """
    index = _read_index(folder)
    return _own_model(folder, index, "unet") if index.is_own else _stock_model(folder, index)


def read_weaker(folder: Path) -> Model | None:
    """Reads the guidance checkpoint of a folder that sfumato exported, or None. Errors are those of `read_model`."""
    index = _read_index(folder)
    return _own_model(folder, index, "weaker") if index.is_own and "weaker" in index.components else None


@dataclass(frozen=True)
class _Description:
    """Configuration of an exported model, and the images that its networks were trained on."""

    config: ModelConfig
    images_seen: int
    weaker_images_seen: int

    def __post_init__(self) -> None:
        if isinstance(self.config.network, CustomConfig):
            raise ConfigError(
                f"the network {self.config.network.architecture} is not part of sfumato, and its code is not run",
                "Only models with a network of sfumato or of diffusers can be imported.",
            )


@dataclass(frozen=True)
class _Index:
    """Content of `model_index.json`.

    Attributes:
        pipeline: name of the class; module and class of a pipeline with its own code.
        components: library and class of each component that the pipeline has.
        description: description of a model that sfumato exported.
    """

    pipeline: str | tuple[str, str]
    components: dict[str, tuple[str, str]]
    description: _Description | None

    @property
    def is_own(self) -> bool:
        """Whether sfumato exported the folder with its own pipeline."""
        return isinstance(self.pipeline, tuple) and self.pipeline[1] == PIPELINE and self.description is not None


@dataclass(frozen=True)
class _Stock:
    """The configurations of a pipeline of stock classes."""

    unet: Path
    settings: UNet2DSettings
    noise: Noise


def _read_index(folder: Path) -> _Index:
    """Reads `model_index.json`; without that file, the folder is taken for a network and a scheduler.

    Raises:
        RunError: a broken file, or components that cannot be imported.
    """
    file = folder / INDEX
    if not file.is_file():
        return _Index("", {}, None)
    content = _read_json(file)
    lists = {name: value for name, value in content.items() if isinstance(value, list) and not name.startswith("_")}
    index = validated(
        _Index,
        {
            "pipeline": content.get("_class_name"),
            "components": {name: value for name, value in lists.items() if value[:1] != [None]},
            "description": _description(content),
        },
        file,
    )
    if index.is_own:
        return index
    if isinstance(index.pipeline, tuple):
        raise RunError(
            f"{folder} contains a pipeline with its own code, {'.'.join(index.pipeline)}, which sfumato does not run",
            "Only pipelines of a UNet2DModel and a scheduler, and those that sfumato exported, can be imported.",
        )
    if index.components.keys() != {"unet", "scheduler"} or index.components["unet"] != (LIBRARY, UNET):
        found = ", ".join(f"{name} ({kind})" for name, (_, kind) in sorted(index.components.items())) or "none"
        raise RunError(
            f"{folder} is a {index.pipeline} with the components {found}, not a {UNET} of images and a scheduler alone",
            "Choose another model, such as hf:google/ddpm-cifar10-32.",
        )
    return index


def _description(content: Mapping[str, Any]) -> dict[str, Any] | None:
    """The fields of `_Description` in `model_index.json`, or None."""
    description = content.get(DESCRIPTION if isinstance(content.get("_class_name"), list) else STOCK_DESCRIPTION)
    if not isinstance(description, dict):
        return None
    seen = {name: description.get(name, 0) for name in ("images_seen", "weaker_images_seen")}
    return {"config": {name: value for name, value in description.items() if name not in seen}, **seen}


def _own_model(folder: Path, index: _Index, name: str) -> Model:
    """A network of a folder that sfumato exported with its own pipeline."""
    described = index.description
    assert described is not None  # see `is_own`
    seen = described.images_seen if name == "unet" else described.weaker_images_seen
    model = _our_model(described.config, read_weights(folder / name), folder / name, seen)
    _check_unchanged(folder / name / CONFIG, network_config(model))
    _check_unchanged(folder / "scheduler" / SCHEDULER_CONFIG, own_scheduler(model))
    return model


def _check_unchanged(file: Path, expected: Mapping[str, Any]) -> None:
    """Raises `RunError` if a file, which diffusers reads, has other settings than the description of the model."""
    found = _read_json(file)
    for name, value in expected.items():
        if not _is_same(found.get(name), value):
            raise RunError(f"{file} was changed after the export: its field {name!r} differs from {INDEX}", COPY)


def _is_same(found: object, expected: object) -> bool:
    """Whether a value of a JSON file is the expected one, up to the rounding of another machine."""
    if isinstance(expected, tuple | list):
        values = found if isinstance(found, list) else []
        return len(values) == len(expected) and all(_is_same(*pair) for pair in zip(values, expected, strict=True))
    if isinstance(found, float) and isinstance(expected, float):
        return math.isclose(found, expected, rel_tol=1e-6)
    return found == expected


def _stock_model(folder: Path, index: _Index) -> Model | ForeignModel:
    """The model of a folder of stock classes."""
    stock = _read_stock(folder, index)
    network, weights, noise = our_config(stock.settings), read_weights(stock.unet), stock.noise
    if network is None or noise.time_scale != 1:
        renamed = {with_new_names(name): weight for name, weight in weights.items()}
        return foreign_model(stock.settings, noise, renamed, stock.unet)
    shape = stock.settings.image_shape
    config = ModelConfig(network, noise.schedule, noise.zero_terminal_snr, 1.0, noise.parametrization, shape, ())
    seen = 0 if index.description is None else index.description.images_seen
    return _our_model(config, _with_our_names(weights, stock.unet), stock.unet, seen)


def _read_stock(folder: Path, index: _Index) -> _Stock:
    """Reads the configurations of a folder of stock classes.

    The description of a model that sfumato exported only gives the name of its schedule, if the scheduler has the same
    betas: other programs may have changed the files.
    """
    unet, scheduler = component_folder(folder, "unet"), component_folder(folder, "scheduler") / SCHEDULER_CONFIG
    config = _read_json(unet / CONFIG)
    if config.get("_class_name") != UNET:
        raise RunError(
            f"{unet} contains a {config.get('_class_name', 'network without a name')}, not a {UNET}",
            f"Choose a model of images with a {UNET}.",
        )
    if not scheduler.is_file():
        raise RunError(
            f"{folder} has no {SCHEDULER_CONFIG}, which defines the noise levels of the network",
            "Give the folder of the whole pipeline, or add the file of the scheduler.",
        )
    settings = validated(UNet2DSettings, config, unet / CONFIG)
    check_settings(settings, unet / CONFIG)
    known = () if index.description is None else (index.description.config.schedule,)
    return _Stock(unet, settings, noise_of(_read_json(scheduler), scheduler, known))


def _our_model(config: ModelConfig, weights: Mapping[str, Tensor], component: Path, images_seen: int) -> Model:
    """A model of our network with these weights."""
    model = build_described(config, component)
    converted = as_float32(weights, model.network.state_dict(), component)
    model = model.to_empty(device="cpu")
    model.network.load_state_dict(converted)
    model.images_seen = images_seen
    return model.eval()


def _with_our_names(weights: Mapping[str, Tensor], component: Path) -> dict[str, Tensor]:
    """The weights of a `UNet2DModel` with our names."""
    try:
        return sfumato_state(weights)
    except (KeyError, RuntimeError) as error:  # a name that is unknown or missing, or shapes that cannot be joined
        raise RunError(f"{component} has weights of another network: {error}", COPY) from error


def _read_json(file: Path) -> dict[str, Any]:
    """Content of a JSON file with an object."""
    if file.exists() and not file.is_file():  # reading a pipe would not end
        raise RunError(f"{file} is not a file", COPY)
    content = parsed_json(read_text(file), file)
    if not isinstance(content, dict):
        raise RunError(f"{file} is not a JSON object", COPY)
    return content
