"""The training loop."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import torch

from sfumato.data import ImageSet, Loader, make_loader, split
from sfumato.data.cache import cache_folder
from sfumato.data.sources import depth_title, mode_title
from sfumato.diffusion.denoiser import PreconditionedDenoiser
from sfumato.diffusion.time_densities import check_quantiles
from sfumato.errors import TrainingError
from sfumato.models import Model
from sfumato.networks.custom import takes
from sfumato.sampling.sampler import sampler_config
from sfumato.training.architecture import check_call, check_loss, model_for, without_unknown_inputs
from sfumato.training.autoconfig import resolve_config, size_notice
from sfumato.training.checkpoints import Run
from sfumato.training.config import TrainConfig
from sfumato.training.engine import EagerEngine, Engine, captured_engine, prepare
from sfumato.training.loggers import check_log
from sfumato.training.monitor import Monitor, TrainingProgress
from sfumato.training.optim import learning_rate_scale
from sfumato.training.run_directory import DataRecord, config_to_resume, configured_images, has_other_budget
from sfumato.training.starting_model import started_message, starting_model, transfer, with_network_of
from sfumato.training.state import Budget, TrainingState
from sfumato.training.step import StepResult
from sfumato.utils.devices import choose_device, device_failures, out_of_memory, precision_for
from sfumato.utils.progress import TrainingBar, shows_bars

MOST_BAD_STEPS = 10
"""Training stops after this many consecutive steps with a loss or gradient that is not finite."""

OUT_OF_MEMORY = "Choose a smaller --width, --batch or --size, in a new run (--out), or a smaller --preview-count."

DEVICE_FAILED = (
    "Run the same command again: it resumes from the last checkpoint. "
    "If it fails at the same step, add --debug, which reports the failing operation."
)

STEPS_PER_LINE = 50
"""Steps averaged in each training line of metrics.jsonl."""


@runtime_checkable
class Reporter(Protocol):
    """Displays the progress of training."""

    def say(self, text: str) -> None:
        """Displays a message."""

    def advance(self, images_seen: int, share: float, loss: float, waited: float) -> None:
        """Displays the progress after a training step.

        Args:
            images_seen: images trained on so far, repetitions included.
            share: completed share of the run, in [0, 1].
            loss: training loss of the step.
            waited: total time spent waiting for data, in seconds.
        """


class TrainingResult(NamedTuple):
    """The result of a training run.

    Attributes:
        state: training state at the end, on the training device.
        config: resolved configuration.
        share: completed share of the run; below 1 if it was interrupted.
    """

    state: TrainingState
    config: TrainConfig
    share: float

    @property
    def model(self) -> PreconditionedDenoiser:
        """The model with the EMA of the weights, in evaluation mode."""
        return self.state.average


def run_training(
    config: TrainConfig,
    out: str | Path,
    *,
    images: ImageSet | None = None,
    device: str = "auto",
    cache: Path | None = None,
    debug: bool = False,
    progress: bool = True,
    reporter: Reporter | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainingResult:
    """As `training.train.train`, with the settings as `config`; `images` is None for those of `config.source`."""
    if debug:
        os.environ.setdefault("CUDA_LAUNCH_BLOCKING", "1")
    check_log(config.monitoring.log)
    place, config = choose_device(device), without_unknown_inputs(config, images)
    start = starting_model(config, out)  # before the images, which may take minutes
    if images is None:
        images = configured_images(config, cache)
    elif not config.data.labels:
        images = images.without_labels()
    resumed = config_to_resume(config, out)
    plan = resolve_config(resumed if start is None else with_network_of(resumed, start, images), images, place)
    is_resized = config.network.start is None and has_other_budget(config, out)
    other_size = size_notice(config, plan.config, images, place) if is_resized else ()
    config, model_config = plan.config, model_for(plan.config, images)
    sampler_config(model_config.built_schedule(), steps=config.monitoring.preview_steps)  # raises errors early
    has_bar = reporter is None and progress and shows_bars()
    with (
        TrainingBar() if has_bar else nullcontext(reporter) as shown,
        nullcontext() if debug else device_failures(DEVICE_FAILED),
        out_of_memory(OUT_OF_MEMORY),
        Run(Path(out), config, DataRecord.of(images)) as run,
    ):

        def say(text: str) -> None:
            if shown is not None:
                shown.say(text)
            run.log(f"{datetime.now():%Y-%m-%d %H:%M:%S} {text}")

        notices = [notice for notice in images.notices if notice.matters]
        for notice in (*notices, *plan.reasons, *plan.warnings, *other_size):
            say(str(notice))
        if config.network.is_custom and not takes(config.network.backbone, "classes"):
            say(f"Labels are not used: the constructor of {config.network.backbone} has no argument classes.")
        run.describe(model_config)
        settings = config.optimization
        torch.manual_seed(settings.seed)
        model = Model(model_config)
        if start is not None:
            for notice in (started_message(config, start), *transfer(start, model)):
                say(notice)
            start = None  # frees its weights
        model = model.to(place)
        check_call(model)
        check_quantiles(config.diffusion.time_density, model.schedule)
        check_loss(model, config)
        state = TrainingState(model, settings)
        for problem in run.resume(state):
            say(f"Skipped a checkpoint: {problem}")
        run.log_to(config.monitoring.log, state.counters.images_seen, say)
        precision = precision_for(settings.precision, place, sum(p.numel() for p in state.model.parameters()))
        config = replace(config, optimization=replace(settings, precision=precision))
        trained, held_out = split(images, config.data.validation_share, settings.seed)
        monitor = Monitor(config, run, state, trained, held_out, cache, say, should_stop)
        say(_start_message(config, state, trained, held_out, place))
        loader = make_loader(trained, settings.seed, place)
        loop = TrainingLoop(config, run, state, loader, monitor, shown, should_stop)
        if loop.share < 1 and not should_stop():
            loop.run_steps(engine_for(state, config, loader, debug, cache, say))
        if loop.share == 1:
            monitor.measure_at_end()
    if isinstance(state.average, Model):
        state.average.images_seen = state.counters.images_seen
    return TrainingResult(state, config, loop.share)


def engine_for(
    state: TrainingState,
    config: TrainConfig,
    loader: Loader,
    debug: bool,
    cache: Path | None,
    say: Callable[[str], None],
) -> Engine:
    """A CUDA-graph engine on a GPU, compiled if the run is long enough; an eager engine otherwise and for debugging."""
    if loader.device.type != "cuda" or debug:
        return EagerEngine(state, config, say)
    start, size = time.perf_counter(), config.optimization.batch_size
    prepare(state.model.network, config, cache_folder(cache) / "compiled", say)
    engine = captured_engine(state, config, loader.batch(state.counters.images_seen, size), say)
    say(f"Ready to train after {time.perf_counter() - start:.0f} s.")
    return engine


class TrainingLoop:
    """The training loop and its state."""

    def __init__(
        self,
        config: TrainConfig,
        run: Run,
        state: TrainingState,
        loader: Loader,
        monitor: Monitor,
        reporter: Reporter | None,
        should_stop: Callable[[], bool],
    ) -> None:
        self.config, self.run, self.state, self.loader, self.monitor = config, run, state, loader, monitor
        self.reporter, self.should_stop = reporter, should_stop
        self.budget = Budget.of(config.optimization)
        self.recent: list[StepResult] = []
        self.bad_steps_in_a_row = 0
        self.saved_at = self.counted_until = time.perf_counter()

    def run_steps(self, engine: Engine) -> None:
        """Trains, validates and saves until the budget is spent or `should_stop` returns True, then saves."""
        counters, self.engine = self.state.counters, engine
        began_at, self.counted_until = counters.images_seen, time.perf_counter()
        before = self.progress
        self.measure(self.monitor.due_after_resume(before))
        while self.share < 1 and not self.should_stop():
            size = self.budget.batch(counters, self.config.optimization.batch_size)
            self.count(engine.step(self.loader.batch(counters.images_seen, size)))
            now = self.progress
            self.keep_guidance_checkpoint(before, now)
            self.measure(self.monitor.due(before, now))  # before saving, so that a checkpoint has its measurements
            if time.perf_counter() - self.saved_at >= 60 * self.config.monitoring.save_minutes:
                self.pause(self.save)
            before = now  # not recomputed: time counted in the pauses above belongs to the next step
        self.count(engine.drained())
        self.keep_guidance_checkpoint(before, self.progress)
        if counters.images_seen > began_at:
            self.write_metrics()
            self.save()

    @property
    def share(self) -> float:
        """Completed share of the run, in [0, 1]."""
        return self.budget.spent(self.state.counters)

    @property
    def progress(self) -> TrainingProgress:
        """Images seen and completed share of the run."""
        return TrainingProgress(self.state.counters.images_seen, self.share)

    def count(self, results: Sequence[StepResult]) -> None:
        """Adds the time since the last results to the training time, and reports the results."""
        now = time.perf_counter()
        self.state.counters.seconds += now - self.counted_until
        self.counted_until = now
        for result in results:
            self.recent.append(result)
            self.check_finite(result)
            if self.reporter is not None:
                self.reporter.advance(self.state.counters.images_seen, self.share, result.loss, self.loader.seconds)
            if len(self.recent) == STEPS_PER_LINE:
                self.write_metrics()

    def pause(self, other_work: Callable[[], None]) -> None:
        """Waits for all steps, then does other work, which does not count as training time."""
        self.count(self.engine.drained())
        other_work()
        self.counted_until = time.perf_counter()

    def check_finite(self, result: StepResult) -> None:
        """Raises `TrainingError` after `MOST_BAD_STEPS` consecutive steps that are not finite."""
        self.bad_steps_in_a_row = 0 if result.finite else self.bad_steps_in_a_row + 1
        if self.bad_steps_in_a_row == MOST_BAD_STEPS:
            raise TrainingError(
                f"the loss or its gradient was not finite in {MOST_BAD_STEPS} steps in a row, "
                f"the last at {self.state.counters.images_seen} images",
                "Start a new run with a lower --learning-rate or --precision float32. Saved checkpoints are intact.",
            )

    def write_metrics(self) -> None:
        """Writes the mean over the steps since the last line to metrics.jsonl."""
        if not self.recent:
            return
        counters, settings = self.state.counters, self.config.optimization
        good = [result for result in self.recent if result.finite]
        self.run.add_measurement(
            {
                "kind": "train",
                "images": counters.images_seen,
                "steps": counters.steps,
                "seconds": round(counters.seconds, 3),
                "loss": sum(r.loss for r in good) / len(good) if good else None,
                "gradient_norm": sum(r.gradient_norm for r in good) / len(good) if good else None,
                "learning_rate": settings.learning_rate * learning_rate_scale(settings, self.share, self.share),
                "skipped": counters.skipped,
            }
        )
        self.recent.clear()

    def keep_guidance_checkpoint(self, before: TrainingProgress, now: TrainingProgress) -> None:
        """Saves the EMA weights for autoguidance if that is due between two steps."""
        if self.monitor.is_guidance_checkpoint_due(before, now):
            self.pause(lambda: self.run.save_guidance_checkpoint(self.state))

    def measure(self, due: Sequence[Callable[[], None]]) -> None:
        """Takes the measurements that are due, except at the end of the run (`Monitor.measure_at_end`)."""
        if due and self.share < 1:
            self.pause(lambda: self.monitor.measure(due))

    def save(self) -> None:
        """Writes a checkpoint, and the best model if there is a new one."""
        self.run.save(self.state, self.config.monitoring.keep, self.monitor.best)
        self.monitor.best = None
        self.saved_at = time.perf_counter()


def _start_message(
    config: TrainConfig, state: TrainingState, trained: ImageSet, held_out: ImageSet, device: torch.device
) -> str:
    """The first message of a run."""
    channels, height, width = trained.image_shape
    parameters = sum(p.numel() for p in state.model.parameters()) / 1e6
    settings = config.optimization
    conditions = ", ".join(map(str, trained.columns)) or f"{len(trained.label_names) or 'no'} classes"
    start = config.network.start
    network = "" if start is None else f" with the network of {start}"
    seen = state.counters.images_seen
    resumed = f" Resumed after {seen:,} images." if seen else ""
    return (
        f"{len(trained):,} images of {width}x{height} pixels, {mode_title(channels, trained.depth.opacity)}, "
        f"{depth_title(trained.depth.dtype)}, {conditions} ({len(held_out):,} more for validation); preset "
        f"{config.preset}{network}, {parameters:.1f} M parameters in {settings.precision}, on {device}, "
        f"for {Budget.of(settings)}.{resumed}"
    )
