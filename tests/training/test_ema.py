"""EMAs against their definitions: the weight of each step in the average."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sfumato.errors import ConfigError
from sfumato.training.ema import EMA, EMA_DECAYS, ConstantDecay, EMADecay, PowerDecay

LENGTHS = [0.05, 0.1, 0.2]


def shares(average: EMADecay, steps: int) -> torch.Tensor:
    """How much the weights after each step count in the average after the last one, by its recursion."""
    ema_rate = torch.tensor([average.rate(step) for step in range(1, steps + 1)], dtype=torch.float64)
    kept_after = torch.cat([(1 - ema_rate[1:]).flip(0).cumprod(0).flip(0), torch.ones(1, dtype=torch.float64)])
    return ema_rate * kept_after


@pytest.mark.parametrize("length", LENGTHS)
def test_power_decay_weights_a_step_by_a_power_of_its_number(length: float) -> None:
    """In closed form, the integral of t^gamma over the step."""
    steps, average = 400, PowerDecay(length)
    edges = (torch.arange(steps + 1, dtype=torch.float64) / steps) ** (average.gamma + 1)
    found = shares(average, steps)
    torch.testing.assert_close(found, edges.diff(), rtol=1e-9, atol=1e-15)
    assert found.sum().item() == pytest.approx(1)


@pytest.mark.parametrize("length", LENGTHS)
def test_the_deviation_of_a_power_ema_is_its_length(length: float) -> None:
    for steps in (500, 4000):
        times = (torch.arange(steps, dtype=torch.float64) + 0.5) / steps
        weights = shares(PowerDecay(length), steps)
        mean = (weights * times).sum()
        deviation = (weights * (times - mean) ** 2).sum().sqrt().item()
        assert deviation == pytest.approx(length, rel=2e-3)


@pytest.mark.parametrize(("length", "gamma"), [(0.05, 16.97), (0.1, 6.94)])
def test_gammas_are_those_of_edm2(length: float, gamma: float) -> None:
    assert PowerDecay(length).gamma == pytest.approx(gamma, abs=5e-3)


def test_no_gamma_is_negative_and_short_averages_have_large_ones() -> None:
    gammas = [PowerDecay(length).gamma for length in (0.28, 0.2, 0.1, 0.01, 0.001)]
    assert gammas == sorted(gammas)
    assert gammas[0] > 0
    assert gammas[-1] == pytest.approx(1 / 0.001, rel=0.01)


@pytest.mark.parametrize("average", [PowerDecay(), PowerDecay(0.28), PowerDecay(0.001)])
def test_power_decay_drops_initial_weights_and_slows_down(average: EMADecay) -> None:
    ema_rate = [average.rate(step) for step in range(1, 200)]
    assert ema_rate[0] == 1
    assert ema_rate == sorted(ema_rate, reverse=True)
    assert ema_rate[-1] > 0


def test_constant_decay_is_constant_after_the_beginning() -> None:
    average = ConstantDecay(0.9)
    assert [average.rate(step) for step in (1, 2, 3)] == pytest.approx([9 / 11, 9 / 12, 9 / 13])
    assert [average.rate(step) for step in (80, 81, 10**9)] == pytest.approx([0.1, 0.1, 0.1])


def test_ema_decays_are_given_by_name_with_settings() -> None:
    assert EMA_DECAYS.parse("constant") == ConstantDecay(0.9999)
    assert EMA_DECAYS.parse("constant:decay=0.5") == ConstantDecay(0.5)
    assert EMA_DECAYS.parse("power:length=0.1") == PowerDecay(0.1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mean", "constant, power"),
        ("power:decay=0.9", "decay"),
        ("power:length=0", "length is 0.0 of"),
        ("power:length=0.29", "length is 0.29"),
        ("constant:decay=1", "decay is 1.0"),
        ("constant:decay=-0.1", "decay is -0.1"),
    ],
)
def test_invalid_emas_are_rejected(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EMA_DECAYS.parse(name)


def test_ema_follows_its_recursion_after_the_warm_up() -> None:
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    ema = EMA(model, decay=0.9, warmup_steps=2)
    expected = [parameter.detach().clone() for parameter in model.parameters()]
    for step in range(1, 7):
        for parameter in model.parameters():
            parameter.data.normal_()
        model(torch.randn(4, 3))
        ema.update()
        for old, parameter in zip(expected, model.parameters(), strict=True):
            old.copy_(parameter.detach() if step <= 2 else 0.9 * old + 0.1 * parameter.detach())
        torch.testing.assert_close(list(ema.model.parameters()), expected)
    assert isinstance(ema.model[1], nn.BatchNorm1d)
    torch.testing.assert_close(ema.model[1].running_mean, model[1].running_mean)
    assert ema.model[1].num_batches_tracked == 6


def test_ema_keeps_a_model_in_evaluation_mode_without_gradients() -> None:
    model = nn.Linear(3, 2)
    ema = EMA(model)
    assert model.training
    assert not ema.model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(parameter.requires_grad for parameter in ema.model.parameters())


@pytest.mark.parametrize(("decay", "warmup_steps", "message"), [(1.0, 0, "decay is 1.0"), (0.9, -1, "-1 warm-up")])
def test_ema_rejects_settings_out_of_range(decay: float, warmup_steps: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EMA(nn.Linear(3, 2), decay, warmup_steps)
