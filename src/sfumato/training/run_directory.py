"""A run directory open for training: its lock, all that is written into it, and going on where it stopped."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import tomli_w
from filelock import FileLock, Timeout
from torch import Tensor

from sfumato.errors import RunError
from sfumato.models import (
    BEST,
    DESCRIPTION,
    GUIDE,
    MODEL,
    WEIGHTS,
    ModelConfig,
    images_seen,
    load,
    moment_of,
    save_description,
    save_weights,
)
from sfumato.training.config import TrainConfig
from sfumato.training.measurements import METRICS, best_of, read_metrics
from sfumato.training.runs import (
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
from sfumato.training.state import Checkpoint, TrainingState, copied
from sfumato.utils.background import Background
from sfumato.utils.files import UNFINISHED, cannot_write, write_whole
from sfumato.utils.filesystem import remove_file, replace_file

LOG, LOCK = "log.txt", ".lock"

PENDING = "pending.safetensors"
"""In best/: a best model whose checkpoint is not written yet, so that it does not replace the one before."""


class BestModel(NamedTuple):
    """The averaged weights of a moment that is the best so far; they do not change any more."""

    weights: Mapping[str, Tensor]
    images_seen: int


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
        self._writing = Background()
        text = tomli_w.dumps(_without_none(asdict(record)))
        write_whole(path / CONFIG, text.encode(errors="replace"))  # a path need not be UTF-8, TOML must be

    def _take_over(self, record: RunRecord) -> None:
        """Refuses a run of other settings or data; one that has not made a step yet is simply begun anew."""
        if not (self.path / CONFIG).exists():
            return
        changed = changes(read_record(self.path), record)
        if not changed:
            return
        if has_trained(self.path):
            raise RunError(
                f"{self.path} was begun with other settings or data ({'; '.join(changed)})",
                "Give those it was begun with, or another --out for a new run.",
            )
        checkpoint_at(self.path, 0).unlink(missing_ok=True)
        for leftover in (f"{BEST}/{WEIGHTS}", f"{BEST}/{PENDING}", f"{BEST}/{DESCRIPTION}", f"{MODEL}/{GUIDE}"):
            (self.path / leftover).unlink(missing_ok=True)

    def __enter__(self) -> "Run":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._writing.close()
        finally:
            self._lock.release()
        if kind is None:
            self._writing.check()

    @property
    def samples(self) -> Path:
        """The folder of the preview grids."""
        return self.path / "samples"

    def describe(self, model: ModelConfig) -> None:
        """Writes the model's description, which does not change."""
        save_description(model, self.path / MODEL)

    def save(self, state: TrainingState, keep: int, best: BestModel | None = None) -> None:
        """Begins to write the averaged model and a checkpoint, and to remove all but the newest `keep` checkpoints.

        A new `best` model, measured since the last checkpoint, is written to best/ with it. Training may go on
        meanwhile: what is written is the state of now. It is complete when the `with` statement ends; if that ends
        without an error, an error of this is raised then. What was being written before is waited for, so that there is
        one copy of the state at most.

        Raises:
            RunError: something before could not be written, or was not finite; what was saved before that is intact.
        """
        self._writing.finish()
        checkpoint = state.checkpoint()
        self._writing.begin(lambda: self._write(checkpoint, keep, best))

    def _write(self, checkpoint: Checkpoint, keep: int, best: BestModel | None) -> None:
        """Writes the model, the best model, the checkpoint, and then removes the obsolete.

        In this order a run that is resumed from a checkpoint has a model at least as far. The best model replaces the
        one before only after the checkpoint, because a run that is resumed from an earlier one forgets its measurement.
        Checkpoints beyond this one are those that `resume` passed over.
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
            replace_file(pending, self.path / BEST / WEIGHTS)
        except OSError as error:
            raise cannot_write(pending, error) from error

    def save_guidance_checkpoint(self, state: TrainingState) -> None:
        """Begins to write the averaged model as it is now: the weaker self that may guide the later one."""
        weights, seen = copied(state.average.network.state_dict()), state.counters.images_seen
        self._writing.begin(lambda: save_weights(weights, self.path / MODEL, seen, GUIDE))

    def is_best(self, images_seen: int) -> bool:
        """Whether no measurement so far is better than that of this moment.

        What was best is known by metrics.jsonl alone, and so is the same after a resume.
        """
        best = best_of(read_metrics(self.path))
        return best is not None and best.images == images_seen

    def keep_best(self, best: BestModel) -> None:
        """Begins to write the averaged model of a moment that `is_best` to best/, when its checkpoint is written."""
        self._writing.begin(lambda: self._write_best(best, WEIGHTS))

    def resume(self, state: TrainingState) -> list[str]:
        """Loads the newest readable checkpoint, and forgets the measurements and previews made after it.

        A new run gets its first checkpoint.

        Returns:
            What a person should know: the checkpoints that could not be read.

        Raises:
            RunError: there are checkpoints, and none can be read.
        """
        problems: list[RunError] = []
        for path in checkpoints(self.path):
            try:
                state.load(path)
            except RunError as error:
                problems.append(error)
                continue
            self._forget_after(state.counters.images_seen)
            self._restore_model(state)
            self._restore_best(state)
            return [str(problem) for problem in problems]
        if problems:
            raise RunError(
                f"no checkpoint of {self.path} can be used: {problems[0].problem}",
                "Restore one from a copy, or begin anew with another --out.",
            )
        if has_saved_model(self.path):
            raise RunError(
                f"the checkpoints of {self.path} are gone, so that it cannot go on; its model can still sample",
                "Choose another --out to train anew.",
            )
        self._forget_after(0)
        state.checkpoint().save(checkpoint_at(self.path, 0))
        return []

    def _restore_model(self, state: TrainingState) -> None:
        """Writes the model anew if it is lost, broken or not that of the checkpoint."""
        try:
            load(self.path)
            is_there = images_seen(self.path) == state.counters.images_seen
        except RunError:
            is_there = False
        if state.counters.steps and not is_there:
            save_weights(state.average.network.state_dict(), self.path / MODEL, state.counters.images_seen)

    def _restore_best(self, state: TrainingState) -> None:
        """Completes what a kill left undone in best/: its model is that of the best measurement, if it can be had."""
        best, pending = best_of(read_metrics(self.path)), self.path / BEST / PENDING
        if best is not None and _moment_of(pending) == best.images:
            self._replace_best()
        remove_file(pending)
        if best is not None and best.images == state.counters.images_seen and kept_best(self.path, best) is None:
            self._write_best(BestModel(state.average.network.state_dict(), best.images), WEIGHTS)

    def measure(self, measurement: dict[str, Any]) -> None:
        """Adds a line to metrics.jsonl.

        Raises:
            RunError: that, or what was being saved meanwhile, could not be written.
        """
        self._writing.check()
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

    def forget_looks_at(self, images_seen: int) -> None:
        """Removes what a look at this moment measured before it was interrupted.

        Raises:
            RunError: metrics.jsonl could not be written.
        """
        self._keep_measurements(lambda m: m["kind"] == "train" or m["images"] != images_seen)

    def _forget_after(self, images_seen: int) -> None:
        for preview in self.samples.glob("*.png"):
            if preview.stem.isdecimal() and int(preview.stem) > images_seen:
                preview.unlink(missing_ok=True)
        self._keep_measurements(lambda m: m["images"] <= images_seen)

    def _keep_measurements(self, is_kept: Callable[[dict[str, Any]], bool]) -> None:
        kept = [m for m in read_metrics(self.path) if is_kept(m)]
        write_whole(self.path / METRICS, "".join(json.dumps(m) + "\n" for m in kept).encode())


def _moment_of(weights: Path) -> int | None:
    try:
        return moment_of(weights)
    except RunError:  # there are none, or they are broken
        return None


def _check_folder(path: Path) -> None:
    if path.is_file():
        raise RunError(f"{path} is a file, not a run directory", "Choose another --out.")
    if not path.is_dir() or (path / CONFIG).exists():
        return
    if any(entry.name != LOCK and not entry.name.startswith(UNFINISHED) for entry in path.iterdir()):
        raise RunError(f"{path} is not empty and holds no run", "Choose another --out, so that nothing is lost.")


def _without_none(tree: dict[str, Any]) -> dict[str, Any]:
    """The tables without their empty entries, which TOML cannot write; a missing entry is read as None."""
    return {
        name: _without_none(value) if isinstance(value, dict) else value
        for name, value in tree.items()
        if value is not None
    }
