"""Each schedule against the formula of its paper, and against diffusers."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from diffusion.one_pixel import number
from sfumato.diffusion.denoiser import check_parametrization, predict_noise
from sfumato.diffusion.schedules import (
    BetaSchedule,
    Cosine,
    Custom,
    Flow,
    LinearBeta,
    ScaledLinearBeta,
    Schedule,
    Shifted,
    Sigmoid,
    VarianceExploding,
    ZeroTerminal,
)
from sfumato.errors import ConfigError


def angular(t: Tensor) -> Tensor:
    """The log-SNR of alpha = cos(pi t / 2), sigma = sin(pi t / 2)."""
    return -2 * torch.log(torch.tan(math.pi / 2 * t))


INSIDE = torch.cat(
    [
        torch.tensor([1e-9, 1e-6, 1e-4], dtype=torch.float64),
        torch.linspace(0.001, 0.999, 1777, dtype=torch.float64),
        torch.tensor([1 - 1e-4, 1 - 1e-6, 1 - 1e-9], dtype=torch.float64),
    ]
)
"""Times between the ends, near them too."""


def betas_of(alpha_bar: Callable[[float], float], timesteps: int) -> list[float]:
    """1 - abar(t_i) / abar(t_{i-1}), at most 0.999. Improved DDPM, section 3.2."""
    return [
        min(1 - alpha_bar((step + 1) / timesteps) / alpha_bar(step / timesteps), 0.999) for step in range(timesteps)
    ]


def improved_ddpm(t: float) -> float:
    """Improved DDPM, eq. 17."""
    return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2


def jabri(start: float, end: float, tau: float) -> Callable[[float], float]:
    """Jabri et al. (arXiv 2212.11972), as `sigmoid_schedule` of Chen (arXiv 2301.10972) has it, not clipped."""

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    def gamma(t: float) -> float:
        first, last = sigmoid(start / tau), sigmoid(end / tau)
        return (last - sigmoid((t * (end - start) + start) / tau)) / (last - first)

    return gamma


def latent_diffusion(timesteps: int) -> list[float]:
    """Latent diffusion's `make_beta_schedule("linear")`, rescaled by 1000 / T."""
    first, last = math.sqrt(0.00085), math.sqrt(0.012)
    roots = [first + (last - first) * step / (timesteps - 1) for step in range(timesteps)]
    return [1000 / timesteps * root**2 for root in roots]


def lin(betas: list[float]) -> list[float]:
    """Lin et al. (arXiv 2305.08891), algorithm 1, in plain numbers."""
    roots, alpha_bar = [], 1.0
    for beta in betas:
        alpha_bar *= 1 - beta
        roots.append(math.sqrt(alpha_bar))
    first, last = roots[0], roots[-1]
    squares = [((root - last) * first / (first - last)) ** 2 for root in roots]
    return [1 - square / before for before, square in zip([1.0, *squares], squares, strict=False)]


BY_HAND: list[tuple[BetaSchedule, list[float]]] = [
    (Cosine(), betas_of(improved_ddpm, 1000)),
    (Cosine(37), betas_of(improved_ddpm, 37)),
    (Sigmoid(), betas_of(jabri(-3, 3, 1), 1000)),
    (Sigmoid(300, 0.0, 3.0, 0.7), betas_of(jabri(0, 3, 0.7), 300)),
    (ScaledLinearBeta(), latent_diffusion(1000)),
    (ScaledLinearBeta(250), latent_diffusion(250)),
    (ZeroTerminal(ScaledLinearBeta()), lin(latent_diffusion(1000))),
    (ZeroTerminal(LinearBeta()), lin([1e-4 + (0.02 - 1e-4) * step / 999 for step in range(1000)])),
]


@pytest.mark.parametrize(("schedule", "betas"), BY_HAND, ids=lambda one: str(one) if isinstance(one, Schedule) else "")
def test_betas_are_those_of_the_paper(schedule: BetaSchedule, betas: list[float]) -> None:
    torch.testing.assert_close(schedule.betas, torch.tensor(betas, dtype=torch.float64), rtol=1e-9, atol=1e-15)
    alpha_bar = torch.tensor([1.0, *(1 - number(0) - torch.tensor(betas, dtype=torch.float64)).cumprod(0).tolist()])
    torch.testing.assert_close(schedule.alpha_bar.float(), alpha_bar, rtol=1e-5, atol=1e-9)


def test_the_cosine_schedule_has_no_index_shift_and_a_finite_end() -> None:
    """peers.md mistake 5."""
    for timesteps in (1, 2, 1000):
        schedule = Cosine(timesteps)
        assert len(schedule.betas) == timesteps
        assert schedule.alpha_bar[0] == 1
        assert ((schedule.betas > 0) & (schedule.betas <= 0.999)).all()
        if timesteps > 1:  # all betas but the capped last one are the formula's
            t = torch.arange(timesteps, dtype=torch.float64) / timesteps
            expected = torch.tensor([improved_ddpm(one) for one in t.tolist()], dtype=torch.float64).sqrt()
            torch.testing.assert_close(schedule.alpha(t), expected, rtol=1e-9, atol=0)
        assert predict_noise(schedule, number(1)).out.isfinite()


@pytest.mark.parametrize("schedule", [ZeroTerminal(Cosine()), Flow()], ids=str)
def test_noise_prediction_that_would_divide_by_zero_is_rejected(schedule: Schedule) -> None:
    """peers.md mistake 5: with no signal left, the noise says nothing of the data."""
    with pytest.raises(ConfigError, match=r"'noise'.*Choose among: data, velocity, flow, edm"):
        check_parametrization(schedule, "noise")


@pytest.mark.parametrize("timesteps", [21, 100, 250, 1000, 4000])
@pytest.mark.parametrize("kind", [LinearBeta, ScaledLinearBeta, Cosine, Sigmoid])
def test_x_t_ends_as_standard_normal_noise_for_any_step_count(
    kind: type[LinearBeta] | type[ScaledLinearBeta] | type[Cosine] | type[Sigmoid], timesteps: int
) -> None:
    """peers.md mistake 6: betas are rescaled when T is not 1000."""
    last, reference = kind(timesteps), kind(1000)
    least = {LinearBeta: 1e-4, ScaledLinearBeta: 0.005, Cosine: 1e-4, Sigmoid: 1e-4}[kind]
    assert 0 <= last.alpha_bar[-1] < least
    assert last.sigma(number(1)).item() == pytest.approx(1, abs=least)
    middle = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    torch.testing.assert_close(last.alpha(middle), reference.alpha(middle), rtol=0, atol=0.06)


def test_zero_terminal_leaves_no_signal_and_keeps_the_first_step() -> None:
    base = ScaledLinearBeta()
    schedule = ZeroTerminal(base)
    assert schedule.timesteps == 1000
    assert (schedule.alpha(number(1)).item(), schedule.sigma(number(1)).item()) == (0, 1)
    assert schedule.logsnr(number(1)).item() == -math.inf
    assert schedule.alpha(number(0.001)).item() == pytest.approx(base.alpha(number(0.001)).item(), rel=1e-12)
    ends = base.alpha(torch.tensor([0.001, 1.0], dtype=torch.float64))
    expected = (base.alpha(number(0.6)) - ends[1]) * ends[0] / (ends[0] - ends[1])
    assert schedule.alpha(number(0.6)).item() == pytest.approx(expected.item(), rel=1e-12)


def test_in_the_last_step_of_zero_terminal_alpha_is_linear() -> None:
    schedule = ZeroTerminal(LinearBeta())
    before = schedule.alpha(number(0.999)).item()
    assert before > 0
    for share in (0.1, 0.5, 0.999):
        assert schedule.alpha(number(0.999 + share / 1000)).item() == pytest.approx(before * (1 - share), rel=1e-9)


def test_edm_keeps_the_signal_and_has_the_noise_levels_of_eq_5() -> None:
    """EDM, eq. 5 with sigma_min at 0, and its range of sigma, 0.002 to 80 (table 1)."""
    schedule = VarianceExploding()
    assert (schedule.alpha(INSIDE) == 1).all()
    torch.testing.assert_close(schedule.sigma(INSIDE), (INSIDE * 80 ** (1 / 7)) ** 7, rtol=1e-13, atol=0)
    torch.testing.assert_close(schedule.logsnr(INSIDE), -2 * schedule.sigma(INSIDE).log(), rtol=1e-13, atol=1e-13)
    assert schedule.sigma(number(schedule.earliest)).item() == pytest.approx(0.002, rel=1e-13)
    other = VarianceExploding(sigma_max=5.0, sigma_min=0.1, rho=3.0)
    assert other.sigma(number(0.5)).item() == pytest.approx(5 / 8, rel=1e-14)
    assert other.sigma(number(other.earliest)).item() == pytest.approx(0.1, rel=1e-14)
    assert other.time_at(number(-2 * math.log(7.0))).item() == 1


def test_flow_is_the_straight_line() -> None:
    assert (Flow().alpha(INSIDE) == 1 - INSIDE).all()
    assert (Flow().sigma(INSIDE) == INSIDE).all()
    alpha, sigma = Flow().amplitudes(Flow().logsnr(INSIDE))
    torch.testing.assert_close(alpha, 1 - INSIDE, rtol=1e-13, atol=1e-15)
    torch.testing.assert_close(sigma, INSIDE, rtol=1e-13, atol=0)
    assert Flow().logsnr(number(0.2)).item() == pytest.approx(2 * math.log(4), rel=1e-14)


def test_a_custom_schedule_is_one_function() -> None:
    schedule = Custom(angular)
    torch.testing.assert_close(schedule.alpha(INSIDE), (math.pi / 2 * INSIDE).cos(), rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(schedule.sigma(INSIDE), (math.pi / 2 * INSIDE).sin(), rtol=1e-12, atol=0)
    clean = Custom(lambda t: 10 - 20 * t)  # which says nothing special of t = 0
    assert (clean.logsnr(number(0)).item(), clean.alpha(number(0)).item(), clean.sigma(number(0)).item()) == (
        math.inf,
        1,
        0,
    )
    assert clean.logsnr(number(1e-300)).item() == 10
    assert clean.time_at(number(0)).item() == 0.5  # where the bisection begins, it is exact


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_a_shifted_flow_is_that_of_sd3(factor: float) -> None:
    """SD3 (arXiv 2403.03206), eq. 23: the flow at t' = s t / (1 + (s - 1) t)."""
    moved = factor * INSIDE / (1 + (factor - 1) * INSIDE)
    schedule = Shifted(Flow(), factor)
    torch.testing.assert_close(schedule.sigma(INSIDE), moved, rtol=1e-13, atol=0)
    torch.testing.assert_close(schedule.alpha(INSIDE), (1 - INSIDE) / (1 + (factor - 1) * INSIDE), rtol=1e-12, atol=0)


def test_a_shift_is_that_of_simple_diffusion() -> None:
    """Simple diffusion (arXiv 2301.11093), section 3.1: logsnr + 2 log(64 / side) for images of 256 pixels a side."""
    torch.testing.assert_close(
        Shifted(Custom(angular), 256 / 64).logsnr(INSIDE), angular(INSIDE) + 2 * math.log(64 / 256), rtol=1e-13, atol=0
    )


def test_a_shift_keeps_the_steps_the_path_and_the_network_time() -> None:
    schedule = Shifted(LinearBeta(300), 2.0)
    assert (schedule.timesteps, schedule.earliest) == (300, 1 / 300)
    assert schedule.network_time(number(0.5)).item() == 149
    assert Shifted(VarianceExploding(), 2.0).earliest == VarianceExploding().earliest
    assert (Shifted(VarianceExploding(), 2.0).alpha(INSIDE) == 1).all()
    torch.testing.assert_close(
        Shifted(VarianceExploding(), 2.0).sigma(INSIDE), 160 * INSIDE**7, rtol=1e-13, atol=0, msg="twice the noise"
    )


# Parity


def of_diffusers(name: str, **settings: object) -> Tensor:
    from diffusers import DDPMScheduler  # 3 s

    betas: Tensor = DDPMScheduler(beta_schedule=name, **settings).betas
    return betas.double()


def test_betas_are_those_of_diffusers() -> None:
    for schedule, betas in [
        (LinearBeta(), of_diffusers("linear")),
        (Cosine(), of_diffusers("squaredcos_cap_v2")),
        (Cosine(50), of_diffusers("squaredcos_cap_v2", num_train_timesteps=50)),
        (ScaledLinearBeta(), of_diffusers("scaled_linear", beta_start=0.00085, beta_end=0.012)),
    ]:
        torch.testing.assert_close(schedule.betas, betas, rtol=2e-6, atol=1e-9)


def test_zero_terminal_betas_equal_diffusers_in_single_precision() -> None:
    """diffusers computes abar in float32, whose last digits it then divides; they tell up to 1e-4."""
    betas = of_diffusers("scaled_linear", beta_start=0.00085, beta_end=0.012, rescale_betas_zero_snr=True)
    torch.testing.assert_close(ZeroTerminal(ScaledLinearBeta()).betas, betas, rtol=1e-3, atol=1e-6)


def test_diffusers_does_not_rescale_betas_where_t_is_not_1000() -> None:
    """peers.md mistake 6: with 100 steps, a third of its signal's amplitude is left; of ours, nothing."""
    left = (1 - of_diffusers("linear", num_train_timesteps=100)).prod().sqrt().item()
    assert left > 0.3
    assert LinearBeta(100).alpha(number(1)).item() < 0.01
