"""What a run directory holds, for all who read it: its record, what it learned from, its folders, its checkpoints.

runs/NAME/config.toml              what was asked, complete, and what it was trained on
          model/                   the averaged model, loadable alone
          best/                    the same of the best moment so far, by what was measured
          checkpoints/             the last few, each written whole
          metrics.jsonl            one measurement a line
          samples/                 preview grids, of the same seeds every time
          log.txt                  what was said
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
from sfumato.models import BEST, DESCRIPTION, MODEL, WEIGHTS, images_seen
from sfumato.training.budget import Budget
from sfumato.training.config import (
    DataConfig,
    DiffusionConfig,
    NetworkConfig,
    OptimizationConfig,
    TrainConfig,
    differences,
)
from sfumato.training.measurements import Best
from sfumato.utils.files import read_text, validated

CONFIG = "config.toml"

MOST_SETTINGS = 5000
DEEP_KEY = re.compile(r'(?:\.\s*(?:"[^"\n]*"|[\w-]+)\s*){10}=')
"""A key of a table in a table in a table ..., ten times."""

SIZES = ("width", "multipliers", "blocks", "patch")

Table = TypeVar("Table", DataConfig, DiffusionConfig, NetworkConfig, OptimizationConfig)


@dataclass(frozen=True)
class DataRecord:
    """What a run was trained on.

    Attributes:
        images: how many there are, the held-out ones included.
        image_shape: (C, H, W).
        label_names: the classes; empty without labels.
        fingerprint: a hash of pixels and labels.
        columns: the conditions, instead of classes.
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
    version: Literal[1] = field(default=1, kw_only=True)


def read_record(path: str | Path) -> RunRecord:
    """What the run at `path` was asked, and what it was trained on.

    Raises:
        RunError: there is no run, or its config.toml is broken or foreign.
    """
    file = Path(path) / CONFIG
    if not file.is_file():
        raise RunError(f"{path} is not a run directory: it has no {CONFIG}", "Name one that `sfumato train` made.")
    text = read_text(file)
    if text.count("=") > MOST_SETTINGS or DEEP_KEY.search(text):  # the parser's time grows with their square
        raise RunError(f"{file} has more settings than a run can have", "Restore it as it was.")
    try:
        return validated(RunRecord, tomllib.loads(text), file)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{file} is not TOML that sfumato wrote: {error}", "Restore it as it was.") from error


def changes(before: RunRecord, now: RunRecord) -> list[str]:
    """What differs between two records in settings or data, in words."""
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
    """Whether `path` is a run directory or the folder of a model, which `models.load` loads if it has been trained."""
    return any((path / name).is_file() for name in (CONFIG, DESCRIPTION, f"{MODEL}/{DESCRIPTION}"))


def run_containing(path: Path) -> Path | None:
    """The run that a folder belongs to: a run directory itself, or that around a `model` or `best`; None elsewhere."""
    if (path / CONFIG).is_file():
        return path
    is_model = (path / DESCRIPTION).is_file()
    return path.parent if is_model and (path.parent / CONFIG).is_file() else None


def kept_best(path: str | Path, best: Best | None) -> Path | None:
    """The folder that keeps the model of the best moment of the run at `path`; None if it is of another, or not there.

    Another it is after a resume from a checkpoint before it, until training has come as far again. Its weights are not
    read, so that a change of them shows only when it is loaded.
    """
    folder = Path(path) / BEST
    try:
        return folder if best is not None and images_seen(folder) == best.images else None
    except RunError:
        return None


def has_saved_model(path: Path) -> bool:
    """Whether the run at `path` has saved a model."""
    return (path / MODEL / WEIGHTS).exists()


def checkpoints(path: Path) -> list[Path]:
    """The checkpoints of the run at `path`, newest first."""
    return sorted((path / "checkpoints").glob("*.safetensors"), reverse=True)


def checkpoint_at(path: Path, images_seen: int) -> Path:
    """The checkpoint of the run at `path` after so many images, whether it is there or not."""
    return path / "checkpoints" / f"{images_seen:012d}.safetensors"


def has_trained(path: Path) -> bool:
    """Whether the run at `path` has saved more than what it began with."""
    return has_saved_model(path) or any(checkpoint != checkpoint_at(path, 0) for checkpoint in checkpoints(path))


def configured_images(config: TrainConfig, cache: Path | None = None) -> ImageSet:
    """The images that a run of this configuration learns from; errors are those of `load_images`.

    Args:
        config: names the source, and says what is asked of the images.
        cache: where decoded images are kept; None: SFUMATO_CACHE, or the user's cache.
    """
    data = config.data
    return read_images(config.source, data.options(), data.labels, data.condition, cache)


def training_images(path: str | Path, cache: Path | None = None) -> ImageSet | None:
    """The images that the run at `path` learned from, or None if they are no longer there or no longer the same.

    Raises:
        RunError: there is no run.
    """
    record = read_record(path)
    try:
        images = configured_images(record.config, cache)
    except DataError:
        return None
    return images if DataRecord.of(images) == record.learned else None


def training_options(path: str | Path) -> ReadOptions:
    """How the run at `path` read its images; the defaults for a model without its run.

    Raises:
        RunError: its config.toml is broken or foreign.
    """
    return read_record(path).config.data.options() if (Path(path) / CONFIG).is_file() else DEFAULT_OPTIONS


def continued(config: TrainConfig, path: str | Path) -> TrainConfig:
    """The settings, in which what they leave open is as the run at `path` began with, if there is one.

    Sizes are, once it has made a step; before that they follow from the settings of now.

    Raises:
        RunError: its config.toml is broken or foreign.
    """
    if not (Path(path) / CONFIG).is_file():
        return config
    begun = read_record(path).config
    is_unlimited = config.optimization.images is None and config.optimization.minutes is None
    budget = {"images", "minutes"} if is_unlimited else set()
    sizes = {"augment", "batch", "times", *SIZES} if has_trained(Path(path)) else set()
    tables = {
        name: _taken_over(getattr(config, name), getattr(begun, name), budget | sizes)
        for name in ("data", "network", "diffusion", "optimization")
    }
    return replace(config, **tables)


def has_other_budget(config: TrainConfig, path: str | Path) -> bool:
    """Whether the settings give the run at `path`, which has made a step, another budget than it had.

    Raises:
        RunError: its config.toml is broken or foreign.
    """
    if not (Path(path) / CONFIG).is_file() or not has_trained(Path(path)):
        return False
    budget_now, budget_before = (Budget.of(c.optimization) for c in (continued(config, path), read_record(path).config))
    return budget_now != budget_before


def _taken_over(table: Table, begun: Table, names: set[str]) -> Table:
    """The table, with those of the named settings that are None as in another."""
    open_names = {field.name for field in fields(table) if getattr(table, field.name) is None} & names
    return replace(table, **{name: getattr(begun, name) for name in open_names})
