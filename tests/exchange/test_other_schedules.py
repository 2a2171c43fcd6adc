"""Export of models with noise schedules and parametrizations from outside the package to folders of diffusers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest
import torch

from sfumato.diffusion.denoiser import PARAMETRIZATIONS, predict_data, predict_velocity
from sfumato.diffusion.schedules import (
    SCHEDULES,
    BetaSchedule,
    Flow,
    LinearBeta,
    ScaledLinearBeta,
    Schedule,
    Shifted,
    VarianceExploding,
)
from sfumato.diffusion.schedules.discrete import Betas
from sfumato.errors import ConfigError
from sfumato.exchange.schedulers import own_scheduler, stock_scheduler
from sfumato.exchange.to_diffusers import write_diffusers
from sfumato.utils.shapes import Times

from .conftest import build, unet

STOCK = unet(128, multipliers=(1,), attention_levels=())


class OtherFlow(Flow):
    """Flow with half the log-SNR."""

    def logsnr(self, t: Times) -> Times:
        """Another one."""
        return 0.5 * super().logsnr(t)


class OtherAmplitudes(VarianceExploding):
    """EDM with half the noise."""

    def sigma(self, t: Times) -> Times:
        """Another one."""
        return super().sigma(t) / 2


class OtherLevels(LinearBeta):
    """Betas that are not those of its log-SNR."""

    def logsnr(self, t: Times) -> Times:
        """Another one."""
        return super().logsnr(t) - 1


class OtherTime(LinearBeta):
    """A network with another time input."""

    def network_time(self, t: Times) -> Times:
        """Another one."""
        return t


class Straight(Schedule):
    """Log-SNR that is linear in t."""

    def logsnr(self, t: Times) -> Times:
        """Another one."""
        return 8 - 16 * t


SCHEDULES_FROM_OUTSIDE = [
    *(OtherFlow(), OtherAmplitudes(), OtherLevels(), OtherTime(), Straight()),
    *(Shifted(OtherFlow(), 2.0), Shifted(OtherTime(), 2.0), Shifted(Straight(), 2.0)),
]


@pytest.mark.parametrize("schedule", SCHEDULES_FROM_OUTSIDE)
@pytest.mark.parametrize("network", [unet(), STOCK], ids=["own", "stock"])
def test_a_schedule_with_other_numbers_is_not_exported(
    network: object, schedule: Schedule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SCHEDULES, "mine", schedule)
    model = build(network, "mine", "velocity")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"'mine' is not part of sfumato, .* Export with --to onnx or --to web"):
        write_diffusers(model, None, tmp_path)
    assert not list(tmp_path.iterdir())


@dataclass(frozen=True)
class OtherBetas(LinearBeta):
    """Betas that increase with the square of the timestep."""

    @cached_property
    def betas(self) -> Betas:
        """Other ones."""
        return torch.linspace(0.01, 0.2, self.timesteps, dtype=torch.float64) ** 2


class SameBetas(ScaledLinearBeta):
    """A subclass without changes."""


@pytest.mark.parametrize("schedule", [OtherBetas(), SameBetas()])
@pytest.mark.parametrize("zero_terminal_snr", [False, True])
def test_betas_from_outside_are_exported(
    schedule: BetaSchedule, zero_terminal_snr: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffusers import DDPMScheduler

    monkeypatch.setitem(SCHEDULES, "mine", schedule)
    model = build(STOCK, "mine", "velocity", zero_terminal_snr=zero_terminal_snr)
    assert own_scheduler(model)["betas"] == model.schedule.betas.tolist()  # type: ignore[attr-defined]
    config = stock_scheduler(model)
    assert config is not None
    expected = model.schedule.alpha_bar[1:].float()  # type: ignore[attr-defined]
    torch.testing.assert_close(DDPMScheduler.from_config(config).alphas_cumprod, expected, atol=1e-6, rtol=1e-3)


def test_a_schedule_that_is_shifted_twice_has_both_shifts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SCHEDULES, "mine", Shifted(Flow(), 2.0))
    assert own_scheduler(build(unet(), "mine", "flow", shift=3.0))["shift"] == 6


@pytest.mark.parametrize("name", ["mine", "velocity"])
def test_a_parametrization_from_outside_is_not_exported(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if it has the name of one of sfumato."""
    monkeypatch.setitem(PARAMETRIZATIONS, name, predict_data if name == "velocity" else predict_velocity)
    with pytest.raises(ConfigError, match=f"the parametrization '{name}' is not part of sfumato"):
        write_diffusers(build(unet(), "linear", name), None, tmp_path)
    assert not list(tmp_path.iterdir())
