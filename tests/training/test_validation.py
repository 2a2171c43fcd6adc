"""The validation loss: fixed images, noise and levels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from sfumato.data import ImageSet, load_images, split
from sfumato.diffusion.denoiser import PreconditionedDenoiser, predict_noise
from sfumato.diffusion.schedules import LinearBeta
from sfumato.models import load
from sfumato.sampling.sampler import sample
from sfumato.training import step, validation
from sfumato.training.measurements import read_metrics
from sfumato.training.validation import Validation
from sfumato.utils import pictures

from .conftest import Calls, Settings, Train

SCHEDULE = LinearBeta(100)
LEVELS = ["0.05", "0.15", "0.25", "0.35", "0.45", "0.55", "0.65", "0.75", "0.85", "0.95"]


class Knowing(nn.Module):
    """A network that knows the one image there is, and so the noise, at times from `since` on; elsewhere it says 0."""

    def __init__(self, image: torch.Tensor, since: float) -> None:
        super().__init__()
        self.image, self.since = nn.Parameter(image), since

    def forward(self, x: torch.Tensor, times: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """The noise in x."""
        del labels
        t = (times.double() + 1) / SCHEDULE.timesteps
        alpha, sigma = (f(t).float()[:, None, None, None] for f in (SCHEDULE.alpha, SCHEDULE.sigma))
        return (x - alpha * self.image) / sigma * (t >= self.since)[:, None, None, None]


@pytest.fixture
def images() -> ImageSet:
    """One image of 1x16x16."""
    return ImageSet.of(torch.randint(0, 256, (1, 1, 16, 16), generator=torch.Generator().manual_seed(3)).byte())


@pytest.fixture
def knowing(images: ImageSet) -> Callable[[float], PreconditionedDenoiser]:
    """A denoiser around `Knowing`."""

    def denoiser(since: float) -> PreconditionedDenoiser:
        network = Knowing(images.floats()[0], since)
        return PreconditionedDenoiser(network, SCHEDULE, predict_noise, images.image_shape)

    return denoiser


def test_an_exact_model_has_loss_0_and_an_unrelated_one_loss_1(
    images: ImageSet, knowing: Callable[[float], PreconditionedDenoiser]
) -> None:
    fixed = Validation(images, 50, seed=0)
    assert fixed.loss(knowing(0.0)).mean == pytest.approx(0, abs=1e-6)
    assert fixed.loss(knowing(2.0)).mean == pytest.approx(1, abs=0.1)


def test_the_validation_loss_is_the_mean_over_noise_levels(
    images: ImageSet, knowing: Callable[[float], PreconditionedDenoiser]
) -> None:
    loss = Validation(images, 50, seed=0).loss(knowing(0.5))
    assert list(loss.by_time) == LEVELS
    assert [value > 0.5 for value in loss.by_time.values()] == [True] * 5 + [False] * 5
    assert loss.mean == pytest.approx(sum(loss.by_time.values()) / 10, abs=1e-5)


def test_the_noise_is_fixed_for_a_seed(images: ImageSet, knowing: Callable[[float], PreconditionedDenoiser]) -> None:
    first = Validation(images, 20, seed=0).loss(knowing(2.0))
    torch.manual_seed(99)
    assert Validation(images, 20, seed=0).loss(knowing(2.0)) == first
    assert Validation(images, 20, seed=1).loss(knowing(2.0)) != first


@pytest.mark.parametrize(("count", "expected"), [(1, 10), (10, 10), (25, 25), (150, 150)])
def test_every_level_has_an_evaluation_and_each_is_reported(
    count: int, expected: int, images: ImageSet, knowing: Callable[[float], PreconditionedDenoiser]
) -> None:
    counts: list[int] = []
    Validation(images, count, seed=0).loss(knowing(0.0), on_batch=counts.append)
    assert sum(counts) == expected


def test_images_are_repeated_at_all_levels_with_their_labels(
    calls: Calls, settings: Settings, go: Train, tmp_path: Path
) -> None:
    config, asked = settings(images=8, validation_share=0.3, validation_count=40), calls(validation)
    go(config, tmp_path / "run")
    _, kept = split(load_images(config.source), 0.3, seed=0)
    (call,) = asked
    assert kept.labels is not None
    assert not call.training
    assert torch.equal(call.x_0, kept.floats().repeat_interleave(10, dim=0))
    assert torch.equal(call.labels, kept.labels.repeat_interleave(10))


def test_validation_images_are_never_trained_on(calls: Calls, settings: Settings, go: Train, tmp_path: Path) -> None:
    asked = [calls(step), calls(validation)]
    go(settings(images=60, validation_share=0.25, validation_count=30, flip=False), tmp_path / "run")
    trained, kept = ({image.numpy().tobytes() for call in part for image in call.x_0} for part in asked)
    assert (len(trained), len(kept)) == (9, 3)
    assert not trained & kept


def test_validation_and_previews_use_the_ema_model(settings: Settings, go: Train, tmp_path: Path) -> None:
    config, run = settings(images=24), tmp_path / "run"
    go(config, run)
    model = load(run)
    _, kept = split(load_images(config.source), config.data.validation_share, seed=0)
    loss = Validation(kept, config.monitoring.validation_count, seed=0).loss(model)
    (measured,) = (m for m in read_metrics(run) if m["kind"] == "validation")
    assert measured == {"kind": "validation", "images": 24, "loss": loss.mean, "by_time": loss.by_time}
    expected = pictures.grid(sample(model, 2, labels=model.label_names, steps=5, seed=0), titles=model.label_names)
    with Image.open(run / "samples" / "000000000024.png") as drawn:
        assert np.array_equal(np.asarray(drawn), np.asarray(expected))
