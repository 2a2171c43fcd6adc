"""A model on disk: `model.safetensors` and the `config.json` that says how to build it, loadable alone, anywhere."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Discriminator, Tag
from torch import Tensor, nn

from sfumato.data.conditions import Column
from sfumato.diffusion.denoiser import PARAMETRIZATIONS, PreconditionedDenoiser, check_parametrization
from sfumato.diffusion.schedules import SCHEDULES, Schedule, schedule_for
from sfumato.errors import ConfigError, RunError
from sfumato.networks.convblocks import LOG_NOISE_PERIODS, STEP_PERIODS
from sfumato.networks.convnet import ConvNet, ConvNetConfig
from sfumato.networks.unet import UNet, UNetConfig
from sfumato.utils.depth import EIGHT_BITS, Depth
from sfumato.utils.files import parsed_json, read_notes, read_tensors, read_text, validated, write_tensors, write_whole

WEIGHTS, GUIDE, DESCRIPTION = "model.safetensors", "guide.safetensors", "config.json"
KIND = "sfumato-model"

MODEL, BEST = "model", "best"
"""The folders of a run: its model as it is now, and as it was at the best moment."""

WIDEST = 2**14
"""Channels of any level."""

MOST_TIMESTEPS = 10**6
"""What a file may ask for; a schedule keeps tables as long."""


def _architecture(network: object) -> object:
    """What a description of a network says that it is; those of UNets say nothing."""
    return network.get("architecture", "unet") if isinstance(network, dict) else "unet"


Network = Annotated[
    Annotated[UNetConfig, Tag("unet")] | Annotated[ConvNetConfig, Tag("convnet")],
    Discriminator(
        _architecture,
        custom_error_type="unknown_architecture",
        custom_error_message="Its architecture is unknown, neither convnet nor left out for a UNet",
    ),
]
"""What a network is made of, of any architecture."""


@dataclass(frozen=True)
class Notes:
    """What a file of weights says of itself.

    Attributes:
        images_seen: when it was written.
        description: the digest of the `config.json` that it was written for.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    images_seen: int
    description: str


@dataclass(frozen=True)
class ModelConfig:
    """All that is needed to build a model before its weights are loaded.

    Attributes:
        network: what it is made of.
        schedule: signal and noise over time, a name in `SCHEDULES`, possibly with settings.
        zero_terminal_snr: whether its last step is made to leave no signal.
        shift: by how much noise it is shifted.
        parametrization: what the network predicts, a name in `PARAMETRIZATIONS`.
        image_shape: (C, H, W).
        label_names: the classes in the order of their indices.
        columns: the conditions in the order of a row, instead of classes.
        label_column: what the classes are classes of.
        depth: how pixels are written.
        format: the kind of this file.
        version: of the format.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    network: Network
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
            raise ConfigError(f"of the label names {self.label_names} some are the same", "Give each class its own.")
        self._check_columns()
        if len(self.label_names) != self.network.classes or self.image_shape[0] != self.network.image_channels:
            raise ConfigError(
                f"a network for {self.network.classes} classes and {self.network.image_channels} channels was given "
                f"{len(self.label_names)} label names and images of shape {self.image_shape}",
                "Make them agree.",
            )
        levels, blocks = len(self.network.multipliers), self.network.blocks
        total = sum(blocks) if isinstance(blocks, tuple) else levels * blocks
        widest = self.network.width * max(self.network.multipliers)
        if widest > WIDEST:
            raise ConfigError(f"a network of {widest:,} channels is too wide", f"Choose at most {WIDEST:,}.")
        if min(self.image_shape) < 1 or max(self.image_shape) > 2**14 or total > 10**3:
            raise ConfigError(
                f"images of shape {self.image_shape} and {levels} levels of {blocks} blocks are beyond "
                "what this program was made for",
                "Choose smaller ones.",
            )

    def _check_columns(self) -> None:
        """Raises `ConfigError` unless the network was made for these columns."""
        names = [column.name for column in self.columns]
        if len(set(names)) < len(names):
            raise ConfigError(f"of the columns {', '.join(names)} some are the same", "Give each its own name.")
        sizes = tuple(column.size for column in self.columns)
        if sizes != self.network.columns:
            raise ConfigError(
                f"a network for columns of {self.network.columns} values was given columns of {sizes}",
                "Make them agree.",
            )

    def built_schedule(self) -> Schedule:
        """The schedule that is described."""
        return schedule_for(self.schedule, zero_terminal_snr=self.zero_terminal_snr, shift=self.shift)


def checked_schedule(name: str, zero_terminal_snr: bool, shift: float, parametrization: str) -> Schedule:
    """The schedule that is meant, if a network of this parametrization can learn under it.

    Raises:
        ConfigError: an unknown name or setting, more steps than memory should hold, or a combination that cannot be.
    """
    if not isinstance(name, str):
        raise ConfigError(
            f"a model is saved with the name of its schedule, and {name} is not a name",
            f"Choose among: {', '.join(SCHEDULES)}; or put your schedule into sfumato.diffusion.schedules.SCHEDULES, "
            "before training and before loading.",
        )
    schedule = schedule_for(name, zero_terminal_snr=zero_terminal_snr, shift=shift)
    if (schedule.timesteps or 0) > MOST_TIMESTEPS:
        raise ConfigError(
            f"{schedule.timesteps} timesteps are beyond what this program was made for",
            f"Choose at most {MOST_TIMESTEPS}.",
        )
    check_parametrization(schedule, parametrization)
    return schedule


def build(config: ModelConfig) -> PreconditionedDenoiser:
    """A fresh, untrained model, its weights drawn from torch's global generator."""
    return PreconditionedDenoiser(
        network_for(config),
        config.built_schedule(),
        PARAMETRIZATIONS[config.parametrization],
        config.image_shape,
        config.label_names,
        config.columns,
        config.label_column,
        config.depth,
    )


def network_for(config: ModelConfig) -> nn.Module:
    """A fresh network, told times in waves that suit the c_noise of its parametrization."""
    if isinstance(config.network, UNetConfig):
        return UNet(config.network)
    return ConvNet(config.network, LOG_NOISE_PERIODS if config.parametrization == "edm" else STEP_PERIODS)


def save_description(config: ModelConfig, folder: Path) -> None:
    """Writes `config.json`.

    Raises:
        RunError: it could not be written.
    """
    write_whole(folder / DESCRIPTION, (json.dumps(asdict(config), indent=2) + "\n").encode())


def save_weights(weights: Mapping[str, Tensor], folder: Path, images_seen: int, name: str = WEIGHTS) -> None:
    """Writes `model.safetensors` or another `name`, replacing an older one at once; `config.json` is there already.

    Args:
        weights: of the model's network, by name.
        folder: of the model.
        images_seen: by then.
        name: of the file.

    Raises:
        RunError: it could not be written, or is not finite; an older file is left as it was.
    """
    notes = Notes(images_seen, _digest_of_description(folder))
    write_tensors(folder / name, weights, KIND, asdict(notes))


def read_description(folder: Path) -> ModelConfig:
    """Reads `config.json`.

    Raises:
        RunError: it is missing, broken or not a model's.
    """
    path = folder / DESCRIPTION
    fields = parsed_json(read_text(path), path)
    _mark_opacity(fields)
    return validated(ModelConfig, fields, path)


def _mark_opacity(fields: object) -> None:
    """Descriptions that say nothing of opacity are of models whose fourth channel it was."""
    match fields:
        case {"image_shape": [4, _, _], "depth": {**depth}} if "opacity" not in depth:
            fields["depth"]["opacity"] = True  # type: ignore[index]


def load(path: str | Path, device: str | torch.device = "cpu") -> PreconditionedDenoiser:
    """Loads a model from a run directory, or from its `model` folder wherever that was copied.

    Args:
        path: the folder.
        device: where its weights are put.

    Returns:
        The averaged model in evaluation mode, with its schedule, image shape, label names and columns.

    Raises:
        RunError: there is no model, or its files are truncated, foreign or changed; says which and why.
    """
    model, _ = _loaded(model_folder(Path(path)), WEIGHTS, device)
    return model


def load_guidance_checkpoint(path: str | Path, device: str | torch.device = "cpu") -> PreconditionedDenoiser | None:
    """Loads the weaker self of the model at `path` (as for `load`): its averaged weights early in training.

    `guidance.AutoGuided` takes it. The best model of a run shares that of the run. None if none was kept before the
    model's own moment.

    Raises:
        RunError: as for `load`.
    """
    folder = model_folder(Path(path)).resolve()
    guide = (folder.with_name(MODEL) if folder.name == BEST else folder) / GUIDE
    if not guide.is_file():
        return None
    weaker, moment = _loaded(guide.parent, GUIDE, device)
    return weaker if moment < images_seen(folder) else None


def _loaded(folder: Path, name: str, device: str | torch.device) -> tuple[PreconditionedDenoiser, int]:
    """The model with the weights of a name, and how many images it had seen."""
    model = _outline(read_description(folder), folder / DESCRIPTION)
    tensors, fields = read_tensors(folder / name, KIND)
    check_tensors(model.network.state_dict(), tensors, folder / name)
    notes = validated(Notes, fields, folder / name)
    if notes.description != _digest_of_description(folder):
        raise RunError(
            f"{folder / DESCRIPTION} has been changed since {name} was written for it", "Restore it from a copy."
        )
    model.to_empty(device=device).network.load_state_dict(tensors)
    return model.eval(), notes.images_seen


def images_seen(path: str | Path) -> int:
    """How many images the model at `path` (as for `load`) had seen when it was saved; its weights are not read.

    Raises:
        RunError: there is no model, or its file is truncated or foreign.
    """
    return moment_of(model_folder(Path(path)) / WEIGHTS)


def moment_of(file: Path) -> int:
    """How many images the model whose weights `file` holds had seen when it was saved; they are not read.

    Raises:
        RunError: it is missing, truncated or foreign.
    """
    return validated(Notes, read_notes(file, KIND), file).images_seen


def model_folder(path: Path) -> Path:
    """The folder with the model's files: `path` itself or its `model`.

    Raises:
        RunError: neither has them.
    """
    for folder in (path / MODEL, path):
        if (folder / DESCRIPTION).is_file():
            if (folder / WEIGHTS).is_file():
                return folder
            raise RunError(f"{path} has no trained model yet", "Train it further, with the command that began it.")
    problem = f"{path} holds no model" if path.is_dir() else f"{path} is not a folder"
    raise RunError(problem, "Name a run directory (runs/NAME) or a folder with config.json and model.safetensors.")


def _digest_of_description(folder: Path) -> str:
    return hashlib.blake2b(read_text(folder / DESCRIPTION).encode(), digest_size=16).hexdigest()


def _outline(config: ModelConfig, path: Path) -> PreconditionedDenoiser:
    """The model of `config`, read from `path`, without memory for its weights: a wrong width costs nothing.

    Raises:
        RunError: there can be no such network.
    """
    try:
        with torch.device("meta"):
            return build(config)
    except (RuntimeError, TypeError, ValueError) as error:
        raise RunError(f"{path} describes a network that cannot be built: {error}", "Restore the file.") from error


def load_tensors(module: nn.Module, tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Loads `tensors`, read from `path`, into `module`.

    Raises:
        RunError: as `check_tensors`; the module is then as it was.
    """
    check_tensors(module.state_dict(), tensors, path)
    module.load_state_dict(tensors)


def check_tensors(expected: Mapping[str, torch.Tensor], tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Makes sure that `tensors`, read from `path`, have the names, shapes and dtypes of `expected`, and are finite.

    Raises:
        RunError: something differs; says what.
    """
    for name in sorted(expected.keys() | tensors.keys()):
        if name not in tensors or name not in expected:
            found = "lacks" if name in expected else "has the unknown"
            raise RunError(f"{path} {found} tensor {name}", "It belongs to another network; use the file of this one.")
        wanted, given = expected[name], tensors[name]
        if wanted.shape != given.shape or wanted.dtype != given.dtype:
            raise RunError(
                f"{path} has {name} as {given.dtype} {list(given.shape)}, not {wanted.dtype} {list(wanted.shape)}",
                "It belongs to another network; use the file of this one.",
            )
        if not given.isfinite().all():
            raise RunError(f"{path} has values in {name} that are not finite", "Use an earlier checkpoint.")
