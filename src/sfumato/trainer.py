"""Training, read from top to bottom."""

import math
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch

from sfumato import pictures
from sfumato.data import Feed, ImageSet, feed_for, nonleaking, split
from sfumato.devices import choose_device, out_of_memory
from sfumato.errors import TrainingError
from sfumato.models import ModelConfig, build
from sfumato.nn.unet import UNetConfig
from sfumato.runs import Learned, Run, configured_images
from sfumato.sampling import route_for, sample
from sfumato.sources import depth_title, mode_title
from sfumato.training.config import TrainConfig
from sfumato.training.heldout import HeldOut
from sfumato.training.state import TrainingState
from sfumato.training.step import StepResult, learning_rate, training_step

MOST_BAD_STEPS = 10
"""Steps in a row without a finite loss and gradient before a run is stopped."""

OUT_OF_MEMORY = "Choose a smaller --batch, --width or --size, in a new run (--out), or a smaller --preview-count."

STEPS_A_LINE = 50
"""Steps behind each training line of metrics.jsonl."""


@runtime_checkable
class Reporter(Protocol):
    """What a person sees while a model learns."""

    def say(self, text: str) -> None:
        """A sentence that should be read."""

    def advance(self, images_seen: int, images: int, loss: float, waited: float) -> None:
        """A step ended: `images_seen` of `images`, at this loss; `waited` seconds for data since training began."""


class Silent:
    """A reporter for programs."""

    def say(self, text: str) -> None:
        """Nothing."""

    def advance(self, images_seen: int, images: int, loss: float, waited: float) -> None:
        """Nothing."""


class _Stopped(Exception):  # noqa: N818 (not an error)
    """Raised out of a look at the model when the run should stop."""


def train(
    config: TrainConfig,
    out: str | Path,
    *,
    device: str = "auto",
    cache: Path | None = None,
    reporter: Reporter | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainingState:
    """Trains a model in the run directory `out`, or goes on where the run there stopped.

    Sets torch's global generators (see `training_step`).

    Args:
        config: the settings, complete.
        out: the run directory.
        device: "auto", "cpu", "cuda", "cuda:1", "mps".
        cache: where decoded images are kept; None: SFUMATO_CACHE, or the user's cache.
        reporter: told of progress.
        should_stop: asked after every step; once true, the run is saved and left.

    Returns:
        The state at the end, on the device.

    Raises:
        DataError: the images cannot be learned from.
        RunError: the directory holds something else, or cannot be written.
        ConfigError: the settings make no sense.
        SamplingError: the preview has too few steps.
        TrainingError: the numbers are no longer finite.
        OutOfMemoryError: a step does not fit into the device's memory.
    """
    reporter = reporter or Silent()
    place = choose_device(device)
    data = config.data
    images = configured_images(config, cache)
    model_config = model_for(config, images)
    route_for(model_config.built_schedule(), steps=config.watch.preview_steps)  # refuses what no preview can have
    with Run(Path(out), config, Learned.of(images)) as run, out_of_memory(OUT_OF_MEMORY):
        say = _said_and_logged(reporter, run)
        for notice in images.notices:
            say(notice)
        run.describe(model_config)
        torch.manual_seed(config.optimization.seed)
        state = TrainingState(build(model_config).to(place))
        for problem in run.resume(state):
            say(f"Passed over a checkpoint: {problem}")
        learned, kept = split(images, data.holdout, config.optimization.seed)
        heldout = HeldOut(kept, config.watch.heldout_count, config.optimization.seed)
        say(_opening(config, state, learned, kept, place))
        feed = feed_for(learned, config.optimization.seed, place)
        _Loop(config, run, state, feed, heldout, reporter, should_stop).run_to_the_end()
    return state


def model_for(config: TrainConfig, images: ImageSet) -> ModelConfig:
    """The model that `config` means for these images.

    Attention at "about r pixels" is the level whose feature maps' longer side is nearest to r on a log scale.

    Raises:
        ConfigError: the settings make no network or no schedule.
    """
    network, diffusion = config.network, config.diffusion
    channels, height, width = images.image_shape
    sides = [max(height, width) / 2**level for level in range(len(network.multipliers))]
    attention = [i for i, side in enumerate(sides) if any(round(math.log2(side / r)) == 0 for r in network.attention)]
    unet = UNetConfig(
        image_channels=channels,
        width=network.width,
        multipliers=network.multipliers,
        blocks=network.blocks,
        attention_levels=tuple(attention),
        dropout=network.dropout,
        classes=len(images.label_names),
        columns=tuple(column.size for column in images.columns),
        augmentation=nonleaking.TOLD if config.data.augment else 0,
    )
    return ModelConfig(
        network=unet,
        schedule=diffusion.schedule,
        zero_terminal_snr=diffusion.zero_terminal_snr,
        shift=diffusion.shift,
        parametrization=diffusion.parametrization,
        image_shape=images.image_shape,
        label_names=images.label_names,
        columns=images.columns,
        label_column=next(iter(config.data.condition), "label") if images.label_names else "label",
        depth=images.depth,
    )


class _Loop:
    """The loop and what it keeps from step to step."""

    def __init__(
        self,
        config: TrainConfig,
        run: Run,
        state: TrainingState,
        feed: Feed,
        heldout: HeldOut,
        reporter: Reporter,
        should_stop: Callable[[], bool],
    ) -> None:
        self.config, self.run, self.state, self.feed = config, run, state, feed
        self.heldout, self.reporter, self.should_stop = heldout, reporter, should_stop
        self.recent: list[StepResult] = []
        self.bad_steps_in_a_row = 0
        self.saved_at = time.monotonic()

    def run_to_the_end(self) -> None:
        """Step, count, look, save, until all images are seen or it is asked to stop; saves in either case."""
        counters, goal = self.state.counters, self.config.optimization.images
        began_at = counters.images_seen
        while counters.images_seen < goal and not self.should_stop():
            before = counters.images_seen
            result = self.step(min(self.config.optimization.batch, goal - before))
            self.reporter.advance(counters.images_seen, goal, result.loss, self.feed.seconds)
            if len(self.recent) == STEPS_A_LINE:
                self.measure()
            if time.monotonic() - self.saved_at >= 60 * self.config.watch.save_minutes:
                self.save()
            if is_time_to_look(self.config, before, counters.images_seen) and counters.images_seen < goal:
                self.look()
        if counters.images_seen > began_at:
            self.measure()
            self.save()
        if counters.images_seen >= goal and not self.preview_path().exists() and not self.should_stop():
            self.look()

    def step(self, count: int) -> StepResult:
        """One training step on the next `count` images."""
        counters = self.state.counters
        batch = self.feed.batch(counters.images_seen, count)
        start = time.perf_counter()
        result = training_step(self.state, batch.images, batch.labels, self.config)
        counters.seconds += time.perf_counter() - start
        self.recent.append(result)
        self.judge(result)
        return result

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
                "learning_rate": learning_rate(settings, counters.images_seen),
                "skipped": counters.skipped,
            }
        )
        self.recent.clear()

    def look(self) -> None:
        """The held-out loss and a preview grid of the averaged model; given up at once when asked to stop."""
        watch, seen, model = self.config.watch, self.state.counters.images_seen, self.state.average
        try:
            loss = self.heldout.loss(model, on_batch=self._give_up_if_asked)
            self.run.measure({"kind": "heldout", "images": seen, "loss": loss.mean, "by_time": loss.by_time})
            images = sample(
                model,
                watch.preview_count,
                labels=model.label_names or None,
                steps=watch.preview_steps,
                seed=self.config.optimization.seed,
                batch=min(64, watch.preview_count),
                on_step=self._give_up_if_asked,
            )
        except _Stopped:
            return
        pictures.save_grid(images, self.preview_path())
        measured = "not finite" if loss.mean is None else f"{loss.mean:.4f}"
        _said_and_logged(self.reporter, self.run)(f"{seen:,} images: held-out loss {measured}")

    def preview_path(self) -> Path:
        """The preview grid of this moment."""
        return self.run.samples / f"{self.state.counters.images_seen:012d}.png"

    def _give_up_if_asked(self, _: int) -> None:
        if self.should_stop():
            raise _Stopped

    def save(self) -> None:
        """Writes a checkpoint."""
        self.run.save(self.state, self.config.watch.keep)
        self.saved_at = time.monotonic()


def is_time_to_look(config: TrainConfig, before: int, now: int) -> bool:
    """Whether a look is due between two counts of images.

    A look is due at every multiple of `watch_every`; by default at every twentieth of the run (or 50 batches, if
    that is more), and before the first of them at 50 batches, 100, 200, ...
    """
    first = 50 * config.optimization.batch
    every = config.watch.watch_every or max(first, config.optimization.images // 20)
    if before // every != now // every:
        return True
    if now >= every or now < first or config.watch.watch_every is not None:
        return False
    return before < first or math.floor(math.log2(before / first)) != math.floor(math.log2(now / first))


def _said_and_logged(reporter: Reporter, run: Run) -> Callable[[str], None]:
    def say(text: str) -> None:
        reporter.say(text)
        run.log(f"{datetime.now():%Y-%m-%d %H:%M:%S} {text}")

    return say


def _opening(config: TrainConfig, state: TrainingState, learned: ImageSet, kept: ImageSet, device: torch.device) -> str:
    """The sentences that a run begins with."""
    channels, height, width = learned.image_shape
    parameters = sum(p.numel() for p in state.model.parameters()) / 1e6
    conditions = ", ".join(map(str, learned.columns)) or f"{len(learned.label_names) or 'no'} classes"
    seen = state.counters.images_seen
    begun = f" Going on after {seen:,} images." if seen else ""
    return (
        f"{len(learned):,} images of {width}x{height} pixels, {mode_title(channels)}, "
        f"{depth_title(learned.depth.dtype)}, {conditions} ({len(kept):,} more held out); preset "
        f"{config.preset}, {parameters:.1f} M parameters, on {device}.{begun}"
    )
