"""The noise of each image is a separate stream."""

import math

import pytest
import torch
from torch.distributions import Normal

from sfumato.sampling.sampler import ImageNoise


def test_the_noise_of_an_image_depends_on_seed_and_index_only() -> None:
    shape = (1, 2, 3)
    together, alone = ImageNoise(5, [3, 9, 4], shape), ImageNoise(5, [9], shape)
    for _ in range(3):
        assert (together()[1:2] == alone()).all()


def test_noise_is_standard_normal() -> None:
    draws = torch.stack([noise() for noise in [ImageNoise(0, range(500), (1, 4, 5))] for _ in range(10)])
    values = draws.flatten().sort().values
    n = len(values)
    assert draws.dtype == torch.float32
    assert values.mean().item() == pytest.approx(0, abs=4 / math.sqrt(n))
    assert values.var().item() == pytest.approx(1, abs=4 * math.sqrt(2 / n))
    gap = Normal(0.0, 1.0).cdf(values.double()) - torch.arange(n) / n
    assert gap.abs().max() < 1.95 / math.sqrt(n)  # Kolmogorov-Smirnov: exceeded by one seed in a thousand


def test_noise_of_calls_images_and_seeds_is_independent() -> None:
    noises = [ImageNoise(seed, [index], (1, 40, 50)) for seed in (0, 1) for index in (0, 1)]
    draws = torch.cat([noise() for noise in noises for _ in range(2)]).flatten(1)
    correlations = torch.corrcoef(draws) - torch.eye(8)
    assert correlations.abs().max() < 4 / math.sqrt(2000)


@pytest.mark.parametrize("threads", [2, 3])
def test_the_noise_does_not_depend_on_the_number_of_threads(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = ImageNoise(3, range(7), (1, 256, 256))
    expected = [alone(), alone()]
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    noise = ImageNoise(3, range(7), (1, 256, 256))
    assert all(torch.equal(noise(), each) for each in expected)
