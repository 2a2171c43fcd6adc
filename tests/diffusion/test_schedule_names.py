"""Schedules by name, and invalid schedules."""

import math
from collections.abc import Callable

import pytest
import torch

from sfumato.diffusion.schedules import (
    SCHEDULES,
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
    build_schedule,
)
from sfumato.errors import ConfigError


def test_every_schedule_has_a_name() -> None:
    assert {name: type(one) for name, one in SCHEDULES.items()} == {
        "linear": LinearBeta,
        "scaled-linear": ScaledLinearBeta,
        "cosine": Cosine,
        "sigmoid": Sigmoid,
        "edm": VarianceExploding,
        "flow": Flow,
    }


@pytest.mark.parametrize("name", ["linear", "scaled-linear", "cosine", "sigmoid"])
def test_zero_terminal_and_shift_go_by_name(name: str) -> None:
    base = SCHEDULES[name]
    assert build_schedule(name) == base
    assert build_schedule(name, shift=2.0) == Shifted(base, 2.0)
    zero = build_schedule(name, zero_terminal_snr=True)
    assert isinstance(zero, ZeroTerminal)
    assert zero.base == base
    assert build_schedule(name, zero_terminal_snr=True, shift=2.0) == Shifted(zero, 2.0)


def test_settings_are_given_by_name() -> None:
    assert build_schedule("cosine:timesteps=500,offset=0.01") == Cosine(500, 0.01)
    assert build_schedule("edm:sigma_max=10", shift=0.5) == Shifted(VarianceExploding(sigma_max=10.0), 0.5)


@pytest.mark.parametrize("name", ["edm", "flow"])
def test_zero_terminal_of_a_schedule_without_steps_is_rejected(name: str) -> None:
    with pytest.raises(ConfigError, match=f"'{name}'.*linear, scaled-linear, cosine, sigmoid"):
        build_schedule(name, zero_terminal_snr=True)


def test_an_unknown_schedule_is_rejected_with_the_valid_names() -> None:
    with pytest.raises(ConfigError, match=r"schedule 'cos' is unknown.*linear, scaled-linear, cosine, sigmoid, edm"):
        build_schedule("cos")


REFUSED: list[tuple[Callable[[], Schedule], str]] = [
    (lambda: Cosine(0), "timesteps is 0"),
    (lambda: Cosine(offset=-0.1), "0 or more, below 1"),
    (lambda: Cosine(offset=1.0), "0 or more, below 1"),
    (lambda: Sigmoid(0), "timesteps is 0"),
    (lambda: Sigmoid(start=3.0), "start < end"),
    (lambda: Sigmoid(temperature=0.0), "temperature above 0"),
    (lambda: Sigmoid(start=0.0, end=0.0, temperature=0.0), "temperature above 0"),
    (lambda: Sigmoid(temperature=math.inf), "temperature above 0"),
    (lambda: Sigmoid(start=-31.0), "within 30 temperatures of 0"),
    (lambda: Sigmoid(end=31.0), "within 30 temperatures of 0"),
    (lambda: ScaledLinearBeta(12), "at least 13"),
    (lambda: ScaledLinearBeta(beta_start=0.5), "beta_start <= beta_end"),
    (lambda: ZeroTerminal(Cosine(1)), "at least 2"),
    (lambda: VarianceExploding(sigma_min=0.0), "0 < sigma_min"),
    (lambda: VarianceExploding(sigma_min=80.0), "sigma_min < sigma_max"),
    (lambda: VarianceExploding(sigma_max=math.inf), "sigma_min < sigma_max"),
    (lambda: VarianceExploding(rho=1e-300), "rho from 0.1"),
    (lambda: VarianceExploding(rho=100.5), "rho from 0.1 to 100"),
    (lambda: VarianceExploding(rho=math.inf), "rho from 0.1"),
    (lambda: VarianceExploding(rho=math.nan), "rho from 0.1"),
    (lambda: Shifted(Flow(), 0.0), "above 0"),
    (lambda: Custom(lambda t: 10 * t - 5), "returned log-SNRs that do not decrease"),
    (lambda: Custom(lambda t: 0 * t), "returned log-SNRs that do not decrease"),
    (lambda: Custom(lambda t: t.tolist()), "returned a list instead of a tensor"),
    (lambda: Custom(lambda t: t.log().sum()), r"returned the shape \(\) for times of the shape \(100,\)"),
    (lambda: Custom(lambda t: torch.full_like(t, math.nan)), "returned log-SNRs that do not decrease"),
    (lambda: Shifted(Flow(), math.inf), "above 0"),
    (lambda: Shifted(Flow(), math.nan), "above 0"),
]


@pytest.mark.parametrize(("make", "remedy"), REFUSED)
def test_an_invalid_schedule_is_rejected_with_a_remedy(make: Callable[[], Schedule], remedy: str) -> None:
    with pytest.raises(ConfigError, match=remedy):
        make()


JUST_POSSIBLE: list[Callable[[], Schedule]] = [
    lambda: Cosine(1),
    lambda: Cosine(offset=0.0),
    lambda: ZeroTerminal(Cosine(2)),
    lambda: LinearBeta(beta_start=0.01, beta_end=0.01),
    lambda: LinearBeta(beta_end=0.9999),
    lambda: Sigmoid(start=-60.0, end=60.0, temperature=2.0),
    lambda: Sigmoid(start=0.0, end=0.001),
    lambda: VarianceExploding(rho=0.1),
    lambda: VarianceExploding(rho=100.0),
]


@pytest.mark.parametrize("make", JUST_POSSIBLE)
def test_extreme_valid_schedules_are_accepted(make: Callable[[], Schedule]) -> None:
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)
    amplitudes = torch.stack([make().alpha(ends), make().sigma(ends)])
    assert amplitudes.isfinite().all()
    assert amplitudes[1, -1] > amplitudes[1, 0] == 0
