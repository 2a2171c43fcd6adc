"""A run directory opened for training: writes checkpoints, models and measurements, and resumes."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import tomli_w
from filelock import FileLock, Timeout
from torch import Tensor

from sfumato.errors import RunError
from sfumato.models import (
    BEST,
    DESCRIPTION,
    GUIDANCE_WEIGHTS,
    MODEL,
    MODEL_WEIGHTS,
    ModelConfig,
    images_seen,
    images_seen_in,
    load,
    save_description,
    save_weights,
)
from sfumato.training.config import LogChoice, TrainConfig
from sfumato.training.loggers import Logger, logger_for
from sfumato.training.measurements import METRICS_FILE, best_of, read_metrics
from sfumato.training.run_directory import (
    CONFIG,
    DataRecord,
    RunRecord,
    changes,
    checkpoint_at,
    checkpoints,
    has_saved_model,
    has_trained,
    kept_best,
    read_record,
)
from sfumato.training.state import Checkpoint, TrainingState
from sfumato.utils.background import Background
from sfumato.utils.files import UNFINISHED, cannot_write, write_whole
from sfumato.utils.filesystem import remove_file, replace_file

LOG, LOCK = "log.txt", ".lock"

PENDING = "pending.safetensors"
"""In best/: a new best model until its checkpoint is written; then it replaces the previous one."""


class BestModel(NamedTuple):
    """A copy of the EMA weights that are the best so far."""

    weights: Mapping[str, Tensor]
    images_seen: int


class Run:
    """A run directory that this process has locked for training. Use it in a `with` statement.

    Raises:
        RunError: another process is training in the directory; or it contains other files, or a run with other
        settings or data (the message lists the differences); or it cannot be written.
    """

    def __init__(self, path: Path, config: TrainConfig, learned: DataRecord) -> None:
        self.path = path
        _check_folder(path)
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
        record = RunRecord(config, learned)
        try:
            self._take_over(record)
        except RunError:
            self._lock.release()
            raise
        self._writing, self.logger = Background(), Logger()
        text = tomli_w.dumps(_without_none(asdict(record)))
        write_whole(path / CONFIG, text.encode(errors="replace"))  # a path need not be UTF-8, TOML must be

    def _take_over(self, record: RunRecord) -> None:
        """Raises `RunError` if the directory contains a trained run with other settings or data."""
        if not (self.path / CONFIG).exists():
            return
        changed = changes(read_record(self.path), record)
        if not changed:
            return
        if has_trained(self.path):
            raise RunError(
                f"{self.path} contains a run with other settings or data ({'; '.join(changed)})",
                "Use the same settings and data to resume, or another --out for a new run.",
            )
        best, model = self.path / BEST, self.path / MODEL
        leftovers = (best / MODEL_WEIGHTS, best / PENDING, best / DESCRIPTION, model / GUIDANCE_WEIGHTS)
        for leftover in (checkpoint_at(self.path, 0), *leftovers):
            leftover.unlink(missing_ok=True)

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._writing.close()
        finally:
            self.logger.close()
            self._lock.release()
        if kind is None:
            self._writing.check()

    @property
    def samples(self) -> Path:
        """The folder of the preview grids."""
        return self.path / "samples"

    def describe(self, model: ModelConfig) -> None:
        """Writes the config.json of the model."""
        save_description(model, self.path / MODEL)

    def save(self, state: TrainingState, keep: int, best: BestModel | None = None) -> None:
        """Writes the model (EMA of the weights) and a checkpoint in the background, and removes old checkpoints.

        Waits for the previous save first, so that there is at most one copy of the state. Training may continue while a
        copy of the current state is written. The end of the `with` statement waits for the save, and raises its error
        unless there is another one.

        Args:
            state: training state.
            keep: number of checkpoints to keep.
            best: new best model since the last checkpoint, which is written to best/; or None.

        Raises:
            RunError: the previous save failed, or a weight is not finite; earlier files are intact.
        """
        self._writing.finish()
        checkpoint = state.checkpoint()
        self._writing.begin(lambda: self._write(checkpoint, keep, best))

    def _write(self, checkpoint: Checkpoint, keep: int, best: BestModel | None) -> None:
        """Writes the model, the best model and the checkpoint, then removes old checkpoints.

        With this order the model of a resumed run is at least as new as its checkpoint. The best model replaces the
        previous one only after the checkpoint, because a run that resumes from an earlier checkpoint discards its
        measurement. Checkpoints newer than this one are broken ones that `resume` skipped.
        """
        seen = checkpoint.counters.images_seen
        path = checkpoint_at(self.path, seen)
        save_weights(checkpoint.average, self.path / MODEL, seen)
        if best is not None:
            self._write_best(best, PENDING)
        checkpoint.save(path)
        if best is not None:
            self._replace_best()
        beyond = [other for other in checkpoints(self.path) if other > path]
        for obsolete in beyond + checkpoints(self.path)[len(beyond) + keep :]:
            remove_file(obsolete)

    def _write_best(self, best: BestModel, name: str) -> None:
        folder = self.path / BEST
        write_whole(folder / DESCRIPTION, (self.path / MODEL / DESCRIPTION).read_bytes())
        save_weights(best.weights, folder, best.images_seen, name)

    def _replace_best(self) -> None:
        pending = self.path / BEST / PENDING
        try:
            replace_file(pending, self.path / BEST / MODEL_WEIGHTS)
        except OSError as error:
            raise cannot_write(pending, error) from error

    def save_guidance_checkpoint(self, state: TrainingState) -> None:
        """Writes the current EMA weights as the guidance checkpoint, in the background."""
        weights, seen = state.averaged(), state.counters.images_seen
        self._writing.begin(lambda: save_weights(weights, self.path / MODEL, seen, GUIDANCE_WEIGHTS))

    def is_best(self, images_seen: int) -> bool:
        """Whether the measurement after `images_seen` images is the best so far.

        Read from metrics.jsonl, so that the answer is the same after a resume.
        """
        best = best_of(read_metrics(self.path))
        return best is not None and best.images == images_seen

    def save_best(self, best: BestModel) -> None:
        """Writes a model that `is_best` to best/ in the background, after its checkpoint has been written."""
        self._writing.begin(lambda: self._write_best(best, MODEL_WEIGHTS))

    def resume(self, state: TrainingState) -> list[str]:
        """Loads the newest readable checkpoint and removes later measurements and previews.

        A new run gets an initial checkpoint.

        Returns:
            Messages about checkpoints that could not be read.

        Raises:
            RunError: there are checkpoints but none can be read.
        """
        problems: list[RunError] = []
        for path in checkpoints(self.path):
            try:
                state.load(path)
            except RunError as error:
                problems.append(error)
                continue
            self._discard_after(state.counters.images_seen)
            self._restore_model(state)
            self._restore_best(state)
            return [str(problem) for problem in problems]
        if problems:
            raise RunError(
                f"no checkpoint of {self.path} can be read: {problems[0].problem}",
                "Restore one from a copy, or start a new run with another --out.",
            )
        if has_saved_model(self.path):
            raise RunError(
                f"{self.path} cannot be resumed: it has no checkpoints; its model can still be sampled",
                "Start a new run with another --out.",
            )
        self._discard_after(0)
        state.checkpoint().save(checkpoint_at(self.path, 0))
        return []

    def _restore_model(self, state: TrainingState) -> None:
        """Writes the model again if it is missing, broken or not that of the checkpoint."""
        try:
            load(self.path)
            is_current = images_seen(self.path) == state.counters.images_seen
        except RunError:
            is_current = False
        if state.counters.steps and not is_current:
            save_weights(state.average.network.state_dict(), self.path / MODEL, state.counters.images_seen)

    def _restore_best(self, state: TrainingState) -> None:
        """Completes an interrupted save in best/, so that its model is that of the best measurement if possible."""
        best, pending = best_of(read_metrics(self.path)), self.path / BEST / PENDING
        try:
            pending_images = images_seen_in(pending)
        except RunError:  # the file is missing or broken
            pending_images = None
        if best is not None and pending_images == best.images:
            self._replace_best()
        remove_file(pending)
        if best is not None and best.images == state.counters.images_seen and kept_best(self.path, best) is None:
            self._write_best(BestModel(state.average.network.state_dict(), best.images), MODEL_WEIGHTS)

    def add_measurement(self, measurement: dict[str, Any]) -> None:
        """Appends a line to metrics.jsonl, and sends it to the logger."""
        self._writing.check()
        self._append(METRICS_FILE, json.dumps(measurement, allow_nan=False))
        self.logger.add_measurement(measurement)

    def log_to(self, choice: LogChoice, images_seen: int, say: Callable[[str], None]) -> None:
        """Starts the logger of `--log`, after `images_seen` images."""
        config = (self.path / CONFIG).read_text(encoding="utf-8")
        self.logger = logger_for(choice, self.path, config, images_seen, say)

    def log(self, text: str) -> None:
        """Appends a line to log.txt."""
        self._append(LOG, text)

    def _append(self, name: str, line: str) -> None:
        path = self.path / name
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise cannot_write(path, error) from error

    def discard_measurements_at(self, images_seen: int) -> None:
        """Removes the validation and evaluation measurements after `images_seen` images, which were interrupted."""
        self._keep_measurements(lambda m: m["kind"] == "train" or m["images"] != images_seen)

    def _discard_after(self, images_seen: int) -> None:
        for preview in self.samples.glob("*.png"):
            if preview.stem.isdecimal() and int(preview.stem) > images_seen:
                preview.unlink(missing_ok=True)
        self._keep_measurements(lambda m: m["images"] <= images_seen)

    def _keep_measurements(self, is_kept: Callable[[dict[str, Any]], bool]) -> None:
        kept = [m for m in read_metrics(self.path) if is_kept(m)]
        write_whole(self.path / METRICS_FILE, "".join(json.dumps(m) + "\n" for m in kept).encode())


def _check_folder(path: Path) -> None:
    if path.is_file():
        raise RunError(f"{path} is a file, not a run directory", "Choose another --out.")
    if not path.is_dir() or (path / CONFIG).exists():
        return
    if any(entry.name != LOCK and not entry.name.startswith(UNFINISHED) for entry in path.iterdir()):
        raise RunError(f"{path} is not empty and is not a run directory", "Choose another --out.")


def _without_none(tree: dict[str, Any]) -> dict[str, Any]:
    """Removes entries that are None, which TOML cannot represent; a missing entry is read as None."""
    return {
        name: _without_none(value) if isinstance(value, dict) else value
        for name, value in tree.items()
        if value is not None
    }
