"""The pairs of images, noise and levels of the validation loss: all different, and the same each time."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from sfumato.data import ImageSet
from sfumato.diffusion.denoiser import PreconditionedDenoiser, predict_noise
from sfumato.diffusion.schedules import LinearBeta
from sfumato.sampling.sampler import ImageNoise
from sfumato.training import validation
from sfumato.training.validation import Validation

COUNT = 150
"""Evaluations: more than two batches, and five of each of three images at each level."""


class Asked(NamedTuple):
    """What the losses of a look were asked, one row an evaluation."""

    x_0: Tensor
    t: Tensor
    noise: Tensor
    labels: Tensor


@pytest.fixture
def images() -> ImageSet:
    """Three images of three classes."""
    pixels = torch.randint(0, 256, (3, 1, 4, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return ImageSet.of(pixels, torch.tensor([2, 0, 1]), ("a", "b", "c"))


def look(fixed: Validation, monkeypatch: pytest.MonkeyPatch, loss: float = 0.0) -> Asked:
    """What one look asks; every loss is `loss` times the time."""
    calls: list[Asked] = []

    def asked(_: PreconditionedDenoiser, x_0: Tensor, t: Tensor, noise: Tensor, labels: Tensor) -> Tensor:
        calls.append(Asked(x_0, t, noise, labels))
        return (loss * t).float()

    monkeypatch.setattr(validation, "squared_error", asked)
    fixed.loss(PreconditionedDenoiser(nn.Linear(1, 1), LinearBeta(100), predict_noise, (1, 4, 4), ("a", "b", "c")))
    return Asked(*(torch.cat(part) for part in zip(*calls, strict=True)))


def test_images_in_turn_are_evaluated_at_all_levels(images: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    found = look(Validation(images, COUNT, seed=3), monkeypatch)
    order = [pair // 10 % 3 for pair in range(COUNT)]
    assert torch.equal(found.x_0, images.floats()[order])
    assert found.labels.tolist() == [[2, 0, 1][image] for image in order]
    assert found.t.tolist() == pytest.approx([0.05 + 0.1 * (pair % 10) for pair in range(COUNT)])


def test_every_pair_has_its_own_fixed_noise(images: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = Validation(images, COUNT, seed=3)
    found = look(fixed, monkeypatch).noise
    assert torch.equal(found, torch.cat([ImageNoise(3, [pair], (1, 4, 4))() for pair in range(COUNT)]))
    assert len(found.flatten(1).unique(dim=0)) == COUNT
    torch.manual_seed(5)
    assert torch.equal(look(fixed, monkeypatch).noise, found)
    assert not (look(Validation(images, COUNT, seed=4), monkeypatch).noise == found).any()


@pytest.mark.parametrize("count", [10, 13, 27, 150])
def test_levels_have_equal_weight_for_any_number_of_evaluations(
    count: int, images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed = Validation(images, count, seed=0)
    look(fixed, monkeypatch, loss=1.0)
    model = PreconditionedDenoiser(nn.Linear(1, 1), LinearBeta(100), predict_noise, (1, 4, 4), ("a", "b", "c"))
    assert fixed.loss(model).mean == pytest.approx(0.5, abs=1e-6)
