"""The averages against their definitions: the share that each step has in the end."""

from __future__ import annotations

import pytest
import torch

from sfumato.errors import ConfigError
from sfumato.training.ema import Average, ConstantDecay, PowerDecay, average_for

LENGTHS = [0.05, 0.1, 0.2]


def shares(average: Average, steps: int) -> torch.Tensor:
    """How much the weights after each step count in the average after the last one, by its recursion."""
    pulls = torch.tensor([average.pull(step) for step in range(1, steps + 1)], dtype=torch.float64)
    kept_after = torch.cat([(1 - pulls[1:]).flip(0).cumprod(0).flip(0), torch.ones(1, dtype=torch.float64)])
    return pulls * kept_after


@pytest.mark.parametrize("length", LENGTHS)
def test_power_weighs_a_step_by_a_power_of_its_number(length: float) -> None:
    """In closed form, the integral of t^gamma over the step."""
    steps, average = 400, PowerDecay(length)
    edges = (torch.arange(steps + 1, dtype=torch.float64) / steps) ** (average.gamma + 1)
    found = shares(average, steps)
    torch.testing.assert_close(found, edges.diff(), rtol=1e-9, atol=1e-15)
    assert found.sum().item() == pytest.approx(1)


@pytest.mark.parametrize("length", LENGTHS)
def test_the_standard_deviation_of_power_is_its_length_whatever_the_steps(length: float) -> None:
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
def test_power_forgets_the_untrained_weights_at_once_and_then_pulls_ever_less(average: Average) -> None:
    pulls = [average.pull(step) for step in range(1, 200)]
    assert pulls[0] == 1
    assert pulls == sorted(pulls, reverse=True)
    assert pulls[-1] > 0


def test_constant_keeps_its_decay_but_for_the_beginning() -> None:
    average = ConstantDecay(0.9)
    assert [average.pull(step) for step in (1, 2, 3)] == pytest.approx([9 / 11, 9 / 12, 9 / 13])
    assert [average.pull(step) for step in (80, 81, 10**9)] == pytest.approx([0.1, 0.1, 0.1])


def test_averages_go_by_name_with_settings() -> None:
    assert average_for("constant") == ConstantDecay(0.9999)
    assert average_for("constant:decay=0.5") == ConstantDecay(0.5)
    assert average_for("power:length=0.1") == PowerDecay(0.1)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mean", "constant, power"),
        ("power:decay=0.9", "decay"),
        ("power:length=0", "cannot be over 0"),
        ("power:length=0.29", "cannot be over 0.29"),
        ("constant:decay=1", "cannot decay by 1"),
        ("constant:decay=-0.1", "cannot decay by -0.1"),
    ],
)
def test_averages_that_cannot_be_are_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        average_for(name)
