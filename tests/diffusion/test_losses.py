"""Loss weights against the formulas of their papers and the exact bound; the loss against plain sums."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sfumato.diffusion import analytic
from sfumato.diffusion.denoiser import (
    PARAMETRIZATIONS,
    Denoiser,
    PreconditionedDenoiser,
    Preconditioning,
    predict_edm,
    predict_noise,
)
from sfumato.diffusion.losses import (
    ELBO,
    SNR,
    WEIGHTS,
    MinSNR,
    SigmoidELBO,
    Simple,
    SoftMinSNR,
    Weight,
    drop_labels,
    noise_levels,
    squared_error,
    weighted_loss,
)
from sfumato.diffusion.schedules import (
    SCHEDULES,
    Cosine,
    Custom,
    Flow,
    LinearBeta,
    Schedule,
    VarianceExploding,
    ZeroTerminal,
)
from sfumato.diffusion.time_densities import UniformTimes, independent
from sfumato.errors import ConfigError
from sfumato.utils.shapes import UNLABELLED, over

LINEAR = LinearBeta()
SHAPE = (1, 2, 3)
EVERY: dict[str, Schedule] = {**SCHEDULES, "zero-terminal": ZeroTerminal(Cosine())}
SEEING = ["data", "velocity", "flow", "edm"]
"""Parametrizations for every schedule."""


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Torch's generator, of a known state inside and restored behind."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def randn(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def coefficients(name: str, schedule: Schedule, t: Tensor) -> Preconditioning:
    return PARAMETRIZATIONS[name](schedule, t)


BY_HAND = {
    ("simple", "noise"): lambda snr: 1 + 0 * snr,
    ("simple", "data"): lambda snr: 1 + 0 * snr,
    ("simple", "velocity"): lambda snr: 1 + 0 * snr,
    ("snr", "noise"): lambda snr: 1 + 0 * snr,
    ("snr", "data"): lambda snr: snr,
    ("snr", "velocity"): lambda snr: snr / (snr + 1),
    ("min-snr", "noise"): lambda snr: np.minimum(snr, 5) / snr,
    ("min-snr", "data"): lambda snr: np.minimum(snr, 5),
    ("min-snr", "velocity"): lambda snr: np.minimum(snr, 5) / (snr + 1),
    ("min-snr:gamma=0.5", "velocity"): lambda snr: np.minimum(snr, 0.5) / (snr + 1),
    ("soft-min-snr", "noise"): lambda snr: 5 / (snr + 5),
    ("soft-min-snr", "data"): lambda snr: 1 / (1 / snr + 1 / 5),
    ("soft-min-snr", "velocity"): lambda snr: 5 * snr / ((snr + 5) * (snr + 1)),
    ("soft-min-snr:gamma=2", "noise"): lambda snr: 2 / (snr + 2),
}


@pytest.mark.parametrize(("weight", "parametrization"), BY_HAND)
def test_a_weight_is_its_papers_formula_for_the_parametrization(weight: str, parametrization: str) -> None:
    """Mistake 7 of the field: min-SNR for the velocity is min(SNR, gamma) / (SNR + 1), and is a minimum."""
    step = torch.tensor([1, 30, 150, 400, 999])
    alpha_bar = LINEAR.alpha_bar[step].numpy()
    t = step.double() / 1000
    found = WEIGHTS.parse(weight)(LINEAR, t, coefficients(parametrization, LINEAR, t))
    expected = BY_HAND[weight, parametrization](alpha_bar / (1 - alpha_bar))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("weight", ["snr", "min-snr", "soft-min-snr", "elbo", "sigmoid"])
def test_a_weighted_loss_does_not_depend_on_the_parametrization(schedule: str, weight: str) -> None:
    path = SCHEDULES[schedule]
    t = torch.tensor([path.earliest, 0.2, 0.5, 0.9], dtype=torch.float64)
    x_0, x0_hat, noise = randn(4), randn(4), randn(4)
    x_t = path.alpha(t) * x_0 + path.sigma(t) * noise
    costs = []
    for name in PARAMETRIZATIONS:
        c = coefficients(name, path, t)
        said, target = (x0_hat - c.skip * x_t) / c.out, (x_0 - c.skip * x_t) / c.out
        costs.append(WEIGHTS[weight](path, t, c) * (said - target) ** 2)
    for cost in costs:
        torch.testing.assert_close(cost, costs[0], rtol=1e-7, atol=0)


def test_the_snr_weight_is_the_squared_error_of_the_noise() -> None:
    t, x_0, x0_hat, x_t = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64), randn(3), randn(3), randn(3)
    alpha, sigma = Flow().alpha(t), Flow().sigma(t)
    of_noise = ((x_t - alpha * x0_hat) / sigma - (x_t - alpha * x_0) / sigma) ** 2
    torch.testing.assert_close(SNR().of_data(Flow(), t) * (x0_hat - x_0) ** 2, of_noise)


def test_the_edm_weight_is_simple_for_the_edm_parametrization() -> None:
    """lambda(sigma) = (sigma^2 + sd^2) / (sigma sd)^2 on the data. EDM, table 1."""
    edm, sd = VarianceExploding(), 0.5
    t = torch.linspace(edm.earliest, 1, 9, dtype=torch.float64)
    sigma, c = edm.sigma(t), predict_edm(edm, t)
    of_data = (sigma**2 + sd**2) / (sigma * sd) ** 2
    torch.testing.assert_close(of_data * c.out**2, Simple()(edm, t, c))


def test_soft_min_snr_is_the_formula_of_its_authors_code() -> None:
    """Theirs is for EDM's network: (sigma sd)^2 / (sigma^2 + sd^2)^2, whose gamma is 1 / sd^2."""
    edm, sd = VarianceExploding(), 0.5
    t = torch.linspace(edm.earliest, 1, 9, dtype=torch.float64)
    sigma = edm.sigma(t)
    found = SoftMinSNR(gamma=4.0)(edm, t, predict_edm(edm, t))
    torch.testing.assert_close(found, (sigma * sd) ** 2 / (sigma**2 + sd**2) ** 2)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_sigmoid_weight_is_soft_min_snr_per_unit_of_log_snr(schedule: str) -> None:
    """SNR sigmoid(bias - logSNR) = e^bias SNR / (SNR + e^bias), times -1/2 dlogSNR/dt."""
    path, t = SCHEDULES[schedule], torch.tensor([0.2005, 0.5005, 0.9005], dtype=torch.float64)
    step = 1e-5
    slope = (path.logsnr(t + step) - path.logsnr(t - step)) / (2 * step)
    expected = -slope / 2 * SoftMinSNR(gamma=math.exp(-0.5)).of_data(path, t)
    torch.testing.assert_close(SigmoidELBO(bias=-0.5).of_data(path, t), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("schedule", EVERY)
@pytest.mark.parametrize("name", SEEING)
@pytest.mark.parametrize("weight", WEIGHTS)
def test_every_weight_is_finite_and_never_negative_at_every_time(schedule: str, name: str, weight: str) -> None:
    path = EVERY[schedule]
    t = torch.linspace(path.earliest, 1, 201, dtype=torch.float64)
    t = torch.cat([t, 1 - torch.logspace(-4, -16, 5, dtype=torch.float64)])
    found = WEIGHTS[weight](path, t, coefficients(name, path, t))
    assert found.dtype == torch.float64
    assert found.isfinite().all()
    assert (found >= 0).all()
    assert found.max() > 0


class Exact(nn.Module):
    """The network that makes a denoiser exact, for inputs at known times."""

    def __init__(self, denoiser: Denoiser, t: Tensor, c: Preconditioning) -> None:
        super().__init__()
        self.denoiser, self.t, self.c = denoiser, t, c

    def forward(self, x: Tensor, times: Tensor, labels: Tensor | None) -> Tensor:
        """(x0_hat - c_skip x_t) / c_out."""
        del times
        x_t = x / over(self.c.input, x)
        x0_hat: Tensor = self.denoiser(x_t, self.t, labels)
        return (x0_hat - over(self.c.skip, x) * x_t) / over(self.c.out, x)


def hermite() -> tuple[Tensor, Tensor, Tensor]:
    """Nodes (z_0, noise) and weights that integrate polynomials of degree 5 over two standard normal numbers."""
    points, weights = (torch.from_numpy(part) for part in np.polynomial.hermite_e.hermegauss(3))
    z_0, noise = torch.meshgrid(points, points, indexing="ij")
    weight = torch.outer(weights, weights).flatten()
    return z_0.flatten(), noise.flatten(), weight / weight.sum()


def expected_loss(schedule: Schedule, name: str, weight: Weight, t: Tensor, mean: float, variance: float) -> Tensor:
    """The expectation of the weighted loss of the exact denoiser of N(mean, variance) data, at each time.

    The loss is a polynomial of degree 2 in x_0 and in the noise, so Gauss-Hermite quadrature with 3 x 3 nodes is exact.
    """
    z_0, noise, shares = hermite()
    every_t = t.repeat_interleave(len(shares))
    z_0, noise = (z.repeat(len(t)).reshape(-1, 1, 1, 1) for z in (z_0, noise))
    exact = analytic.gaussian(schedule, torch.full((1, 1, 1), mean, dtype=torch.float64), variance)
    network = Exact(exact, every_t, coefficients(name, schedule, every_t))
    denoiser = PreconditionedDenoiser(network, schedule, PARAMETRIZATIONS[name], (1, 1, 1))
    x_0 = mean + variance**0.5 * z_0
    loss = weighted_loss(denoiser, x_0, noise_levels(denoiser, every_t, x_0, weight), noise)
    return loss.double().reshape(len(t), -1) @ shares


def integral(schedule: Schedule, name: str, weight: Weight) -> float:
    """Of the expected loss over t from 0.1 to 1, for N(0.3, 0.5) data; panels end where the steps of T = 50 do."""
    points, shares = (torch.from_numpy(part) for part in np.polynomial.legendre.leggauss(6))
    left = torch.arange(5, 50, dtype=torch.float64) / 50
    t = (left[:, None] + (points + 1) / 100).flatten()
    loss = expected_loss(schedule, name, weight, t, 0.3, 0.5)
    return (loss.reshape(45, 6) @ shares).sum().item() / 100


CONTINUOUS = Custom(lambda t: -2 * torch.log(torch.tan(math.pi / 2 * t)))
PATHS = {
    "linear": LinearBeta(50),
    "cosine": ZeroTerminal(Cosine(50)),
    "edm": VarianceExploding(),
    "flow": Flow(),
    "custom": CONTINUOUS,
}


@pytest.mark.parametrize("name", SEEING)
@pytest.mark.parametrize("schedule", PATHS)
def test_the_elbo_weight_makes_the_loss_the_bound(schedule: str, name: str) -> None:
    """The bound of a Gaussian between two times: 1/2 log((1 + v SNR) / (1 + v SNR')), the information lost, in nats."""
    snr = PATHS[schedule].logsnr(torch.tensor([0.1, 1.0], dtype=torch.float64)).exp()
    early, late = (1 + 0.5 * snr).log().tolist()
    assert integral(PATHS[schedule], name, ELBO()) == pytest.approx((early - late) / 2, rel=1e-5)


@pytest.mark.parametrize("bias", [-1.0, 2.0])
@pytest.mark.parametrize("schedule", ["flow", "custom"])
def test_the_sigmoid_weight_makes_the_loss_its_closed_form(schedule: str, bias: float) -> None:
    """1/2 integral of e^b / ((1/v + S) (e^b + S)) dS, between the two signal-to-noise ratios, by partial fractions."""
    snr = PATHS[schedule].logsnr(torch.tensor([0.1, 1.0], dtype=torch.float64)).exp()
    limit = math.exp(bias)
    early, late = (((2 + snr) / (limit + snr)).log() * limit / (limit - 2) / 2).tolist()
    assert integral(PATHS[schedule], "velocity", SigmoidELBO(bias)) == pytest.approx(early - late, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("min-snr:gamma=0", "gamma 0.0 is out of range"),
        ("min-snr:gamma=inf", "gamma inf is out of range"),
        ("soft-min-snr:gamma=-2", "gamma -2.0 is out of range"),
        ("sigmoid:bias=inf", "the bias inf of the sigmoid weight is not finite"),
        ("p2", "'p2' is unknown. Choose among: simple, snr, min-snr, soft-min-snr, elbo, sigmoid"),
    ],
)
def test_an_invalid_weight_is_rejected(name: str, changed: str) -> None:
    with pytest.raises(ConfigError, match=changed):
        WEIGHTS.parse(name)


def test_weights_have_the_constants_of_their_papers() -> None:
    assert (WEIGHTS.parse("min-snr"), WEIGHTS.parse("soft-min-snr")) == (MinSNR(gamma=5.0), SoftMinSNR(gamma=5.0))
    assert (WEIGHTS.parse("sigmoid"), WEIGHTS.parse("sigmoid:bias=-3")) == (
        SigmoidELBO(bias=2.0),
        SigmoidELBO(bias=-3.0),
    )


def test_the_elbo_weight_is_0_without_signal() -> None:
    assert ELBO().of_data(ZeroTerminal(Cosine()), torch.ones((), dtype=torch.float64)) == 0


class Says(nn.Module):
    """A network that says what it was made to say."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = answer
        self.labels: Tensor | None = None
        self.augmentation: Tensor | None = None

    def forward(
        self,
        x: Tensor,  # noqa: ARG002
        times: Tensor,  # noqa: ARG002
        labels: Tensor | None,
        augmentation: Tensor | None = None,
    ) -> Tensor:
        """The answer."""
        self.labels, self.augmentation = labels, augmentation
        return self.answer


def denoiser_of(network: nn.Module, shape: tuple[int, int, int] = SHAPE) -> PreconditionedDenoiser:
    return PreconditionedDenoiser(network, LINEAR, predict_noise, shape)


def some_times(count: int) -> Tensor:
    return UniformTimes()(LINEAR, independent(count))


def test_an_exact_noise_prediction_has_loss_0() -> None:
    x_0, noise = torch.rand(4, *SHAPE), torch.randn(4, *SHAPE)
    loss = squared_error(denoiser_of(Says(noise)), x_0, some_times(4), noise)
    assert (loss == 0).all()


def test_the_loss_is_the_mean_square_over_pixels_of_each_image() -> None:
    x_0, noise, answer = torch.rand(2, *SHAPE), torch.randn(2, *SHAPE), torch.randn(2, *SHAPE)
    loss = squared_error(denoiser_of(Says(answer)), x_0, some_times(2), noise)
    by_hand = [
        sum((a - e) ** 2 for a, e in zip(answer[i].flatten().tolist(), noise[i].flatten().tolist(), strict=True)) / 6
        for i in range(2)
    ]
    assert loss.dtype == torch.float32
    assert loss.tolist() == pytest.approx(by_hand, rel=1e-6)


def test_the_simple_weight_gives_the_loss_of_ddpm() -> None:
    x_0, noise, answer = torch.rand(5, *SHAPE), torch.randn(5, *SHAPE), torch.randn(5, *SHAPE)
    denoiser = denoiser_of(Says(answer))
    loss = weighted_loss(denoiser, x_0, noise_levels(denoiser, some_times(5), x_0, WEIGHTS.parse("simple")), noise)
    assert torch.equal(loss, (answer - noise).square().mean(dim=(1, 2, 3)))


def test_each_image_is_weighted_by_its_own_time() -> None:
    x_0, noise, answer = torch.rand(3, *SHAPE), torch.randn(3, *SHAPE), torch.randn(3, *SHAPE)
    t = torch.tensor([0.9, 0.001, 0.3], dtype=torch.float64)
    denoiser = denoiser_of(Says(answer))
    loss = weighted_loss(denoiser, x_0, noise_levels(denoiser, t, x_0, MinSNR()), noise)
    weights = [min(1.0, 5 / math.exp(logsnr)) for logsnr in LINEAR.logsnr(t).tolist()]
    plain = (answer - noise).square().mean(dim=(1, 2, 3)).tolist()
    assert loss.dtype == torch.float32
    assert loss.tolist() == pytest.approx([w * one for w, one in zip(weights, plain, strict=True)], rel=1e-5)


@pytest.mark.parametrize("weighed", [True, False])
def test_the_labels_and_the_augmentation_reach_the_network(weighed: bool) -> None:
    network, labels, augmentation = Says(torch.zeros(2, *SHAPE)), torch.tensor([1, 0]), torch.rand(2, 9)
    denoiser, x_0, t, noise = denoiser_of(network), torch.rand(2, *SHAPE), some_times(2), torch.randn(2, *SHAPE)
    if weighed:
        weighted_loss(denoiser, x_0, noise_levels(denoiser, t, x_0, SNR()), noise, labels, augmentation)
    else:
        squared_error(denoiser, x_0, t, noise, labels, augmentation)
    assert network.labels is labels
    assert network.augmentation is augmentation


@pytest.mark.parametrize("step", [1, 10, 100, 400, 1000])
def test_the_expected_analytic_loss_has_the_closed_form(step: int) -> None:
    """E |noise - E[noise | x_t]|^2 = alpha^2 v / (alpha^2 v + sigma^2) for N(mean, v) data."""
    t = torch.tensor([step / 1000], dtype=torch.float64)
    (loss,) = expected_loss(LINEAR, "noise", Simple(), t, mean=0.3, variance=0.5).tolist()
    alpha, sigma = LINEAR.alpha(t).item(), LINEAR.sigma(t).item()
    assert loss == pytest.approx(alpha**2 * 0.5 / (alpha**2 * 0.5 + sigma**2), rel=1e-5)


def test_labels_are_dropped_at_the_requested_rate() -> None:
    labels = torch.arange(20_000) % 7
    after = drop_labels(labels, 0.1)
    gone = after == UNLABELLED
    assert (after[~gone] == labels[~gone]).all()
    assert gone.double().mean().item() == pytest.approx(0.1, abs=0.008)  # four standard errors
    assert labels.min() == 0, "the labels given must not change"


@pytest.mark.parametrize(("probability", "left"), [(0.0, [0, 1, 2, UNLABELLED]), (1.0, [UNLABELLED] * 4)])
def test_never_and_always_dropping_are_exact(probability: float, left: list[int]) -> None:
    assert drop_labels(torch.tensor([0, 1, 2, UNLABELLED]), probability).tolist() == left
