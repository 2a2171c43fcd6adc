"""Augmentation in training depends on seed and position, is an input of the network, and does not appear in samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sfumato.data import Batch, Purpose, augmented, flipped, translated, uniform
from sfumato.data import augmentation as augmentation_module
from sfumato.data.augmentation import (
    AUGMENTATION_FEATURES,
    apply_transforms,
    augmentation_labels,
    draw_transforms,
)
from sfumato.diffusion.denoiser import PreconditionedDenoiser, predict_data
from sfumato.diffusion.schedules import build_schedule
from sfumato.models import load
from sfumato.sampling.sampler import sample
from sfumato.training import step, validation
from sfumato.training.config import OptimizationConfig, TrainConfig
from sfumato.training.data_config import DataConfig
from sfumato.training.state import TrainingState
from sfumato.training.step import training_step
from sfumato.utils.shapes import AugmentationLabels

from .conftest import Calls, NewState, Settings, Train

EVERYTHING = DataConfig(flip=True, translate=2, augment=0.3)
KINDS = [DataConfig(flip=True), DataConfig(translate=2), DataConfig(augment=0.3), EVERYTHING]

IMAGES = torch.linspace(-1, 1, 24 * 3 * 8 * 8).reshape(24, 3, 8, 8)


def augment(images: Tensor, config: DataConfig, seed: int, start: int) -> tuple[Tensor, AugmentationLabels | None]:
    """Augments the images as the settings request it."""
    return augmented(images, config.flip, config.translate, config.augment or 0.0, seed, start)


def test_augmentation_is_off_by_default() -> None:
    images, features = augment(IMAGES, DataConfig(), seed=0, start=0)
    assert images is IMAGES
    assert features is None


@pytest.mark.parametrize("config", KINDS)
def test_parts_of_a_batch_are_augmented_like_the_whole(config: DataConfig) -> None:
    images, features = augment(IMAGES, config, seed=3, start=1000)
    assert not torch.equal(images, IMAGES)
    (first, features_first), (second, features_second) = (
        augment(IMAGES[:7], config, seed=3, start=1000),
        augment(IMAGES[7:], config, seed=3, start=1007),
    )
    assert torch.equal(torch.cat([first, second]), images)
    assert (features is None) == (config.augment == 0)
    if features is not None and features_first is not None and features_second is not None:
        assert torch.equal(torch.cat([features_first, features_second]), features)


@pytest.mark.parametrize("config", KINDS)
def test_augmentation_depends_on_seed_and_position_only(
    config: DataConfig,
) -> None:
    found = [augment(IMAGES, config, seed, start)[0] for seed, start in ((0, 0), (0, 24), (1, 0))]
    assert len({image.numpy().tobytes() for image in found}) == 3
    torch.manual_seed(99)
    state = torch.random.get_rng_state()
    assert torch.equal(augment(IMAGES, config, 0, 0)[0], found[0])
    assert torch.equal(torch.random.get_rng_state(), state)


def test_each_kind_of_augmentation_has_its_own_random_numbers() -> None:
    images, features = augment(IMAGES, EVERYTHING, seed=3, start=1000)
    widths = {Purpose.FLIP: 1, Purpose.TRANSLATION: 2, Purpose.NONLEAKING: 12}
    draws = {purpose: uniform(3, purpose, 1000, 24, width) for purpose, width in widths.items()}
    expected = translated(flipped(IMAGES, draws[Purpose.FLIP][:, 0]), draws[Purpose.TRANSLATION], 2)
    transforms = draw_transforms(draws[Purpose.NONLEAKING], 0.3)
    assert torch.equal(images, apply_transforms(expected, transforms))
    assert features is not None
    assert torch.equal(features, augmentation_labels(transforms))


def test_a_step_augments_by_images_seen_and_passes_the_labels(
    settings: Settings, new_state: NewState, calls: Calls
) -> None:
    config, asked = settings(flip=True, translate=2, augment=0.3, seed=5), calls(step)
    state = new_state(config)
    for batch in (IMAGES[:4], IMAGES[4:]):
        seen = state.counters.images_seen
        training_step(state, Batch(batch, None), config)
        images, features = augment(batch, config.data, config.optimization.seed, seen)
        assert torch.equal(asked[-1].x_0, images)
        assert features is not None
        assert torch.equal(asked[-1].features, features)
    assert state.counters.images_seen == 24


def test_the_network_has_augmentation_inputs_only_if_needed(settings: Settings, new_state: NewState) -> None:
    for probability, numbers in ((0.0, 0), (0.1, AUGMENTATION_FEATURES)):
        assert new_state(settings(augment=probability)).model.network.config.augmentation == numbers


def test_validation_and_samples_are_not_augmented(settings: Settings, go: Train, calls: Calls, tmp_path: Path) -> None:
    plain, asked = settings(images=8, flip=False), calls(validation)
    go(plain, tmp_path / "plain")
    go(replace(plain, data=replace(plain.data, flip=True, translate=2, augment=0.5)), tmp_path / "augmented")
    assert torch.equal(asked[0].x_0, asked[1].x_0)
    assert asked[1].features.numel() == 0
    model = load(tmp_path / "augmented")
    assert sample(model, 2, labels=model.label_names, steps=3).shape == (2, *model.image_shape)


class Perceptron(nn.Module):
    """A network for images of 1x8x8, fast to train, with an input for the augmentation."""

    def __init__(self) -> None:
        super().__init__()
        first, last = nn.Linear(64 + 1 + AUGMENTATION_FEATURES, 256), nn.Linear(256, 64)
        self.layers = nn.Sequential(first, nn.SiLU(), nn.Linear(256, 256), nn.SiLU(), last)

    def forward(
        self, x: Tensor, times: Tensor, labels: Tensor | None = None, augmentation: Tensor | None = None
    ) -> Tensor:
        """The clean image."""
        del labels
        features = x.new_zeros(len(x), AUGMENTATION_FEATURES) if augmentation is None else augmentation
        seen = torch.cat([x.flatten(1), times[:, None] / 1000, features], dim=1)
        return self.layers(seen).view_as(x)  # type: ignore[no-any-return]


@pytest.mark.parametrize("is_told", [True, False])
@pytest.mark.slow
def test_samples_are_unaugmented_only_with_augmentation_labels(
    is_told: bool, unchecked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One image with one bright corner, seen anywhere and anyhow in training, is drawn with that corner bright."""
    del unchecked  # for speed
    if not is_told:
        tell: Callable[..., Tensor] = augmentation_labels
        monkeypatch.setattr(
            augmentation_module, "augmentation_labels", lambda transforms: torch.zeros_like(tell(transforms))
        )
    image = torch.full((1, 1, 8, 8), -0.8)
    image[..., :3, :3] = 0.9
    config = TrainConfig(
        "",
        data=DataConfig(augment=0.5),
        optimization=OptimizationConfig(learning_rate=2e-3, warmup=0.0, ema="constant:decay=0.98"),
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = TrainingState(
            PreconditionedDenoiser(Perceptron(), build_schedule("cosine"), predict_data, (1, 8, 8)), config.optimization
        )
        for _ in range(400):
            training_step(state, Batch(image.expand(128, 1, 8, 8), None), config)
    errors = (sample(state.average, 16, steps=10) - image).square().mean(dim=(1, 2, 3)).sqrt()
    is_right = errors < 0.3
    assert is_right.double().mean() > 0.9 if is_told else is_right.double().mean() < 0.5
