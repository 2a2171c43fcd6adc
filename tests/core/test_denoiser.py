"""Networks as denoisers: formula 10, and every parametrization against the equation that defines it."""

import pytest
import torch
from torch import Tensor, nn

from sfumato.denoiser import PARAMETRIZATIONS, NetworkDenoiser, predict_noise
from sfumato.schedule import LinearBeta
from sfumato.shapes import over

SCHEDULE = LinearBeta()
TIMES = torch.tensor([0.001, 0.002, 0.1, 0.5, 0.999, 1.0], dtype=torch.float64)
SHAPE = (3, 4, 5)


class Answers(nn.Module):
    """A network that gives the same answer to everything, and remembers what it was asked."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer
        self.asked: list[tuple[Tensor, Tensor, Tensor | None]] = []

    def forward(self, x: Tensor, times: Tensor, labels: Tensor | None) -> Tensor:
        """The answer."""
        self.asked.append((x, times, labels))
        return self.answer


def data_and_noise(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Clean images in [-1, 1] and noise, one for each of TIMES."""
    generator = torch.Generator().manual_seed(0)
    shape = (len(TIMES), *SHAPE)
    x_0 = 2 * torch.rand(shape, dtype=dtype, generator=generator) - 1
    return x_0, torch.randn(shape, dtype=dtype, generator=generator)


def noised(x_0: Tensor, noise: Tensor) -> Tensor:
    """x_t at TIMES. Formula 7."""
    return over(SCHEDULE.alpha(TIMES), x_0) * x_0 + over(SCHEDULE.sigma(TIMES), x_0) * noise


def test_a_network_that_knows_the_noise_finds_the_image() -> None:
    x_0, noise = data_and_noise()
    denoiser = NetworkDenoiser(Answers(noise), SCHEDULE, predict_noise, SHAPE)
    torch.testing.assert_close(denoiser(noised(x_0, noise), TIMES), x_0, rtol=1e-11, atol=1e-11)


def test_the_noise_parametrization_is_formula_10() -> None:
    x_t, answer = data_and_noise()
    denoiser = NetworkDenoiser(Answers(answer), SCHEDULE, predict_noise, SHAPE)
    alpha_bar = SCHEDULE.alpha_bar[(TIMES * 1000).round().long()].reshape(-1, 1, 1, 1)
    expected = (x_t - (1 - alpha_bar).sqrt() * answer) / alpha_bar.sqrt()
    torch.testing.assert_close(denoiser(x_t, TIMES), expected, rtol=1e-10, atol=1e-10)


def test_the_target_of_the_noise_parametrization_is_exactly_the_noise() -> None:
    x_0, noise = data_and_noise(torch.float32)
    denoiser = NetworkDenoiser(Answers(noise), SCHEDULE, predict_noise, SHAPE)
    assert (denoiser.target(x_0, noise, TIMES) == noise).all()


@pytest.mark.parametrize("name", PARAMETRIZATIONS)
def test_a_network_that_hits_its_target_finds_the_image(name: str) -> None:
    """x0_hat = c_skip x_t + c_out target is x_0, for each row of the table."""
    x_0, noise = data_and_noise()
    network = Answers(noise)
    denoiser = NetworkDenoiser(network, SCHEDULE, PARAMETRIZATIONS[name], SHAPE)
    network.answer = denoiser.target(x_0, noise, TIMES)
    torch.testing.assert_close(denoiser(noised(x_0, noise), TIMES), x_0, rtol=1e-10, atol=1e-10)


def test_a_network_is_asked_about_x_t_by_step_and_label() -> None:
    x_t, answer = data_and_noise(torch.float32)
    network = Answers(answer)
    labels = torch.arange(len(x_t))
    NetworkDenoiser(network, SCHEDULE, predict_noise, SHAPE)(x_t, TIMES, labels)
    ((asked, times, given),) = network.asked
    assert (asked == x_t).all()
    assert given is labels
    assert times.dtype == torch.float32
    assert times.tolist() == pytest.approx([0, 1, 99, 499, 998, 999])


def test_one_time_for_the_batch_is_told_to_each_image() -> None:
    x_t, answer = data_and_noise()
    network = Answers(answer)
    denoiser = NetworkDenoiser(network, SCHEDULE, predict_noise, SHAPE)
    t = torch.tensor(0.25, dtype=torch.float64)
    together, apart = denoiser(x_t, t), denoiser(x_t, t.expand(len(x_t)))
    assert (together == apart).all()
    assert network.asked[0][1].tolist() == pytest.approx([249] * len(x_t))
