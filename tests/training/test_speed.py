"""Training speed is measured by steps of about one second."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sfumato.data import ImageSet, Loader, make_loader
from sfumato.data.loader import Batch
from sfumato.training import speed
from sfumato.training.autoconfig import resolve_config
from sfumato.training.config import TrainConfig
from sfumato.training.presets import preset_for
from sfumato.training.speed import images_a_second, training_rate

CPU = torch.device("cpu")
IMAGES = ImageSet.of(torch.zeros(50, 1, 8, 8, dtype=torch.uint8))


@pytest.fixture
def config() -> TrainConfig:
    """A small network, complete."""
    config = preset_for("photos", "default")
    settings = replace(config.optimization, minutes=1.0, batch=32)
    return resolve_config(replace(config, optimization=settings), IMAGES, CPU, rate=1e9).config


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of the batches that were learned from, by a device that takes 0.01 s an image; the first takes 9 s."""
    clock, sizes = [0.0], list[int]()

    def step(engine: speed.EagerEngine, batch: Batch) -> None:
        clock[0] += 0.01 * len(batch.images) if sizes else 9.0
        sizes.append(len(batch.images))
        engine.state.counters.images_seen += len(batch.images)

    monkeypatch.setattr(speed.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(speed.EagerEngine, "step", step)
    return sizes


def test_the_first_step_is_not_measured(config: TrainConfig, batches: list[int]) -> None:
    assert images_a_second(config, IMAGES, CPU, 30) == pytest.approx(100)
    assert batches == [30] * 5


def test_a_slow_first_step_is_the_measurement(
    config: TrainConfig, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "LONG", 8.0)
    assert images_a_second(config, IMAGES, CPU, 30) == pytest.approx(30 / 9)
    assert batches == [30]


@pytest.mark.usefixtures("batches")
def test_at_most_one_batch_of_images_is_read(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def feed(images: ImageSet, seed: int, device: torch.device) -> Loader:
        read.append(len(images))
        return make_loader(images, seed, device)

    monkeypatch.setattr(speed, "make_loader", feed)
    for batch in (30, 50, 64):
        images_a_second(config, IMAGES, CPU, batch)
    assert read == [30, 50, 50]


@pytest.mark.parametrize(("free", "batch"), [(20_000, 10), (2_000, 1), (1_999, None)])
def test_a_batch_takes_half_of_the_free_memory_at_most(
    free: int, batch: int | None, config: TrainConfig, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where not even one image fits, half of what the device makes in convolutions is expected."""
    monkeypatch.setattr(speed, "convolution_rate", lambda _: 3e9)
    monkeypatch.setattr(speed, "free_memory", lambda _: free)
    expected = 1.5e9 if batch is None else 3e9
    assert training_rate(config, IMAGES, CPU, 10**7, 1000) == pytest.approx(expected)
    assert set(batches) == ({batch} - {None})


def test_a_step_that_does_not_fit_is_estimated_not_measured(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(engine: speed.EagerEngine, batch: Batch) -> None:
        raise RuntimeError(f"[enforce fail] can't allocate memory: {engine.microbatches} {len(batch.images)}")

    monkeypatch.setattr(speed, "convolution_rate", lambda _: 3e9)
    monkeypatch.setattr(speed.EagerEngine, "step", step)
    assert training_rate(config, IMAGES, CPU, 10**7, 1000) == 1.5e9


@pytest.mark.parametrize(("operations", "batch"), [(10**7, 32), (10**8, 5), (10**9, 1)])
def test_a_measured_step_takes_about_a_second_or_has_one_image(
    operations: int, batch: int, config: TrainConfig, batches: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As expected of a device that makes 3 x 10^9 operations a second in convolutions, and half of that in training."""
    monkeypatch.setattr(speed, "convolution_rate", lambda _: 3e9)
    assert training_rate(config, IMAGES, CPU, operations, 1000) == pytest.approx(3 * operations * 100)
    assert set(batches) == {batch}


def test_real_steps_are_taken(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "SECONDS", 0.01)
    assert 1 < images_a_second(config, IMAGES, CPU, 4) < 10**6
