"""Training budgets: what counts, when a run ends, and the same result for any number of interruptions."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sfumato.data import Batch
from sfumato.models import images_seen
from sfumato.training import engine, loop, monitor
from sfumato.training.checkpoints import Run
from sfumato.training.config import OptimizationConfig, TrainConfig
from sfumato.training.measurements import read_metrics
from sfumato.training.monitor import TrainingProgress, ValidationSchedule
from sfumato.training.optim import learning_rate_scale
from sfumato.training.state import Budget, Counters, TrainingState
from sfumato.training.step import StepResult

from .conftest import Saved, Settings, Train

STEP, OTHER_WORK = 1.5, 1000.0
"""Seconds, of the clock below, that a step takes, and everything else that a run does."""

MINUTE_STEPS = 40
"""Steps of a minute."""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that only moves while a run steps, looks, evaluates, saves, or prepares its images."""
    clock = SimpleNamespace(now=0.0)
    clock.perf_counter = lambda: clock.now
    monkeypatch.setattr(loop, "time", clock)

    def takes(seconds: float, of: Any, name: str) -> None:  # noqa: ANN401
        work: Callable[..., Any] = getattr(of, name)

        def timed(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            clock.now += seconds
            return work(*args, **kwargs)

        monkeypatch.setattr(of, name, timed)

    takes(STEP, engine, "training_step")
    for of, name in [
        *((monitor.Monitor, name) for name in ("validate", "preview", "evaluate")),
        *((Run, name) for name in ("save", "save_guidance_checkpoint", "save_best", "resume")),
        (loop, "engine_for"),
    ]:
        takes(OTHER_WORK, of, name)
    return clock


@pytest.fixture
def minute(settings: Settings) -> TrainConfig:
    """A run of one minute, with everything on that is done besides training, often."""
    return settings(
        images=None,
        minutes=1.0,
        decay=1.0,
        validate_every=20,
        eval_every=28,
        eval_count=4,
        save_minutes=0.1,
        autoguidance_at=0.3,
    )


@pytest.mark.parametrize(
    ("budget", "counters", "more", "share"),
    [
        (Budget(100, None), Counters(images_seen=25), 0, 0.25),
        (Budget(100, None), Counters(images_seen=25, seconds=1e9), 25, 0.5),
        (Budget(100, None), Counters(images_seen=90), 25, 1.0),
        (Budget(None, 2.0), Counters(images_seen=10**9, seconds=30.0), 10**6, 0.25),
        (Budget(None, 2.0), Counters(seconds=500.0), 0, 1.0),
        (Budget(100, 2.0), Counters(images_seen=10, seconds=60.0), 0, 0.5),
        (Budget(100, 2.0), Counters(images_seen=60, seconds=60.0), 0, 0.6),
    ],
)
def test_the_spent_share_is_the_larger_one_and_at_most_1(
    budget: Budget, counters: Counters, more: int, share: float
) -> None:
    assert budget.spent(counters, more) == pytest.approx(share)


def test_only_the_last_batch_of_a_budget_is_smaller() -> None:
    assert [Budget(100, 1.0).batch(Counters(images_seen=seen), 32) for seen in (0, 64, 68, 96)] == [32, 32, 32, 4]
    assert Budget(None, 1.0).batch(Counters(images_seen=10**9), 32) == 32


def test_a_budget_as_text() -> None:
    assert str(Budget(2000, None)) == "2,000 images"
    assert str(Budget(None, 0.5)) == "0.5 minutes of training"
    assert str(Budget(2000, 30.0)) == "2,000 images or 30 minutes of training"


def test_the_budget_follows_from_the_settings() -> None:
    assert Budget.of(OptimizationConfig(images=5, minutes=2.0)) == Budget(5, 2.0)


@pytest.mark.parametrize(
    ("limits", "steps", "seconds"),
    [
        ({"images": None, "minutes": 1.0}, 40, 60.0),
        ({"images": None, "minutes": 0.51}, 21, 31.5),
        ({"images": 80, "minutes": 1.0}, 20, 30.0),
        ({"images": 10**6, "minutes": 0.5}, 20, 30.0),
        ({"images": 10, "minutes": None}, 3, 4.5),
    ],
)
def test_the_first_budget_that_is_reached_ends_the_run(
    limits: dict[str, float | None], steps: int, seconds: float, clock: SimpleNamespace, settings: Settings, go: Train,
    tmp_path: Path,
) -> None:  # fmt: skip
    del clock
    counters = go(settings(**limits), tmp_path / "run").counters
    assert (counters.steps, counters.seconds) == (steps, seconds)


def test_only_training_steps_count_as_training_time(
    clock: SimpleNamespace, minute: TrainConfig, go: Train, tmp_path: Path
) -> None:
    counters = go(minute, tmp_path / "run").counters
    assert (counters.steps, counters.seconds) == (MINUTE_STEPS, 60.0)
    kinds = [m["kind"] for m in read_metrics(tmp_path / "run")]
    assert (kinds.count("validation"), kinds.count("evaluation")) == (8, 6)
    assert clock.now > 60 + 40 * OTHER_WORK


@pytest.mark.slow
def test_a_resumed_run_of_minutes_equals_an_uninterrupted_one(
    clock: SimpleNamespace, minute: TrainConfig, go: Train, saved: Saved, tmp_path: Path
) -> None:
    del clock
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    seconds = [go(minute, whole).counters.seconds]
    for steps in (13, 7, 1, 18):
        go(minute, parts, steps=steps)
    seconds.append(go(minute, parts).counters.seconds)
    assert seconds == [60.0, 60.0]
    (tensors, counters), (others, other_counters) = saved(whole), saved(parts)
    assert counters == other_counters == {"images_seen": 4 * MINUTE_STEPS, "steps": MINUTE_STEPS, "skipped": 0}
    assert all(torch.equal(tensor, others[name]) for name, tensor in tensors.items())
    for run in (whole, parts):
        last = [m for m in read_metrics(run) if m["kind"] == "train"][-1]
        assert (last["learning_rate"], last["seconds"], last["steps"]) == (0.0, 60.0, MINUTE_STEPS)
        assert images_seen(run) == 4 * MINUTE_STEPS


def test_the_learning_rate_follows_the_share_of_the_minutes(
    clock: SimpleNamespace, minute: TrainConfig, go: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    del clock
    rates: list[float] = []
    timed: Callable[..., StepResult] = vars(engine)["training_step"]  # by the clock

    def watched(state: TrainingState, batch: Batch, config: TrainConfig, parts: int) -> StepResult:
        result = timed(state, batch, config, parts)
        rates.append(state.optimizer.rules[0].rate_now.item())  # type: ignore[attr-defined]
        return result

    monkeypatch.setattr(engine, "training_step", watched)
    go(minute, tmp_path / "run")
    begun = [step / MINUTE_STEPS for step in range(MINUTE_STEPS)]
    assert rates == pytest.approx([1e-2 * learning_rate_scale(minute.optimization, share, share) for share in begun])
    assert max(rates) == pytest.approx(8.25e-3)
    assert rates[-1] == pytest.approx(1e-2 / MINUTE_STEPS)


def test_an_extended_budget_resumes_and_a_shorter_one_is_done(
    clock: SimpleNamespace, settings: Settings, go: Train, tmp_path: Path
) -> None:
    del clock
    totals = [
        go(settings(images=None, minutes=minutes), tmp_path / "run").counters.seconds
        for minutes in (0.5, 1.0, 0.2, 1.0, 1.5)
    ]
    assert totals == [30.0, 60.0, 60.0, 60.0, 90.0]


def test_a_run_of_minutes_resumes_with_a_budget_of_images(
    clock: SimpleNamespace, settings: Settings, go: Train, tmp_path: Path
) -> None:
    del clock
    go(settings(images=None, minutes=0.5), tmp_path / "run")
    assert go(settings(images=100), tmp_path / "run").counters.steps == 25


def looks_at(config: TrainConfig, steps: int, seconds: float = 0.0) -> list[int]:
    """The images at which a run of so many steps, which take so long, is looked at."""
    batch, budget = config.optimization.batch_size, Budget.of(config.optimization)
    looks, found = ValidationSchedule(config), []
    moments = [
        TrainingProgress(step * batch, budget.spent(Counters(images_seen=step * batch, seconds=step * seconds)))
        for step in range(steps + 1)
    ]
    for before, now in pairwise(moments):
        found += [now.images] if looks.is_due(before, now) else []
    return found


def test_long_runs_are_validated_at_doublings_then_twentieths(settings: Settings) -> None:
    found = looks_at(settings(images=40_000, batch=10, validate_every=None), 4000)
    assert found == [500, 1000, *range(2000, 40_001, 2000)]


def test_runs_of_minutes_are_validated_at_most_once_a_minute(settings: Settings) -> None:
    found = looks_at(settings(images=None, minutes=3.0, batch=1, validate_every=None), 360, seconds=0.5)
    assert found == [50, 100, 120, 240, 360]


def test_short_runs_are_validated_after_at_least_50_batches(settings: Settings) -> None:
    assert looks_at(settings(images=1500, batch=10, validate_every=None), 150) == [500, 1000, 1500]
    assert looks_at(settings(images=400, batch=10, validate_every=None), 40) == [400]


def test_validations_follow_validate_every(settings: Settings) -> None:
    assert looks_at(settings(images=400, batch=10, validate_every=150), 40) == [150, 300]
