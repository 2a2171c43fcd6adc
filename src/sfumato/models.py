"""Saves and loads models: weights in `model.safetensors`, and the model configuration in `config.json`."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from sfumato.data.conditions import Column
from sfumato.diffusion.denoiser import (
    PARAMETRIZATIONS,
    PreconditionedDenoiser,
    check_parametrization,
    with_time_input,
)
from sfumato.diffusion.schedules import SCHEDULES, Schedule, build_schedule
from sfumato.errors import ConfigError, RunError
from sfumato.networks.architectures import LOG_NOISE, STEP, Architecture, build_network
from sfumato.networks.custom import BUILDERS, Builder, CustomConfig, register_network
from sfumato.utils.depth import EIGHT_BITS, Depth
from sfumato.utils.files import (
    cannot_write,
    check_finite,
    check_tensors,
    check_weights,
    parsed_json,
    read_notes,
    read_tensors,
    read_text,
    validated,
    write_tensors,
    write_whole,
)
from sfumato.utils.imports import parse_path
from sfumato.utils.text import first_line, printable

MODEL_WEIGHTS, GUIDANCE_WEIGHTS, DESCRIPTION = "model.safetensors", "guidance.safetensors", "config.json"
KIND = "sfumato-model"

MODEL, BEST = "model", "best"
"""Folders in a run directory: the current model and the best model."""

PLACES = (
    "Give a run directory (runs/NAME), a folder with config.json and model.safetensors, a folder of diffusers, or "
    "hf:USER/NAME for a model on the Hugging Face Hub."
)
"""Remedy for a path without a model."""

MAX_SIDE = 2**14
"""Maximum side of an image in pixels."""

MAX_TIMESTEPS = 10**6
"""Maximum number of timesteps in a file; a schedule stores tables of this length."""


@dataclass(frozen=True)
class Notes:
    """Metadata of a file of weights.

    Attributes:
        images_seen: images that the model had been trained on.
        description: digest of the `config.json` that belongs to the weights.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    images_seen: int
    description: str


@dataclass(frozen=True)
class ModelConfig:
    """Configuration of a model: the content of `config.json`.

    Attributes:
        network: architecture of the network.
        schedule: noise schedule, a name in `SCHEDULES`, optionally with settings.
        zero_terminal_snr: whether the schedule is rescaled to zero SNR at the last timestep.
        shift: shift of the schedule towards more noise; 1 is none.
        parametrization: prediction target of the network, a name in `PARAMETRIZATIONS`.
        image_shape: (C, H, W).
        label_names: names of the classes, in the order of their indices.
        columns: columns of conditions, instead of classes.
        label_column: name of the column of the classes.
        depth: pixel type of the images.
        format: kind of the file.
        version: version of the format.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    network: Architecture
    schedule: str
    zero_terminal_snr: bool
    shift: float
    parametrization: str
    image_shape: tuple[int, int, int]
    label_names: tuple[str, ...]
    columns: tuple[Column, ...] = ()
    label_column: str = "label"
    depth: Depth = EIGHT_BITS
    format: Literal["sfumato-model"] = "sfumato-model"
    version: Literal[1] = 1

    def __post_init__(self) -> None:
        checked_schedule(self.schedule, self.zero_terminal_snr, self.shift, self.parametrization)
        if len(set(self.label_names)) < len(self.label_names):
            raise ConfigError(f"label names {self.label_names} are not unique", "Give each class a different name.")
        self._check_columns()
        if len(self.label_names) != self.network.classes or self.image_shape[0] != self.network.image_channels:
            raise ConfigError(
                f"the network has {self.network.classes} classes and {self.network.image_channels} image channels, but "
                f"there are {len(self.label_names)} label names and images of shape {self.image_shape}",
                "Give as many label names as classes, and images with as many channels as the network.",
            )
        if min(self.image_shape) < 1 or max(self.image_shape) > MAX_SIDE:
            raise ConfigError(
                f"the image shape {self.image_shape} is out of range", f"Choose sides of 1 to {MAX_SIDE:,} pixels."
            )

    def _check_columns(self) -> None:
        """Raises `ConfigError` unless the columns fit the network."""
        names = [column.name for column in self.columns]
        if len(set(names)) < len(names):
            raise ConfigError(f"the columns {', '.join(names)} are not unique", "Give each column a different name.")
        sizes = tuple(column.size for column in self.columns)
        if sizes != self.network.columns:
            raise ConfigError(
                f"the network has columns of {self.network.columns} values, but the columns have {sizes}",
                "Give the columns that the network was built for.",
            )

    def built_schedule(self) -> Schedule:
        """Builds the noise schedule."""
        return build_schedule(self.schedule, zero_terminal_snr=self.zero_terminal_snr, shift=self.shift)


def checked_schedule(name: str, zero_terminal_snr: bool, shift: float, parametrization: str) -> Schedule:
    """Builds a noise schedule and checks that it can be combined with the parametrization.

    Raises:
        ConfigError: an unknown name or setting, too many timesteps, or an invalid combination.
    """
    if not isinstance(name, str):
        raise ConfigError(
            f"the schedule {name} is not a name, which a saved model needs",
            f"Choose among: {', '.join(SCHEDULES)}; or register your schedule in sfumato.diffusion.schedules.SCHEDULES "
            "before training and before loading.",
        )
    schedule = build_schedule(name, zero_terminal_snr=zero_terminal_snr, shift=shift)
    if (schedule.timesteps or 0) > MAX_TIMESTEPS:
        raise ConfigError(
            f"{schedule.timesteps} timesteps are too many",
            f"Choose at most {MAX_TIMESTEPS}.",
        )
    check_parametrization(schedule, parametrization)
    return schedule


class Model(PreconditionedDenoiser):
    """A denoiser built from a configuration, which can be saved.

    Attributes:
        images_seen: images that the loaded model had been trained on, repetitions included.
    """

    def __init__(self, config: ModelConfig) -> None:
        default = LOG_NOISE if config.parametrization == "edm" else STEP
        network, parametrization = build_network(config.network, default), PARAMETRIZATIONS[config.parametrization]
        if isinstance(config.network, CustomConfig):
            parametrization = with_time_input(parametrization, getattr(type(network), "time_input", STEP))
        super().__init__(
            network,
            config.built_schedule(),
            parametrization,
            config.image_shape,
            config.label_names,
            config.columns,
            config.label_column,
            config.depth,
        )
        self.config, self.images_seen = config, 0
        self.is_custom = isinstance(config.network, CustomConfig)
        self.built = {name: tensor.to("meta") for name, tensor in network.state_dict().items()}


def save(model: PreconditionedDenoiser, folder: str | Path) -> None:
    """Saves a model as `config.json` and `model.safetensors`, which `load` reads.

    Args:
        model: model from `load` or `sf.train`, without wrappers (guidance, `accelerated`).
        folder: folder to write to; created if it does not exist. An existing model is replaced.

    Raises:
        ConfigError: the model was not built from a configuration, its network was changed, or a weight is not finite.
        RunError: the folder is a run directory or part of one, or cannot be written.
    """
    if not isinstance(model, Model):
        raise ConfigError(
            f"a {type(model).__name__} cannot be saved", "Save the model from sf.load or sf.train, without wrappers."
        )
    folder, weights = Path(folder), checked_weights(model, "Save")
    is_part = folder.name in (MODEL, BEST) and (folder.parent / "checkpoints").is_dir()
    if (folder / MODEL).is_dir() or is_part:
        raise RunError(
            f"{folder} is a run directory or part of one, which has a model already", "Choose another folder."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    save_description(model.config, folder)
    save_weights(weights, folder, model.images_seen)


def checked_weights(model: Model, action: str, name: str = "the model") -> dict[str, Tensor]:
    """Copies of the weights of a model on the CPU, to write them to a file.

    Args:
        model: model to save or export.
        action: first word of the remedy, such as "Save".
        name: name of the model in the error message.

    Raises:
        ConfigError: the network was changed, or a weight is not finite.
    """
    weights = {key: tensor.to("cpu", copy=True).contiguous() for key, tensor in model.network.state_dict().items()}
    try:
        check_tensors(model.built, weights, Path(name))
        check_finite({key: weights[key] for key, _ in model.network.named_parameters()}, name)
    except RunError as error:
        remedy = f"{action} the model from sf.load or sf.train, without changes of its network."
        raise ConfigError(error.problem, remedy) from error
    return weights


def save_description(config: ModelConfig, folder: Path) -> None:
    """Writes `config.json`."""
    write_whole(folder / DESCRIPTION, (json.dumps(asdict(config), indent=2) + "\n").encode())


def save_weights(weights: Mapping[str, Tensor], folder: Path, images_seen: int, name: str = MODEL_WEIGHTS) -> None:
    """Writes a file of weights to a folder that contains `config.json`. An existing file is replaced atomically.

    Raises:
        RunError: the file cannot be written; an existing file remains unchanged.
    """
    notes = Notes(images_seen, _digest_of_description(folder))
    write_tensors(folder / name, weights, KIND, asdict(notes))


def read_description(folder: Path) -> ModelConfig:
    """Reads `config.json`.

    Raises:
        RunError: the file is missing, broken or of another kind.
    """
    path = folder / DESCRIPTION
    fields = parsed_json(read_text(path), path)
    if isinstance(fields, dict) and "format" not in fields:
        kind = str(fields.get("model_type") or fields.get("architectures") or "no format")
        problem = f"{folder} contains no model of sfumato or diffusers ({DESCRIPTION}: {printable(kind[:80])})"
        raise RunError(problem, PLACES)
    match fields:
        case {"image_shape": [4, _, _], "depth": {**depth}} if "opacity" not in depth:
            fields["depth"]["opacity"] = True  # in files of earlier versions the fourth channel is always opacity
    return validated(ModelConfig, fields, path)


def load(
    path: str | Path, device: str | torch.device = "cpu", *, network: str | Builder | nn.Module | None = None
) -> Model:
    """Loads a model from a run directory or a model folder; arguments, result and errors are those of `sf.load`."""
    folder = model_folder(Path(path))
    if network is not None:
        given, known = register_network(network), read_description(folder).network
        own = known.architecture if isinstance(known, CustomConfig) else "part of sfumato"
        if not isinstance(known, CustomConfig) or parse_path(own)["name"] != parse_path(given)["name"]:
            raise ConfigError(
                f"the network {given} was given, but that of the model is {own}", "Give that one, or none."
            )
        BUILDERS.add_spelling(own, given)
    return _loaded(folder, MODEL_WEIGHTS, device)


def load_guidance_checkpoint(path: str | Path, device: str | torch.device = "cpu") -> Model | None:
    """Loads the guidance checkpoint of a model: its EMA weights early in training, for `guidance.AutoGuided`.

    The best model of a run uses the guidance checkpoint of the run. Arguments and errors are those of `load`.

    Returns:
        The weaker model; None if there is no guidance checkpoint that is earlier than the model.
    """
    folder = model_folder(Path(path)).resolve()
    file = (folder.with_name(MODEL) if folder.name == BEST else folder) / GUIDANCE_WEIGHTS
    if not file.is_file():
        return None
    weaker = _loaded(file.parent, GUIDANCE_WEIGHTS, device)
    return weaker if weaker.images_seen < images_seen(folder) else None


def _loaded(folder: Path, name: str, device: str | torch.device) -> Model:
    """Loads a model with the weights in the file `name`."""
    path = folder / DESCRIPTION
    model = build_described(read_description(folder), path)
    tensors, fields = read_tensors(folder / name, KIND)
    check_weights(model.network, tensors, folder / name)
    notes = validated(Notes, fields, folder / name)
    if notes.description != _digest_of_description(folder):
        raise RunError(f"{path} was changed after {name} was written", "Restore it from a copy.")
    model = model.to(device) if model.is_custom else model.to_empty(device=device)
    model.network.load_state_dict(tensors)
    model.images_seen = notes.images_seen
    return model.eval()


def images_seen(path: str | Path) -> int:
    """Images that the model at `path` (as for `load`) was trained on. Does not read the weights.

    Raises:
        RunError: there is no model, or the file is truncated or of another kind.
    """
    return images_seen_in(model_folder(Path(path)) / MODEL_WEIGHTS)


def images_seen_in(file: Path) -> int:
    """Images that the model with the weights in `file` was trained on; raises the errors of `images_seen`."""
    return validated(Notes, read_notes(file, KIND), file).images_seen


def model_folder(path: Path) -> Path:
    """The folder with the files of the model: `path` itself or its subfolder `model`.

    Raises:
        RunError: neither contains a model.
    """
    for folder in (path / MODEL, path):
        if (folder / DESCRIPTION).is_file():
            if (folder / MODEL_WEIGHTS).is_file():
                return folder
            read_description(folder)  # raises the error of a model of another library
            raise RunError(f"{path} has no trained model yet", "Resume it with the command that started it.")
    problem = f"{path} contains no model" if path.is_dir() else f"{path} is not a folder"
    raise RunError(problem, PLACES)


def _digest_of_description(folder: Path) -> str:
    return hashlib.blake2b(read_text(folder / DESCRIPTION).encode(), digest_size=16).hexdigest()


def build_on_meta(config: ModelConfig) -> Model:
    """Builds a model on the meta device, so that its weights need no memory.

    A model with a custom network is built on the CPU, because its constructor may compute buffers.
    """
    with torch.device("cpu" if isinstance(config.network, CustomConfig) else "meta"):
        return Model(config)


def build_described(config: ModelConfig, file: Path) -> Model:
    """Builds a model from a configuration in `file`, as `build_on_meta`.

    Raises:
        RunError: the network cannot be built.
    """
    try:
        return build_on_meta(config)
    except (RuntimeError, TypeError, ValueError) as error:
        problem = f"{file} describes a network that cannot be built: {first_line(error)}"
        raise RunError(problem, "Restore it from a copy.") from error
