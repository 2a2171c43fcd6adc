"""Training, read from top to bottom."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import datetime
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import torch

from sfumato.data import ImageSet, Loader, make_loader, split
from sfumato.data.cache import cache_folder
from sfumato.data.sources import depth_title, mode_title
from sfumato.errors import TrainingError
from sfumato.models import build
from sfumato.sampling.sampler import sample, sampler_config
from sfumato.training.architecture import model_for
from sfumato.training.autoconfig import resolve_config, size_notice
from sfumato.training.budget import Budget, rate_scale
from sfumato.training.config import TrainConfig
from sfumato.training.engine import EagerEngine, Engine, captured_engine, prepare
from sfumato.training.quick_evaluation import QuickEvaluation
from sfumato.training.run_directory import BestModel, Run
from sfumato.training.runs import DataRecord, configured_images, continued, has_other_budget
from sfumato.training.state import TrainingState, copied
from sfumato.training.step import StepResult
from sfumato.training.validation import Validation
from sfumato.training.validation_schedule import TrainingProgress, ValidationSchedule
from sfumato.utils import pictures
from sfumato.utils.devices import choose_device, device_failures, out_of_memory, precision_for
from sfumato.utils.progress import TrainingBar, shows_bars

MOST_BAD_STEPS = 10
"""Steps in a row without a finite loss and gradient before a run is stopped."""

OUT_OF_MEMORY = "Choose a smaller --width, --batch or --size, in a new run (--out), or a smaller --preview-count."

DEVICE_FAILED = (
    "Give the same command again: it goes on from the last checkpoint. "
    "If it fails at the same place, add --debug, which points at the operation."
)

STEPS_A_LINE = 50
"""Steps behind each training line of metrics.jsonl."""


@runtime_checkable
class Reporter(Protocol):
    """What a person sees while a model learns."""

    def say(self, text: str) -> None:
        """A sentence that should be read."""

    def advance(self, images_seen: int, share: float, loss: float, waited: float) -> None:
        """A step ended, at this loss: so many images seen, that share of the run over, seconds waited for data."""


class NullReporter:
    """A reporter for programs."""

    def say(self, text: str) -> None:
        """Nothing."""

    def advance(self, images_seen: int, share: float, loss: float, waited: float) -> None:
        """Nothing."""


class TrainingResult(NamedTuple):
    """What training leaves.

    Attributes:
        state: at the end, on the device.
        config: in which nothing is left open.
        share: of the run, that is over; below 1 if it was stopped.
    """

    state: TrainingState
    config: TrainConfig
    share: float


class _Stopped(Exception):  # noqa: N818 (not an error)
    """Raised out of a look at the model when the run should stop."""


def train(
    config: TrainConfig,
    out: str | Path,
    *,
    device: str = "auto",
    cache: Path | None = None,
    debug: bool = False,
    progress: bool = True,
    reporter: Reporter | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainingResult:
    """Trains a model in the run directory `out`, or goes on where the run there stopped.

    Sets torch's global generators (see `training_step`).

    Args:
        config: the settings; what they leave open follows from the budget, the images and the device.
        out: the run directory.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        cache: where decoded images and compiled code are kept; None: SFUMATO_CACHE, or the user's cache.
        debug: one operation after the other on a GPU too, so that an error points at its cause (if CUDA was not used
            before); a failure of the device is then raised as it is.
        progress: show a bar and what was decided, if stdout is a terminal or a notebook.
        reporter: is told of progress instead.
        should_stop: asked after every step; once true, the run is saved and left.

    Returns:
        The state at the end, on the device; the complete settings; and how much of the run is over.

    Raises:
        DataError: the images cannot be learned from.
        RunError: the directory holds something else, or cannot be written.
        ConfigError: the settings make no sense.
        SamplingError: the preview has too few steps.
        TrainingError: the numbers are no longer finite.
        OutOfMemoryError: a step does not fit into the device's memory.
        DeviceError: the device failed, and can be used by a new process only; the checkpoints are intact.
    """
    if debug:
        os.environ.setdefault("CUDA_LAUNCH_BLOCKING", "1")
    place = choose_device(device)
    images = configured_images(config, cache)
    plan = resolve_config(continued(config, out), images, place)
    outgrown_network = size_notice(config, plan.config, images, place) if has_other_budget(config, out) else ()
    config = plan.config
    model_config = model_for(config, images)
    sampler_config(
        model_config.built_schedule(), steps=config.monitoring.preview_steps
    )  # refuses what no preview can have
    failures = nullcontext() if debug else device_failures(DEVICE_FAILED)
    with (
        _reporting(reporter, progress) as shown,
        failures,
        out_of_memory(OUT_OF_MEMORY),
        Run(Path(out), config, DataRecord.of(images)) as run,
    ):
        say = _said_and_logged(shown, run)
        notices = [notice for notice in images.notices if notice.matters]
        for notice in (*notices, *plan.reasons, *plan.warnings, *outgrown_network):
            say(str(notice))
        run.describe(model_config)
        settings = config.optimization
        torch.manual_seed(settings.seed)
        state = TrainingState(build(model_config).to(place), settings)
        for problem in run.resume(state):
            say(f"Passed over a checkpoint: {problem}")
        precision = precision_for(settings.precision, place, sum(p.numel() for p in state.model.parameters()))
        config = replace(config, optimization=replace(settings, precision=precision))
        learned, kept = split(images, config.data.validation_share, settings.seed)
        validation = Validation(kept, config.monitoring.validation_count, settings.seed)
        small = quick_evaluation(config, learned, kept, place, cache)
        say(_opening(config, state, learned, kept, place))
        feed = make_loader(learned, settings.seed, place)
        loop = _Loop(config, run, state, feed, validation, small, shown, should_stop)
        if loop.share < 1 and not should_stop():
            loop.run_to_the_end(engine_for(state, config, feed, debug, cache, say))
        loop.look_at_the_end()
    return TrainingResult(state, config, loop.share)


def _reporting(reporter: Reporter | None, progress: bool) -> AbstractContextManager[Reporter]:
    """The reporter, or else the bar where one can be drawn and is wanted, or else nothing."""
    if reporter is not None:
        return nullcontext(reporter)
    return TrainingBar() if progress and shows_bars() else nullcontext(NullReporter())


def quick_evaluation(
    config: TrainConfig, learned: ImageSet, kept: ImageSet, place: torch.device, cache: Path | None
) -> QuickEvaluation | None:
    """What measures distances while the model learns, if that was asked."""
    monitoring = config.monitoring
    if monitoring.eval_every is None:
        return None
    seed = config.optimization.seed
    return QuickEvaluation(learned, kept, monitoring.eval_count, monitoring.eval_features, seed, place, cache)


def engine_for(
    state: TrainingState, config: TrainConfig, feed: Loader, debug: bool, cache: Path | None, say: Callable[[str], None]
) -> Engine:
    """Steps as one CUDA graph on a GPU, compiled if the run is long enough; one by one elsewhere, or to debug."""
    if feed.device.type != "cuda" or debug:
        return EagerEngine(state, config, say)
    begun, size = time.perf_counter(), config.optimization.batch_size
    prepare(state.model.network, config, cache_folder(cache) / "compiled", say)
    engine = captured_engine(state, config, feed.batch(state.counters.images_seen, size), say)
    say(f"Ready to train after {time.perf_counter() - begun:.0f} s.")
    return engine


class _Loop:
    """The loop and what it keeps from step to step."""

    def __init__(
        self,
        config: TrainConfig,
        run: Run,
        state: TrainingState,
        feed: Loader,
        validation: Validation,
        small: QuickEvaluation | None,
        reporter: Reporter,
        should_stop: Callable[[], bool],
    ) -> None:
        self.config, self.run, self.state, self.feed = config, run, state, feed
        self.validation, self.small, self.reporter, self.should_stop = validation, small, reporter, should_stop
        self.budget = Budget.of(config.optimization)
        self.looks = ValidationSchedule(config)
        self.recent: list[StepResult] = []
        self.bad_steps_in_a_row = 0
        self.best: BestModel | None = None
        self.saved_at = self.counted_until = time.perf_counter()

    def run_to_the_end(self, engine: Engine) -> None:
        """Step, count, look, save, until the budget is spent or it is asked to stop; saves in either case."""
        counters, self.engine = self.state.counters, engine
        began_at, self.counted_until = counters.images_seen, time.perf_counter()
        before = TrainingProgress(counters.images_seen, self.share)
        self.observe_again(before)
        while self.share < 1 and not self.should_stop():
            size = self.budget.batch(counters, self.config.optimization.batch_size)
            self.take(engine.step(self.feed.batch(counters.images_seen, size)))
            now = TrainingProgress(counters.images_seen, self.share)
            self.keep_guidance_checkpoint(before, now)
            self.observe_if_due(before, now)  # before it is saved: a checkpoint has the measurements of its moment
            if time.perf_counter() - self.saved_at >= 60 * self.config.monitoring.save_minutes:
                self.pause(self.save)
            before = now  # not later: what the pauses above count as training belongs to the next step
        self.take(engine.drained())
        self.keep_guidance_checkpoint(before, TrainingProgress(counters.images_seen, self.share))
        if counters.images_seen > began_at:
            self.measure()
            self.save()

    def look_at_the_end(self) -> None:
        """The last look, unless it was made already; the preview is its end, so that a killed one is repeated."""
        if self.share == 1 and not self.preview_path().exists() and not self.should_stop():
            self.run.forget_looks_at(self.state.counters.images_seen)
            self.observe([self.measure_validation, self.evaluate, self.preview])
            if self.best is not None:
                self.run.keep_best(self.best)

    @property
    def share(self) -> float:
        """Of the run, that is over."""
        return self.budget.spent(self.state.counters)

    def take(self, results: Sequence[StepResult]) -> None:
        """Counts the time since the last results, and what these say."""
        now = time.perf_counter()
        self.state.counters.seconds += now - self.counted_until
        self.counted_until = now
        for result in results:
            self.recent.append(result)
            self.judge(result)
            self.reporter.advance(self.state.counters.images_seen, self.share, result.loss, self.feed.seconds)
            if len(self.recent) == STEPS_A_LINE:
                self.measure()

    def pause(self, other_work: Callable[[], None]) -> None:
        """Does other work once all steps are done; its time is not the training's."""
        self.take(self.engine.drained())
        other_work()
        self.counted_until = time.perf_counter()

    def judge(self, result: StepResult) -> None:
        """Stops a run whose steps fail one after the other."""
        self.bad_steps_in_a_row = 0 if result.finite else self.bad_steps_in_a_row + 1
        if self.bad_steps_in_a_row == MOST_BAD_STEPS:
            raise TrainingError(
                f"the loss or its gradient was not finite in {MOST_BAD_STEPS} steps in a row, "
                f"the last at {self.state.counters.images_seen} images",
                "What was saved before is intact. Begin a new run with a lower --learning-rate or --precision float32.",
            )

    def measure(self) -> None:
        """Writes the mean of the recent steps, if there are any, to metrics.jsonl."""
        if not self.recent:
            return
        counters, settings = self.state.counters, self.config.optimization
        good = [result for result in self.recent if result.finite]
        self.run.measure(
            {
                "kind": "train",
                "images": counters.images_seen,
                "steps": counters.steps,
                "seconds": round(counters.seconds, 3),
                "loss": sum(r.loss for r in good) / len(good) if good else None,
                "gradient_norm": sum(r.gradient_norm for r in good) / len(good) if good else None,
                "learning_rate": settings.learning_rate * rate_scale(settings, self.share, self.share),
                "skipped": counters.skipped,
            }
        )
        self.recent.clear()

    def keep_guidance_checkpoint(self, before: TrainingProgress, now: TrainingProgress) -> None:
        """Keeps the averaged model of an early moment, which lies between two, once; unless it is too young."""
        monitoring = self.config.monitoring
        if (
            before.share < monitoring.autoguidance_at <= now.share
            and self.state.counters.steps >= monitoring.autoguidance_min_steps
        ):
            self.pause(lambda: self.run.save_guidance_checkpoint(self.state))

    def observe_if_due(self, before: TrainingProgress, now: TrainingProgress) -> None:
        """Looks at the model and evaluates it, whichever is due between two moments of an unfinished run."""
        every = self.config.monitoring.eval_every
        due = [self.measure_validation, self.preview] if self.looks.is_due(before, now) else []
        if every is not None and before.images // every != now.images // every:
            due.insert(1, self.evaluate)  # the preview is last: it marks what is complete
        if due and now.share < 1:
            self.pause(lambda: self.observe(due))

    def observe_again(self, now: TrainingProgress) -> None:
        """Repeats what was given up at this moment, the first of a resumed run, because it was asked to stop."""
        if now.images and not self.preview_path().exists():
            self.run.forget_looks_at(now.images)
            images = max(0, now.images - self.config.optimization.batch_size)
            self.observe_if_due(TrainingProgress(images, now.share * images / now.images), now)

    def observe(self, measurements: Sequence[Callable[[], None]]) -> None:
        """Measures the averaged model, given up at once when asked to stop, and keeps it if it is the best so far."""
        try:
            for measure in measurements:
                measure()
        except _Stopped:
            pass
        except torch.OutOfMemoryError:
            _said_and_logged(self.reporter, self.run)(
                "There is no memory left to look at the model: --preview-count 1 and --validation-count 10 need least."
            )
        if self.run.is_best(self.state.counters.images_seen):
            weights = copied(self.state.average.network.state_dict())
            self.best = BestModel(weights, self.state.counters.images_seen)

    def evaluate(self) -> None:
        """The distance of some samples to the images, if that was asked."""
        if self.small is not None:
            measured = self.small.measure(self.state.average, on_step=self._give_up_if_asked)
            self.run.measure({"kind": "evaluation", "images": self.state.counters.images_seen, **measured})

    def measure_validation(self) -> None:
        """The held-out loss."""
        seen = self.state.counters.images_seen
        loss = self.validation.loss(self.state.average, on_batch=self._give_up_if_asked)
        self.run.measure({"kind": "validation", "images": seen, "loss": loss.mean, "by_time": loss.by_time})
        measured = "not finite" if loss.mean is None else f"{loss.mean:.4f}"
        _said_and_logged(self.reporter, self.run)(f"{seen:,} images: held-out loss {measured}")

    def preview(self) -> None:
        """A grid of samples."""
        monitoring, model = self.config.monitoring, self.state.average
        images = sample(
            model,
            monitoring.preview_count,
            labels=model.label_names or None,
            steps=monitoring.preview_steps,
            seed=self.config.optimization.seed,
            batch=min(64, monitoring.preview_count),
            on_step=self._give_up_if_asked,
        )
        titles = list(islice(cycle(model.label_names), len(images)))
        pictures.save_grid(model.depth.viewable(images), self.preview_path(), titles=titles)

    def preview_path(self) -> Path:
        """The preview grid of this moment."""
        return self.run.samples / f"{self.state.counters.images_seen:012d}.png"

    def _give_up_if_asked(self, _: int) -> None:
        if self.should_stop():
            raise _Stopped

    def save(self) -> None:
        """Writes a checkpoint, and the best model since the last one, if there is one."""
        self.run.save(self.state, self.config.monitoring.keep, self.best)
        self.best = None
        self.saved_at = time.perf_counter()


def _said_and_logged(reporter: Reporter, run: Run) -> Callable[[str], None]:
    def say(text: str) -> None:
        reporter.say(text)
        run.log(f"{datetime.now():%Y-%m-%d %H:%M:%S} {text}")

    return say


def _opening(config: TrainConfig, state: TrainingState, learned: ImageSet, kept: ImageSet, device: torch.device) -> str:
    """The sentences that a run begins with."""
    channels, height, width = learned.image_shape
    parameters = sum(p.numel() for p in state.model.parameters()) / 1e6
    settings = config.optimization
    conditions = ", ".join(map(str, learned.columns)) or f"{len(learned.label_names) or 'no'} classes"
    seen = state.counters.images_seen
    begun = f" Going on after {seen:,} images." if seen else ""
    return (
        f"{len(learned):,} images of {width}x{height} pixels, {mode_title(channels, learned.depth.opacity)}, "
        f"{depth_title(learned.depth.dtype)}, {conditions} ({len(kept):,} more held out); preset "
        f"{config.preset}, {parameters:.1f} M parameters in {settings.precision}, on {device}, "
        f"for {Budget.of(settings)}.{begun}"
    )
