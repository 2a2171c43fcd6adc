"""The run directory: a configuration, checkpoints, the averaged model, measurements and pictures, in files that last.

runs/NAME/config.toml              what was asked, complete, and what it was trained on
          model/                   the averaged model, loadable alone
          best/                    the same of the best moment so far, by what was measured
          checkpoints/             the last few, each written whole
          metrics.jsonl            one measurement a line
          samples/                 preview grids, of the same seeds every time
          log.txt                  what was said
"""

import json
import tomllib
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal, TypeVar

import tomli_w
from filelock import FileLock, Timeout

from sfumato.conditions import Column
from sfumato.data import Fit, ImageSet, load_images
from sfumato.denoiser import NetworkDenoiser
from sfumato.errors import DataError, RunError
from sfumato.measurements import METRICS, Best, best_of, read_metrics
from sfumato.models import DESCRIPTION, GUIDE, WEIGHTS, ModelConfig, images_seen, save_description, save_weights
from sfumato.storage import UNFINISHED, cannot_write, read_text, validated, write_whole
from sfumato.training.config import DataConfig, NetworkConfig, OptimizationConfig, TrainConfig, differences
from sfumato.training.state import TrainingState

CONFIG, LOG, LOCK = "config.toml", "log.txt", ".lock"
BEST = "best"

SIZES = ("width", "multipliers", "blocks", "patch")

Table = TypeVar("Table", DataConfig, NetworkConfig, OptimizationConfig)


@dataclass(frozen=True)
class Learned:
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
    def of(images: ImageSet) -> "Learned":
        """The record of a data set."""
        return Learned(len(images), images.image_shape, images.label_names, images.fingerprint(), images.columns)


@dataclass(frozen=True)
class Record:
    """The content of config.toml."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    config: TrainConfig
    learned: Learned
    format: Literal["sfumato-run"] = field(default="sfumato-run", kw_only=True)
    version: Literal[1] = field(default=1, kw_only=True)


def read_record(path: str | Path) -> Record:
    """What the run at `path` was asked, and what it was trained on.

    Raises:
        RunError: there is no run, or its config.toml is broken or foreign.
    """
    file = Path(path) / CONFIG
    if not file.is_file():
        raise RunError(f"{path} is not a run directory: it has no {CONFIG}", "Name one that `sfumato train` made.")
    try:
        return validated(Record, tomllib.loads(read_text(file)), file)
    except tomllib.TOMLDecodeError as error:
        raise RunError(f"{file} is not TOML: {error}", "Restore it as it was.") from error


def holds_model(path: Path) -> bool:
    """Whether `path` is a run directory or the folder of a model, which `models.load` loads if it has been trained."""
    return any((path / name).is_file() for name in (CONFIG, DESCRIPTION, f"model/{DESCRIPTION}"))


def home_of(path: Path) -> Path | None:
    """The run that a folder belongs to: a run directory itself, or that around a `model` or `best`; None elsewhere."""
    if (path / CONFIG).is_file():
        return path
    is_model = (path / DESCRIPTION).is_file()
    return path.parent if is_model and (path.parent / CONFIG).is_file() else None


def kept_best(path: str | Path, best: Best | None) -> Path | None:
    """The folder that keeps the model of the best moment of the run at `path`; None if it is of another, or not there.

    Another it is after a resume from a checkpoint before it, until training has come as far again.
    """
    folder = Path(path) / BEST
    try:
        return folder if best is not None and images_seen(folder) == best.images else None
    except RunError:
        return None


def configured_images(config: TrainConfig, cache: Path | None = None) -> ImageSet:
    """The images that a run of this configuration learns from; errors are those of `load_images`.

    Args:
        config: names the source, and says what is asked of the images.
        cache: where decoded images are kept; None: SFUMATO_CACHE, or the user's cache.
    """
    data = config.data
    return load_images(
        config.source,
        size=data.size,
        fit=data.fit,
        channels=data.channels,
        labels=data.labels,
        condition=data.condition,
        cache=cache,
    )


def learned_images(path: str | Path, cache: Path | None = None) -> ImageSet | None:
    """The images that the run at `path` learned from, or None if they are no longer there or no longer the same.

    Raises:
        RunError: there is no run.
    """
    record = read_record(path)
    try:
        images = configured_images(record.config, cache)
    except DataError:
        return None
    return images if Learned.of(images) == record.learned else None


def learned_fit(path: str | Path) -> Fit:
    """How the run at `path` brought its images to one size; "crop" for a model without its run.

    Raises:
        RunError: its config.toml is broken or foreign.
    """
    return read_record(path).config.data.fit if (Path(path) / CONFIG).is_file() else "crop"


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
    sizes = {"augment", "batch", *SIZES} if _has_learned(Path(path)) else set()
    tables = {
        name: _taken_over(getattr(config, name), getattr(begun, name), budget | sizes)
        for name in ("data", "network", "optimization")
    }
    return replace(config, **tables)


def _taken_over(table: Table, begun: Table, names: set[str]) -> Table:
    """The table, with those of the named settings that are None as in another."""
    open_names = {field.name for field in fields(table) if getattr(table, field.name) is None} & names
    return replace(table, **{name: getattr(begun, name) for name in open_names})


class Run:
    """A run directory, open for training by this process alone. Use it in a `with` statement.

    Args:
        path: the directory; made if it does not exist.
        config: what is asked now.
        learned: the data given now.

    Raises:
        RunError: another process trains there; or the directory holds something else, or a run of another
            configuration or other data (the difference is shown); or it cannot be written.
    """

    def __init__(self, path: Path, config: TrainConfig, learned: Learned) -> None:
        self.path = path
        _refuse_foreign_folder(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(path / LOCK, blocking=False)
            self._lock.acquire()
            for leftover in path.rglob(UNFINISHED + "*"):
                leftover.unlink()
        except Timeout as error:
            raise RunError(f"another process is training in {path}", "Wait for it, or choose another --out.") from error
        except OSError as error:
            raise cannot_write(path, error) from error
        record = Record(config, learned)
        try:
            self._take_over(record)
        except RunError:
            self._lock.release()
            raise
        text = tomli_w.dumps(_without_none(asdict(record)))
        write_whole(path / CONFIG, text.encode(errors="replace"))  # a path need not be UTF-8, TOML must be

    def _take_over(self, record: Record) -> None:
        """Refuses a run of other settings or data; one that has not made a step yet is simply begun anew."""
        if not (self.path / CONFIG).exists():
            return
        changes = _changes(read_record(self.path), record)
        if not changes:
            return
        if _has_learned(self.path):
            raise RunError(
                f"{self.path} was begun with other settings or data ({'; '.join(changes)})",
                "Give those it was begun with, or another --out for a new run.",
            )
        self._checkpoint(0).unlink(missing_ok=True)
        for leftover in (f"{BEST}/{WEIGHTS}", f"{BEST}/{DESCRIPTION}", f"model/{GUIDE}"):
            (self.path / leftover).unlink(missing_ok=True)

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    @property
    def samples(self) -> Path:
        """The folder of the preview grids."""
        return self.path / "samples"

    def checkpoints(self) -> list[Path]:
        """The checkpoints, newest first."""
        return _checkpoints(self.path)

    def _checkpoint(self, images_seen: int) -> Path:
        return _checkpoint(self.path, images_seen)

    def describe(self, model: ModelConfig) -> None:
        """Writes the model's description, which does not change."""
        save_description(model, self.path / "model")

    def save(self, state: TrainingState, keep: int) -> Path:
        """Writes the averaged model and a checkpoint, then removes all but the newest `keep` checkpoints.

        The model comes first: a run that is resumed from a checkpoint has a model at least as far. Checkpoints beyond
        this one are those that `resume` passed over.

        Raises:
            RunError: they could not be written, or are not finite; what was saved before is intact.
        """
        path = self._checkpoint(state.counters.images_seen)
        save_weights(state.average, self.path / "model", state.counters.images_seen)
        state.save(path)
        beyond = [other for other in self.checkpoints() if other > path]
        for obsolete in beyond + self.checkpoints()[len(beyond) + keep :]:
            obsolete.unlink(missing_ok=True)
        return path

    def save_guide(self, state: TrainingState) -> None:
        """Keeps the averaged model as it is now: the weaker self that may guide the later one.

        Raises:
            RunError: it could not be written, or is not finite.
        """
        save_weights(state.average, self.path / "model", state.counters.images_seen, GUIDE)

    def is_best(self, images_seen: int) -> bool:
        """Whether no measurement so far is better than that of this moment.

        What was best is known by metrics.jsonl alone, and so is the same after a resume.
        """
        best = best_of(read_metrics(self.path))
        return best is not None and best.images == images_seen

    def keep_best(self, average: NetworkDenoiser, images_seen: int) -> None:
        """Writes the averaged model of a moment that `is_best` to best/.

        Args:
            average: The model, as it was then.
            images_seen: By then.

        Raises:
            RunError: It could not be written, or is not finite; what was saved before is intact.
        """
        folder, description = self.path / BEST, (self.path / "model" / DESCRIPTION).read_bytes()
        write_whole(folder / DESCRIPTION, description)
        save_weights(average, folder, images_seen)

    def resume(self, state: TrainingState) -> list[str]:
        """Loads the newest readable checkpoint, and forgets the measurements made after it. A new run gets its first.

        Returns:
            What a person should know: the checkpoints that could not be read.

        Raises:
            RunError: there are checkpoints, and none can be read.
        """
        problems: list[RunError] = []
        for path in self.checkpoints():
            try:
                state.load(path)
            except RunError as error:
                problems.append(error)
                continue
            self._forget_after(state.counters.images_seen)
            self._restore_model(state)
            return [str(problem) for problem in problems]
        if problems:
            raise RunError(
                f"no checkpoint of {self.path} can be used: {problems[0].problem}",
                "Restore one from a copy, or begin anew with another --out.",
            )
        if _has_model(self.path):
            raise RunError(
                f"the checkpoints of {self.path} are gone, so that it cannot go on; its model can still sample",
                "Choose another --out to train anew.",
            )
        self._forget_after(0)
        state.save(self._checkpoint(0))
        return []

    def _restore_model(self, state: TrainingState) -> None:
        """Writes the model anew if it is lost, broken or not that of the checkpoint."""
        try:
            is_there = images_seen(self.path) == state.counters.images_seen
        except RunError:
            is_there = False
        if state.counters.steps and not is_there:
            save_weights(state.average, self.path / "model", state.counters.images_seen)

    def measure(self, measurement: dict[str, Any]) -> None:
        """Adds a line to metrics.jsonl."""
        self._append(METRICS, json.dumps(measurement, allow_nan=False))

    def log(self, text: str) -> None:
        """Adds a line to log.txt."""
        self._append(LOG, text)

    def _append(self, name: str, line: str) -> None:
        path = self.path / name
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise cannot_write(path, error) from error

    def _forget_after(self, images_seen: int) -> None:
        kept = [m for m in read_metrics(self.path) if m["images"] <= images_seen]
        write_whole(self.path / METRICS, "".join(json.dumps(m) + "\n" for m in kept).encode())


def _has_model(run: Path) -> bool:
    return (run / "model" / WEIGHTS).exists()


def _checkpoints(run: Path) -> list[Path]:
    return sorted((run / "checkpoints").glob("*.safetensors"), reverse=True)


def _checkpoint(run: Path, images_seen: int) -> Path:
    return run / "checkpoints" / f"{images_seen:012d}.safetensors"


def _has_learned(run: Path) -> bool:
    """Whether a run has saved more than what it began with."""
    return _has_model(run) or any(path != _checkpoint(run, 0) for path in _checkpoints(run))


def _refuse_foreign_folder(path: Path) -> None:
    if path.is_file():
        raise RunError(f"{path} is a file, not a run directory", "Choose another --out.")
    if not path.is_dir() or (path / CONFIG).exists():
        return
    if any(entry.name != LOCK and not entry.name.startswith(UNFINISHED) for entry in path.iterdir()):
        raise RunError(f"{path} is not empty and holds no run", "Choose another --out, so that nothing is lost.")


def _changes(before: Record, now: Record) -> list[str]:
    """What differs between two records in settings or data, in words."""
    changes = differences(before.config, now.config)
    for name, words in (("images", "images"), ("image_shape", "image shape"), ("label_names", "classes")):
        old, new = getattr(before.learned, name), getattr(now.learned, name)
        if old != new:
            changes.append(f"{words}: {old} -> {new}")
    old_columns, new_columns = (", ".join(map(str, one.learned.columns)) for one in (before, now))
    if old_columns != new_columns:
        changes.append(f"columns: {old_columns or 'none'} -> {new_columns or 'none'}")
    if not changes and before.learned.fingerprint != now.learned.fingerprint:
        changes.append("pixels or labels of the images differ")
    return changes


def _without_none(tree: dict[str, Any]) -> dict[str, Any]:
    """The tables without their empty entries, which TOML cannot write; a missing entry is read as None."""
    return {
        name: _without_none(value) if isinstance(value, dict) else value
        for name, value in tree.items()
        if value is not None
    }
