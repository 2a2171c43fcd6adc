"""Reads a run directory: its configuration, training images, folders and checkpoints.

runs/NAME/config.toml              resolved configuration, and a record of the training images
          model/                   the current model (EMA of the weights), which can be loaded alone
          best/                    the best model so far, by validation
          checkpoints/             the last checkpoints
          metrics.jsonl            one measurement per line
          samples/                 preview grids, always from the same seeds
          log.txt                  messages to the user
"""

import re
import tomllib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

from sfumato.data import ImageSet, read_images
from sfumato.data.conditions import Column
from sfumato.data.sources import DEFAULT_OPTIONS, ReadOptions
from sfumato.errors import DataError, RunError
from sfumato.models import BEST, DESCRIPTION, MODEL, MODEL_WEIGHTS, images_seen
from sfumato.training.config import (
    ADOPTED,
    DiffusionConfig,
    NetworkConfig,
    OptimizationConfig,
    TrainConfig,
    differences,
    with_settings,
)
from sfumato.training.data_config import DataConfig
from sfumato.training.measurements import Best
from sfumato.training.state import Budget
from sfumato.utils.files import read_text, validated
from sfumato.utils.imports import is_same_code

CONFIG = "config.toml"

MOST_SETTINGS = 5000
DEEP_KEY = re.compile(r'(?:\.\s*(?:"[^"\n]*"|[\w-]+)\s*){10}=')
"""A key nested in ten tables."""

NETWORK_SIZES = ("width", "multipliers", "blocks", "patch")

Table = TypeVar("Table", DataConfig, DiffusionConfig, NetworkConfig, OptimizationConfig)


@dataclass(frozen=True)
class DataRecord:
    """Description of the training images of a run.

    Attributes:
        images: number of images, validation images included.
        image_shape: (C, H, W).
        label_names: names of the classes; empty without labels.
        fingerprint: hash of the pixels and labels.
        columns: columns of conditions, instead of classes.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    images: int
    image_shape: tuple[int, int, int]
    label_names: tuple[str, ...]
    fingerprint: str
    columns: tuple[Column, ...] = ()

    @staticmethod
    def of(images: ImageSet) -> "DataRecord":
        """The record of a data set."""
        return DataRecord(len(images), images.image_shape, images.label_names, images.fingerprint(), images.columns)


@dataclass(frozen=True)
class RunRecord:
    """The content of config.toml."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    config: TrainConfig
    learned: DataRecord
    format: Literal["sfumato-run"] = field(default="sfumato-run", kw_only=True)
    version: Literal[2] = field(default=2, kw_only=True)


def read_record(path: str | Path) -> RunRecord:
    """Reads the config.toml of the run directory `path`.

    Raises:
        RunError: `path` is not a run directory, or its config.toml is broken or of another kind.
    """
    file = Path(path) / CONFIG
    if not file.is_file():
        raise RunError(
            f"{path} is not a run directory: it has no {CONFIG}", "Give a directory made by `sfumato train`."
        )
    text = read_text(file)
    if text.count("=") > MOST_SETTINGS or DEEP_KEY.search(text):  # the parser's time grows with their square
        raise RunError(f"{file} has too many settings for a run", "Restore the file from a copy.")
    try:
        fields = tomllib.loads(text)
        if fields.get("version") == 1:
            raise RunError(f"{file} was written by an earlier sfumato", "Train anew, or use the version that made it.")
        return validated(RunRecord, fields, file)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{file} is not valid TOML: {error}", "Restore the file from a copy.") from error


def changes(before: RunRecord, now: RunRecord) -> list[str]:
    """Differences between two records in settings or data, for error messages."""
    found = differences(before.config, now.config)
    for name, words in (("images", "images"), ("image_shape", "image shape"), ("label_names", "classes")):
        old, new = getattr(before.learned, name), getattr(now.learned, name)
        if old != new:
            found.append(f"{words}: {old} -> {new}")
    old_columns, new_columns = (", ".join(map(str, one.learned.columns)) for one in (before, now))
    if old_columns != new_columns:
        found.append(f"columns: {old_columns or 'none'} -> {new_columns or 'none'}")
    if not found and before.learned.fingerprint != now.learned.fingerprint:
        found.append("pixels of the images, their range of values, or labels differ")
    return found


def is_model(path: Path) -> bool:
    """Whether `path` is a run directory or a model folder."""
    return any((path / name).is_file() for name in (CONFIG, DESCRIPTION, f"{MODEL}/{DESCRIPTION}"))


def run_containing(path: Path) -> Path | None:
    """The run directory of a folder: itself, or its parent if it is a `model` or `best` folder; otherwise None."""
    if (path / CONFIG).is_file():
        return path
    is_model = (path / DESCRIPTION).is_file()
    return path.parent if is_model and (path.parent / CONFIG).is_file() else None


def kept_best(path: str | Path, best: Best | None) -> Path | None:
    """The folder of the best model of the run directory `path`; None if it is missing or from other images seen.

    After a resume from an earlier checkpoint, best/ may hold a later model until training reaches it again. The weights
    are not read.
    """
    folder = Path(path) / BEST
    try:
        return folder if best is not None and images_seen(folder) == best.images else None
    except RunError:
        return None


def has_saved_model(path: Path) -> bool:
    """Whether the run directory `path` contains a saved model."""
    return (path / MODEL / MODEL_WEIGHTS).exists()


def checkpoints(path: Path) -> list[Path]:
    """Checkpoint files of the run directory `path`, newest first."""
    return sorted((path / "checkpoints").glob("*.safetensors"), reverse=True)


def checkpoint_at(path: Path, images_seen: int) -> Path:
    """File of the checkpoint after `images_seen` images, which need not exist."""
    return path / "checkpoints" / f"{images_seen:012d}.safetensors"


def has_trained(path: Path) -> bool:
    """Whether the run directory `path` contains a model or a checkpoint after the initial one."""
    return has_saved_model(path) or any(checkpoint != checkpoint_at(path, 0) for checkpoint in checkpoints(path))


def configured_images(config: TrainConfig, cache: Path | None = None) -> ImageSet:
    """Loads the images of a configuration; errors are those of `load_images`."""
    data = config.data
    return read_images(config.source, data.options(), data.labels, data.condition, cache)


def training_images(path: str | Path, cache: Path | None = None) -> ImageSet | None:
    """Loads the training images of the run directory `path`; None if they are missing or have changed."""
    record = read_record(path)
    try:
        images = configured_images(record.config, cache)
    except DataError:
        return None
    return images if DataRecord.of(images) == record.learned else None


def training_options(path: str | Path) -> ReadOptions:
    """Options with which the run at `path` read its images; the defaults for a model without its run directory."""
    return read_record(path).config.data.options() if (Path(path) / CONFIG).is_file() else DEFAULT_OPTIONS


def config_to_resume(config: TrainConfig, path: str | Path) -> TrainConfig:
    """Sets unset settings to those of the run directory `path`, if there is a run.

    The size of the network, the batch size and the augmentation are taken over only if the run has trained, and so are
    all settings that a run with `--from` has from its model. Another spelling of the same path becomes that of the run.
    """
    if not (Path(path) / CONFIG).is_file():
        return config
    before = read_record(path).config
    is_unlimited = config.optimization.images is None and config.optimization.minutes is None
    budget = {"images", "minutes"} if is_unlimited else set()
    is_trained = has_trained(Path(path))
    sizes = {"augment", "batch", "times", *NETWORK_SIZES} if is_trained else set()
    tables = {
        name: _filled_from(getattr(config, name), getattr(before, name), budget | sizes)
        for name in ("data", "network", "diffusion", "optimization")
    }
    if is_same_code(config.network.backbone, before.network.backbone):
        tables["network"] = replace(tables["network"], backbone=before.network.backbone)
    if is_same_code(config.diffusion.loss, before.diffusion.loss):
        tables["diffusion"] = replace(tables["diffusion"], loss=before.diffusion.loss)
    resumed = replace(config, **tables)
    if not is_trained or config.network.start is None:
        return resumed
    adopted = set(ADOPTED) - ({"backbone"} if config.network.is_custom else set())
    adopted |= {"start"} if _is_same_path(config.network.start, before.network.start) else set()
    values = vars(before.network) | vars(before.diffusion)
    return with_settings(resumed, {name: values[name] for name in adopted})


def has_other_budget(config: TrainConfig, path: str | Path) -> bool:
    """Whether the settings change the budget of the run directory `path`, if it has trained."""
    if not (Path(path) / CONFIG).is_file() or not has_trained(Path(path)):
        return False
    budget_now, budget_before = (
        Budget.of(c.optimization) for c in (config_to_resume(config, path), read_record(path).config)
    )
    return budget_now != budget_before


def _is_same_path(one: str, other: str | None) -> bool:
    """Whether two paths are the same."""
    return other is not None and Path(one).resolve() == Path(other).resolve()


def _filled_from(table: Table, before: Table, names: set[str]) -> Table:
    """Sets the named settings that are None to the values in `before`."""
    open_names = {field.name for field in fields(table) if getattr(table, field.name) is None} & names
    return replace(table, **{name: getattr(before, name) for name in open_names})
