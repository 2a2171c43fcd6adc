"""A loss from outside the package: the default one as a function trains to the same weights, bit for bit."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import sfumato as sf
from sfumato.data import Batch
from sfumato.diffusion.denoiser import PreconditionedDenoiser
from sfumato.diffusion.losses import CUSTOM_LOSSES
from sfumato.errors import ConfigError, RunError
from sfumato.training.config import TrainConfig
from sfumato.training.loop import TrainingResult
from sfumato.training.run_directory import read_record
from sfumato.training.state import TrainingState
from sfumato.training.step import training_step

from .conftest import NewState, Saved, Settings, StopAfter
from .own_networks import SETTINGS, pictures

FILE = """
import torch.nn.functional as F

def error(denoiser, images, times, noise, labels):
    alpha, sigma = (denoiser.schedule.alpha(times), denoiser.schedule.sigma(times))
    alpha, sigma = (c.to(images)[:, None, None, None] for c in (alpha, sigma))
    estimate = denoiser(alpha * images + sigma * noise, times, labels)
    return F.huber_loss(estimate, images, reduction="none").mean(dim=(1, 2, 3))
"""

ALL_RANDOM: dict[str, object] = {"augment": 0.5, "translate": 1, "label_dropout": 0.3, "dropout": 0.2}


@pytest.fixture(autouse=True)
def _nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """No loss is registered when a test begins."""
    monkeypatch.setattr(CUSTOM_LOSSES, "named", {})


def train(out: Path, settings: dict[str, object] | None = None, steps: int = 10**9, **rest: object) -> TrainingResult:
    """Trains a small UNet on pictures of two classes."""
    stop = StopAfter(steps)
    network = {"width": 8, "multipliers": (1,), "blocks": (1,), "attention": ()}
    return sf.train(
        pictures(),
        out,
        SETTINGS | network | (settings or {}),
        labels=["cat", "dog"] * 12,
        preset="tiny",
        device="cpu",
        reporter=stop,
        should_stop=stop,
        **rest,  # type: ignore[arg-type]
    )


def assert_equal(one: nn.Module, other: nn.Module) -> None:
    torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("parametrization", ["noise", "velocity", "edm"])
@pytest.mark.parametrize("settings", [{}, ALL_RANDOM], ids=["plain", "all random"])
def test_the_squared_error_as_a_function_is_the_default(
    settings: dict[str, object], parametrization: str, tmp_path: Path
) -> None:
    settings = settings | {"parametrization": parametrization}
    default = train(tmp_path / "default", settings)
    own = train(tmp_path / "own", settings, loss=sf.losses.squared_error)
    assert_equal(default.state.model, own.state.model)
    assert_equal(default.model, own.model)
    assert (default.config.diffusion.custom_loss, own.config.diffusion.custom_loss) == (None, sf.losses.squared_error)
    assert default.state.counters.steps == 6


def steps_of(state: TrainingState, config: TrainConfig, microbatches: int) -> TrainingState:
    """Three steps in microbatches."""
    torch.manual_seed(1)
    images = sf.data.from_arrays(pictures(12), labels=["cat", "dog"] * 6).floats()
    for _ in range(3):
        training_step(state, Batch(images, torch.arange(12) % 2), config, microbatches)
    return state


@pytest.mark.parametrize("microbatches", [1, 2, 5, 12])
def test_a_microbatch_has_its_own_times_labels_and_augmentation(
    microbatches: int, settings: Settings, new_state: NewState
) -> None:
    both = []
    for loss in ("squared-error", CUSTOM_LOSSES.register(sf.losses.squared_error)):
        config = settings(loss=loss, augment=0.5, batch=12, dropout=0.0, schedule="cosine")
        both.append(steps_of(new_state(config), config, microbatches))
        whole = steps_of(new_state(config), config, 1)
        torch.testing.assert_close(both[-1].model.state_dict(), whole.model.state_dict(), rtol=1e-3, atol=1e-4)
    assert_equal(both[0].model, both[1].model)
    assert_equal(both[0].average, both[1].average)


def test_a_loss_receives_denoiser_images_times_noise_and_labels(tmp_path: Path) -> None:
    calls = []

    def recorded(
        denoiser: PreconditionedDenoiser, images: Tensor, times: Tensor, noise: Tensor, labels: Tensor
    ) -> Tensor:
        calls.append((images, times, noise, labels))
        assert denoiser.training
        estimate = denoiser(images, times, labels)
        return (estimate - images).square().mean(dim=(1, 2, 3))

    result = train(tmp_path / "run", {"label_dropout": 0.5}, loss=recorded)
    (check, *steps) = calls  # the first call is made before training, to explain errors
    assert len(check[0]) == 2
    assert len(steps) == 6
    for images, times, noise, labels in steps:
        assert (images.shape, noise.shape) == ((8, 3, 8, 8), (8, 3, 8, 8))
        assert (times.shape, times.dtype, labels.shape, labels.dtype) == ((8,), torch.float64, (8,), torch.int64)
        assert images.abs().max() <= 1
        assert (times >= 0).all()
        assert (times <= 1).all()
    assert {int(label) for call in calls for label in call[3]} == {-1, 0, 1}
    assert 0.8 < torch.cat([noise for _, _, noise, _ in calls]).std() < 1.2
    assert sf.sample(result.model, 1, steps=3).isfinite().all()


def test_a_loss_can_be_scaled_by_a_partial_or_an_object(tmp_path: Path) -> None:
    def scaled(
        denoiser: PreconditionedDenoiser,
        images: Tensor,
        times: Tensor,
        noise: Tensor,
        labels: Tensor | None,
        factor: float = 1.0,
    ) -> Tensor:
        return factor * sf.losses.squared_error(denoiser, images, times, noise, labels)

    class Scaled:
        """Twice the squared error."""

        def __call__(self, *arguments: object) -> Tensor:
            """The loss."""
            return scaled(*arguments, factor=2.0)  # type: ignore[arg-type]

    plain, double, of_object = (
        train(tmp_path / str(number), {"clip_gradient": 1e9, "optimizer": "muon"}, steps=1, loss=loss).state.model
        for number, loss in enumerate((scaled, functools.partial(scaled, factor=2.0), Scaled()))
    )
    assert_equal(double, of_object)
    for weight, other in zip(plain.parameters(), double.parameters(), strict=True):
        assert weight.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(2 * weight.grad, other.grad, rtol=1e-3, atol=1e-6)


def test_a_run_resumes_exactly_and_only_with_its_loss(saved: Saved, tmp_path: Path) -> None:
    (tmp_path / "doorloss.py").write_text(FILE)
    path = f"{tmp_path / 'doorloss.py'}:error"
    train(tmp_path / "whole", loss=path)
    train(tmp_path / "parts", loss=path, steps=2)
    CUSTOM_LOSSES.named.clear()
    with pytest.raises(RunError, match=r"--loss: .*doorloss\.py:error -> squared-error"):
        train(tmp_path / "parts")
    with pytest.raises(RunError, match=r"--loss: .*doorloss\.py:error -> sfumato\.diffusion\.losses:squared_error"):
        train(tmp_path / "parts", loss=sf.losses.squared_error)
    train(tmp_path / "parts", loss=path)
    (whole, counters), (parts, other_counters) = saved(tmp_path / "whole"), saved(tmp_path / "parts")
    assert counters == other_counters
    torch.testing.assert_close(whole, parts, rtol=0, atol=0)


def test_loading_a_model_does_not_import_its_loss(tmp_path: Path) -> None:
    (tmp_path / "doorloss.py").write_text(FILE)
    result = train(tmp_path / "run", loss=f"{tmp_path / 'doorloss.py'}:error")
    CUSTOM_LOSSES.named.clear()
    with pytest.raises(ConfigError, match=r"the loss is .*error, whose code is not part of sfumato\. .*add --loss"):
        _ = read_record(tmp_path / "run").config.diffusion.custom_loss
    (tmp_path / "doorloss.py").unlink()
    assert_equal(sf.load(tmp_path / "run"), result.model)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("huber", r"--loss huber is unknown\. Choose squared-error, or the import path of a function"),
        ("doormissing.py:huber", r"doormissing\.py cannot be imported: FileNotFoundError"),
    ],
)
def test_a_missing_loss_is_rejected_with_the_reason(loss: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        train(tmp_path / "run", loss=loss)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("shape", [(), (8, 1), (8, 3, 8, 8)])
def test_a_loss_without_one_value_per_image_is_rejected(shape: tuple[int, ...], tmp_path: Path) -> None:
    def wrong(denoiser: PreconditionedDenoiser, images: Tensor, times: Tensor, noise: Tensor, labels: Tensor) -> Tensor:
        return (denoiser(images, times, labels) * noise).mean().expand(shape)

    with pytest.raises(ConfigError, match=r"the loss .* returned \(.*\) for 2 images\. Return one value per image"):
        train(tmp_path / "run", loss=wrong)
