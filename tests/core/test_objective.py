"""DDPM's simple loss against sums by hand and against its expectation in closed form."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sfumato import oracle
from sfumato.denoiser import Denoiser, NetworkDenoiser, predict_noise
from sfumato.objective import dropped, simple_loss, uniform_times
from sfumato.schedule import LinearBeta
from sfumato.shapes import UNLABELLED, over

SCHEDULE = LinearBeta()
SHAPE = (1, 2, 3)


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Torch's generator, of a known state inside and restored behind."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


class Says(nn.Module):
    """A network that says what it was made to say."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer
        self.labels: Tensor | None = None

    def forward(self, x: Tensor, times: Tensor, labels: Tensor | None) -> Tensor:  # noqa: ARG002
        """The answer."""
        self.labels = labels
        return self.answer


class NoiseBy(nn.Module):
    """A denoiser turned into the network that predicts its noise."""

    def __init__(self, denoiser: Denoiser) -> None:
        super().__init__()
        self.denoiser = denoiser

    def forward(self, x: Tensor, times: Tensor, labels: Tensor | None) -> Tensor:
        """(x_t - alpha x0_hat) / sigma."""
        t = (times.double() + 1) / SCHEDULE.timesteps
        x0_hat: Tensor = self.denoiser(x, t, labels)
        return (x - over(SCHEDULE.alpha(t), x) * x0_hat) / over(SCHEDULE.sigma(t), x)


def denoiser_of(network: nn.Module, shape: tuple[int, int, int] = SHAPE) -> NetworkDenoiser:
    return NetworkDenoiser(network, SCHEDULE, predict_noise, shape)


def test_a_network_that_knows_the_noise_has_no_loss() -> None:
    x_0, noise = torch.rand(4, *SHAPE), torch.randn(4, *SHAPE)
    loss = simple_loss(denoiser_of(Says(noise)), x_0, uniform_times(SCHEDULE, 4), noise)
    assert (loss == 0).all()


def test_the_loss_is_the_mean_square_over_the_pixels_of_each_image() -> None:
    x_0, noise, answer = torch.rand(2, *SHAPE), torch.randn(2, *SHAPE), torch.randn(2, *SHAPE)
    loss = simple_loss(denoiser_of(Says(answer)), x_0, uniform_times(SCHEDULE, 2), noise)
    by_hand = [
        sum((a - e) ** 2 for a, e in zip(answer[i].flatten().tolist(), noise[i].flatten().tolist(), strict=True)) / 6
        for i in range(2)
    ]
    assert loss.dtype == torch.float32
    assert loss.tolist() == pytest.approx(by_hand, rel=1e-6)


def test_the_labels_reach_the_network() -> None:
    network, labels = Says(torch.zeros(2, *SHAPE)), torch.tensor([1, 0])
    simple_loss(denoiser_of(network), torch.rand(2, *SHAPE), uniform_times(SCHEDULE, 2), torch.randn(2, *SHAPE), labels)
    assert network.labels is labels


@pytest.mark.parametrize("step", [1, 10, 100, 400, 1000])
def test_the_expected_loss_of_the_exact_denoiser_is_the_closed_form(step: int) -> None:
    """E |noise - E[noise | x_t]|^2 = alpha^2 v / (alpha^2 v + sigma^2) for N(mean, v) data.

    The loss is a polynomial of degree 2 in x_0 and in the noise, so Gauss-Hermite quadrature with 3 x 3 nodes is exact.
    """
    mean, variance = 0.3, 0.5
    points, weights = np.polynomial.hermite_e.hermegauss(3)
    nodes = torch.from_numpy(points)
    weight = torch.outer(torch.from_numpy(weights), torch.from_numpy(weights)).flatten()
    z_0, noise = (z.reshape(9, 1, 1, 1) for z in torch.meshgrid(nodes, nodes, indexing="ij"))
    t = torch.full((9,), step / 1000, dtype=torch.float64)
    exact = oracle.gaussian(SCHEDULE, torch.full((1, 1, 1), mean, dtype=torch.float64), variance)
    loss = simple_loss(denoiser_of(NoiseBy(exact), (1, 1, 1)), mean + variance**0.5 * z_0, t, noise)
    alpha, sigma = SCHEDULE.alpha(t[0]).item(), SCHEDULE.sigma(t[0]).item()
    expected = alpha**2 * variance / (alpha**2 * variance + sigma**2)
    assert ((weight * loss).sum() / weight.sum()).item() == pytest.approx(expected, rel=1e-5)


def test_times_are_all_the_steps_from_the_first_to_the_last() -> None:
    """The article's code never draws its first step."""
    schedule = LinearBeta(21)
    times = uniform_times(schedule, 21_000)
    steps, counts = (times * 21).unique(return_counts=True)
    assert times.dtype == torch.float64
    assert steps.tolist() == pytest.approx(list(range(1, 22)), abs=1e-12)
    chi_squared = ((counts - 1000) ** 2 / 1000).sum().item()
    assert chi_squared < 45  # 20 degrees of freedom: exceeded once in a thousand seeds


def test_labels_are_dropped_as_often_as_asked_and_else_kept() -> None:
    labels = torch.arange(20_000) % 7
    after = dropped(labels, 0.1)
    gone = after == UNLABELLED
    assert (after[~gone] == labels[~gone]).all()
    assert gone.double().mean().item() == pytest.approx(0.1, abs=0.008)  # four standard errors
    assert labels.min() == 0, "the labels given must not change"


@pytest.mark.parametrize(("probability", "left"), [(0.0, [0, 1, 2, UNLABELLED]), (1.0, [UNLABELLED] * 4)])
def test_never_and_always_dropping_are_exact(probability: float, left: list[int]) -> None:
    assert dropped(torch.tensor([0, 1, 2, UNLABELLED]), probability).tolist() == left
