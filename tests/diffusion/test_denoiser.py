"""Denoisers: DDPM eq. 15, and every parametrization against its equation for every schedule."""

import math

import pytest
import torch
from torch import Tensor, nn

from sfumato.diffusion import analytic
from sfumato.diffusion.denoiser import (
    MAX_LOGSNR,
    PARAMETRIZATIONS,
    PreconditionedDenoiser,
    Rescheduled,
    check_parametrization,
    predict_edm,
    predict_flow,
    predict_noise,
)
from sfumato.diffusion.schedules import (
    SCHEDULES,
    Cosine,
    Flow,
    LinearBeta,
    Schedule,
    Shifted,
    VarianceExploding,
    ZeroTerminal,
)
from sfumato.errors import ConfigError
from sfumato.utils.shapes import over

LINEAR = LinearBeta()
STEPS = torch.tensor([0.001, 0.002, 0.1, 0.5, 0.999, 1.0], dtype=torch.float64)
SHAPE = (3, 4, 5)
EVERY: dict[str, Schedule] = {
    **SCHEDULES,
    "zero-terminal": ZeroTerminal(Cosine()),
    "shifted-flow": Shifted(Flow(), 3.0),
    "shifted-linear": Shifted(LINEAR, 0.5),
}
SILENT = ("flow", "zero-terminal", "shifted-flow")
"""Those that leave no signal at t = 1."""

SEEING = [
    (schedule, name) for schedule in EVERY for name in PARAMETRIZATIONS if name != "noise" or schedule not in SILENT
]
"""Schedules with the parametrizations that can be had on them."""


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


def times_of(schedule: Schedule) -> Tensor:
    """From the earliest time of a schedule to the last."""
    return torch.tensor([schedule.earliest, 0.3, 0.5, 0.8, 0.99, 1.0], dtype=torch.float64)


def data_and_noise(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Clean images in [-1, 1] and noise, one for each of six times."""
    generator = torch.Generator().manual_seed(0)
    shape = (len(STEPS), *SHAPE)
    x_0 = 2 * torch.rand(shape, dtype=dtype, generator=generator) - 1
    return x_0, torch.randn(shape, dtype=dtype, generator=generator)


def noised(schedule: Schedule, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """x_t. Formula 7."""
    return over(schedule.alpha(t), x_0) * x_0 + over(schedule.sigma(t), x_0) * noise


def target(denoiser: PreconditionedDenoiser, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """The training target of the network."""
    of_data, of_noise = denoiser.target_factors(t)
    return over(of_data, x_0) * x_0 + over(of_noise, x_0) * noise


def test_an_exact_noise_prediction_gives_the_image() -> None:
    x_0, noise = data_and_noise()
    denoiser = PreconditionedDenoiser(Answers(noise), LINEAR, predict_noise, SHAPE)
    torch.testing.assert_close(denoiser(noised(LINEAR, x_0, noise, STEPS), STEPS), x_0, rtol=1e-11, atol=1e-11)


def test_the_noise_parametrization_is_formula_10() -> None:
    x_t, answer = data_and_noise()
    denoiser = PreconditionedDenoiser(Answers(answer), LINEAR, predict_noise, SHAPE)
    alpha_bar = LINEAR.alpha_bar[(STEPS * 1000).round().long()].reshape(-1, 1, 1, 1)
    expected = (x_t - (1 - alpha_bar).sqrt() * answer) / alpha_bar.sqrt()
    torch.testing.assert_close(denoiser(x_t, STEPS), expected, rtol=1e-10, atol=1e-10)


def test_the_target_of_the_noise_parametrization_is_the_noise() -> None:
    x_0, noise = data_and_noise(torch.float32)
    denoiser = PreconditionedDenoiser(Answers(noise), LINEAR, predict_noise, SHAPE)
    assert (target(denoiser, x_0, noise, STEPS) == noise).all()


@pytest.mark.parametrize(("schedule", "name"), SEEING)
def test_an_exact_target_prediction_gives_the_image(schedule: str, name: str) -> None:
    """x0_hat = c_skip x_t + c_out target is x_0, for each row of the table."""
    x_0, noise = data_and_noise()
    t = times_of(EVERY[schedule])
    network = Answers(noise)
    denoiser = PreconditionedDenoiser(network, EVERY[schedule], PARAMETRIZATIONS[name], SHAPE)
    network.answer = target(denoiser, x_0, noise, t)
    torch.testing.assert_close(denoiser(noised(EVERY[schedule], x_0, noise, t), t), x_0, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("schedule", "name"), [pair for pair in SEEING if pair[1] != "edm"])
def test_each_parametrization_has_its_target(schedule: str, name: str) -> None:
    x_0, noise = data_and_noise()
    t = times_of(EVERY[schedule])
    alpha, sigma = (over(f(t), x_0) for f in (EVERY[schedule].alpha, EVERY[schedule].sigma))
    velocity = (alpha * noise - sigma * x_0) / (alpha**2 + sigma**2).sqrt()  # of x_t at unit length
    meant = {"noise": noise, "data": x_0, "velocity": velocity, "flow": noise - x_0}
    denoiser = PreconditionedDenoiser(Answers(noise), EVERY[schedule], PARAMETRIZATIONS[name], SHAPE)
    torch.testing.assert_close(target(denoiser, x_0, noise, t), meant[name], rtol=1e-9, atol=1e-9)


def test_edms_coefficients_are_those_of_its_table_1() -> None:
    t, sd = times_of(VarianceExploding()), 0.5
    sigma = 80 * t**7
    c = predict_edm(VarianceExploding(), t)
    torch.testing.assert_close(c.skip, sd**2 / (sigma**2 + sd**2), rtol=1e-12, atol=0)
    torch.testing.assert_close(c.out, sigma * sd / (sd**2 + sigma**2).sqrt(), rtol=1e-12, atol=0)
    torch.testing.assert_close(c.input, 1 / (sigma**2 + sd**2).sqrt(), rtol=1e-12, atol=0)
    torch.testing.assert_close(c.noise, sigma.log() / 4, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("schedule", EVERY)
def test_edm_on_any_schedule_is_edm_of_x_t_over_alpha(schedule: str) -> None:
    """In EDM's coordinates the noise level is sigma / alpha and the image x_t / alpha."""
    t = times_of(EVERY[schedule])[:-1]
    alpha, level = EVERY[schedule].alpha(t), EVERY[schedule].sigma(t) / EVERY[schedule].alpha(t)
    c = predict_edm(EVERY[schedule], t)
    theirs = predict_edm(VarianceExploding(sigma_max=1e6), VarianceExploding(sigma_max=1e6).time_at(-2 * level.log()))
    for ours, edm in ((c.skip * alpha, theirs.skip), (c.out, theirs.out), (c.input * alpha, theirs.input)):
        torch.testing.assert_close(ours, edm, rtol=1e-9, atol=0)
    torch.testing.assert_close(c.noise, theirs.noise, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("schedule", EVERY)
def test_edms_inputs_and_targets_have_unit_variance(schedule: str) -> None:
    """For data of standard deviation 0.5: what EDM's coefficients were derived from (appendix B.6)."""
    t, sd = times_of(EVERY[schedule]), 0.5
    alpha, sigma, c = EVERY[schedule].alpha(t), EVERY[schedule].sigma(t), predict_edm(EVERY[schedule], t)
    ones = torch.ones_like(t)
    torch.testing.assert_close(c.input**2 * (alpha**2 * sd**2 + sigma**2), ones)
    torch.testing.assert_close(((1 - c.skip * alpha) ** 2 * sd**2 + (c.skip * sigma) ** 2) / c.out**2, ones)


@pytest.mark.parametrize("schedule", SILENT)
def test_edms_network_receives_a_finite_level_at_zero_snr(schedule: str) -> None:
    assert predict_edm(EVERY[schedule], torch.ones(1, dtype=torch.float64)).noise.item() == MAX_LOGSNR / 8


@pytest.mark.parametrize("schedule", EVERY)
@pytest.mark.parametrize("name", ["noise", "data", "velocity"])
def test_network_inputs_have_unit_power(schedule: str, name: str) -> None:
    t = times_of(EVERY[schedule])
    power = EVERY[schedule].alpha(t) ** 2 + EVERY[schedule].sigma(t) ** 2
    seen = PARAMETRIZATIONS[name](EVERY[schedule], t).input ** 2 * power
    torch.testing.assert_close(seen, torch.ones_like(t), rtol=1e-12, atol=0)


@pytest.mark.parametrize("schedule", EVERY)
def test_a_flow_network_receives_the_line_from_data_to_noise(schedule: str) -> None:
    t = times_of(EVERY[schedule])
    scale = predict_flow(EVERY[schedule], t).input
    of_data, of_noise = scale * EVERY[schedule].alpha(t), scale * EVERY[schedule].sigma(t)
    torch.testing.assert_close(of_data + of_noise, torch.ones_like(t), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("schedule", "name"), [pair for pair in SEEING if pair[1] != "edm"])
def test_a_network_receives_the_time_of_its_schedule(schedule: str, name: str) -> None:
    t = times_of(EVERY[schedule])
    time_input = PARAMETRIZATIONS[name](EVERY[schedule], t).noise
    expected = 1000 * t if EVERY[schedule].timesteps is None else 1000 * t - 1
    torch.testing.assert_close(time_input, expected)


def test_a_network_is_called_with_x_t_by_step_and_label() -> None:
    x_t, answer = data_and_noise(torch.float32)
    network = Answers(answer)
    labels = torch.arange(len(x_t))
    PreconditionedDenoiser(network, LINEAR, predict_noise, SHAPE)(x_t, STEPS, labels)
    ((asked, times, given),) = network.asked
    assert (asked == x_t).all()
    assert given is labels
    assert times.dtype == torch.float32
    assert times.tolist() == pytest.approx([0, 1, 99, 499, 998, 999])


def test_the_network_receives_the_scaled_input() -> None:
    x_t, answer = data_and_noise()
    network, edm = Answers(answer), VarianceExploding()
    PreconditionedDenoiser(network, edm, predict_edm, SHAPE)(x_t, STEPS)
    torch.testing.assert_close(network.asked[0][0], over(predict_edm(edm, STEPS).input, x_t) * x_t)


def test_one_time_for_the_batch_is_used_for_each_image() -> None:
    x_t, answer = data_and_noise()
    network = Answers(answer)
    denoiser = PreconditionedDenoiser(network, LINEAR, predict_noise, SHAPE)
    t = torch.tensor(0.25, dtype=torch.float64)
    together, apart = denoiser(x_t, t), denoiser(x_t, t.expand(len(x_t)))
    assert (together == apart).all()
    assert network.asked[0][1].tolist() == pytest.approx([249] * len(x_t))


@pytest.mark.parametrize("schedule", SILENT)
def test_noise_prediction_is_rejected_at_zero_terminal_snr(schedule: str) -> None:
    with pytest.raises(
        ConfigError, match=r"'noise' cannot be used with this schedule.*among: data, velocity, flow, edm\."
    ):
        check_parametrization(EVERY[schedule], "noise")


@pytest.mark.parametrize(("schedule", "name"), SEEING)
def test_valid_parametrizations_have_finite_coefficients(schedule: str, name: str) -> None:
    check_parametrization(EVERY[schedule], name)
    for coefficient in PARAMETRIZATIONS[name](EVERY[schedule], times_of(EVERY[schedule])):
        assert coefficient.isfinite().all()


def test_an_unknown_parametrization_is_rejected_with_valid_names() -> None:
    with pytest.raises(ConfigError, match=r"'score' is unknown. Choose among: noise, data, velocity, flow, edm\."):
        check_parametrization(LINEAR, "score")


def mixture(schedule: Schedule) -> analytic.Mixture:
    """Two classes of 1x2x2 images, known exactly."""
    means = torch.tensor([-0.8, 0.5], dtype=torch.float64)[:, None, None, None].expand(2, 1, 2, 2)
    variances, weights = torch.tensor([0.1, 0.3]), torch.tensor([1.0, 2.0])
    return analytic.Mixture(schedule, means, variances, weights, torch.tensor([0, 1]), ("dark", "light"))


@pytest.mark.parametrize("inner", EVERY)
@pytest.mark.parametrize("outer", EVERY)
def test_rescheduling_is_exact_for_analytic_denoisers(inner: str, outer: str) -> None:
    level = torch.tensor([-2.0, -1.0, 0.0, 1.0], dtype=torch.float64)
    t = EVERY[outer].time_at(-2 * level)
    x_t = torch.randn(4, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rescheduled, labels = Rescheduled(mixture(EVERY[inner]), EVERY[outer]), torch.tensor([0, 1, 0, 1])
    exact = mixture(EVERY[outer])
    torch.testing.assert_close(rescheduled(x_t, t), exact(x_t, t), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(rescheduled(x_t, t, labels), exact(x_t, t, labels), rtol=1e-9, atol=1e-9)


def test_rescheduling_changes_the_schedule_and_keeps_classes() -> None:
    rescheduled = Rescheduled(mixture(LINEAR), Flow())
    assert (rescheduled.schedule, rescheduled.image_shape) == (Flow(), (1, 2, 2))
    assert rescheduled.label_names == ("dark", "light")


def test_a_rescheduled_denoiser_accepts_one_time_for_the_batch() -> None:
    x_t = torch.randn(3, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t = torch.tensor(0.5, dtype=torch.float64)
    assert math.isclose(Flow().logsnr(t).item(), 0, abs_tol=1e-12)
    torch.testing.assert_close(Rescheduled(mixture(LINEAR), Flow())(x_t, t), mixture(Flow())(x_t, t))


def test_a_rescheduled_network_has_no_time_before_its_earliest() -> None:
    x_t, answer = data_and_noise(torch.float32)
    network = Answers(answer)
    inner = PreconditionedDenoiser(network, LINEAR, predict_noise, SHAPE)
    Rescheduled(inner, VarianceExploding())(x_t, torch.tensor(0.23, dtype=torch.float64))
    assert network.asked[0][1].tolist() == pytest.approx([0] * len(x_t), abs=1e-4)
