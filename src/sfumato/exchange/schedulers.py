"""Configurations of schedulers of diffusers as our noise schedules and parametrizations, and the reverse."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sfumato.diffusion.denoiser import (
    DATA_DEVIATION,
    Parametrization,
    predict_data,
    predict_edm,
    predict_flow,
    predict_noise,
    predict_velocity,
)
from sfumato.diffusion.schedules import (
    SCHEDULES,
    BetaSchedule,
    Cosine,
    Flow,
    LinearBeta,
    ScaledLinearBeta,
    Schedule,
    Shifted,
    VarianceExploding,
    ZeroTerminal,
)
from sfumato.errors import ConfigError, RunError
from sfumato.exchange.layout import BETA_SCHEDULES, PREDICTIONS
from sfumato.models import Model, checked_schedule
from sfumato.utils.files import validated

DISCRETE = {
    *("DDPMScheduler", "DDPMParallelScheduler", "DDIMScheduler", "DDIMParallelScheduler", "DDIMInverseScheduler"),
    *("PNDMScheduler", "DEISMultistepScheduler", "UniPCMultistepScheduler"),
    *("DPMSolverMultistepScheduler", "DPMSolverMultistepInverseScheduler", "DPMSolverSinglestepScheduler"),
    *("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler", "LMSDiscreteScheduler"),
    *("KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "DPMSolverSDEScheduler"),
}
"""Schedulers of networks that were trained with the timesteps of DDPM; they differ in the sampler only."""

LATENT = {"HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "DPMSolverSDEScheduler"}
"""Schedulers whose defaults are the betas of latent diffusion."""

EDM = {"EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"}
FLOW = {"FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler", "FlowMatchLCMScheduler"}

OUR_PARAMETRIZATIONS = {prediction: name for name, prediction in PREDICTIONS.items()}
OUR_SCHEDULES = {beta_schedule: name for name, beta_schedule in BETA_SCHEDULES.items()}

FORMULAS: dict[str, Parametrization] = {
    "noise": predict_noise,
    "data": predict_data,
    "velocity": predict_velocity,
    "flow": predict_flow,
    "edm": predict_edm,
}
"""Parametrizations that `SfumatoSchedule` computes, by name."""


@dataclass(frozen=True)
class Noise:
    """Noise levels and prediction of a network.

    Attributes:
        schedule: noise schedule, a name with settings.
        zero_terminal_snr: whether the schedule is rescaled to zero SNR at the last timestep.
        parametrization: prediction of the network.
        time_scale: factor of the time input of the network, 1 for the time input of our networks.
    """

    schedule: str
    zero_terminal_snr: bool
    parametrization: str
    time_scale: float = 1.0

    def built_schedule(self) -> Schedule:
        """Builds the noise schedule.

        Raises:
            ConfigError: an invalid schedule, or one that cannot be combined with the parametrization.
        """
        return checked_schedule(self.schedule, self.zero_terminal_snr, 1.0, self.parametrization)


@dataclass(frozen=True)
class SchedulerSettings:
    """Settings of a scheduler that the network was trained with; the defaults are those of diffusers."""

    num_train_timesteps: int = 1000
    beta_schedule: str = "linear"
    beta_start: float = 0.0001
    beta_end: float = 0.02
    trained_betas: tuple[float, ...] | None = None
    rescale_betas_zero_snr: bool = False
    use_flow_sigmas: bool = False
    invert_sigmas: bool = False
    timestep_type: str = "discrete"
    clip_sample: bool = True
    clip_sample_range: float = 1.0
    thresholding: bool = False
    prediction_type: str = "epsilon"
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    sigma_data: float = 0.5
    rho: float = 7.0

    def __post_init__(self) -> None:
        if self.num_train_timesteps < 1:
            raise ConfigError(f"num_train_timesteps is {self.num_train_timesteps}", "Choose at least 1.")


USUAL = {"use_flow_sigmas": False, "invert_sigmas": False, "timestep_type": "discrete", "thresholding": False}
"""Settings that give other noise levels, time inputs or estimates if they have other values."""


def noise_of(config: Mapping[str, Any], file: Path, known: Sequence[str] = ()) -> Noise:
    """The noise levels and the prediction of the networks of a scheduler.

    Args:
        config: content of the file.
        file: file, for error messages.
        known: schedules, names with settings, whose betas the file may contain, besides `SCHEDULES`.

    Raises:
        RunError: a scheduler or a setting that is invalid or has no equivalent.
    """
    name = config.get("_class_name")
    if not (isinstance(name, str) and name in DISCRETE | EDM | FLOW):
        raise _unsupported(file, f"the scheduler {name}")
    defaults = {"beta_start": 0.00085, "beta_end": 0.012} if name in LATENT else {}
    given = {setting: value for setting, value in config.items() if value is not None}
    fields = validated(SchedulerSettings, defaults | given, file)
    for setting, usual in (USUAL | ({"clip_sample_range": 1.0} if fields.clip_sample else {})).items():
        if getattr(fields, setting) != usual:
            raise _unsupported(file, f"{setting} {getattr(fields, setting)!r}")
    if name in FLOW:
        return Noise("flow", False, "flow", fields.num_train_timesteps / 1000)
    predictions = OUR_PARAMETRIZATIONS if name in DISCRETE else {"epsilon": "edm"}
    if fields.prediction_type not in predictions:
        raise _unsupported(file, f"prediction_type {fields.prediction_type!r}")
    if name in EDM and fields.sigma_data != DATA_DEVIATION:
        raise _unsupported(file, f"sigma_data {fields.sigma_data}")
    schedule = _edm(fields) if name in EDM else _discrete(fields, file, known)
    noise = Noise(schedule, fields.rescale_betas_zero_snr, predictions[fields.prediction_type])
    try:
        noise.built_schedule()
    except ConfigError as error:
        raise RunError(f"{file} has an invalid value: {error.problem}", "Restore the file from a copy.") from error
    return noise


def _edm(fields: SchedulerSettings) -> str:
    """The noise schedule of an EDM scheduler."""
    return f"edm:sigma_min={fields.sigma_min},sigma_max={fields.sigma_max},rho={fields.rho}"


def _discrete(fields: SchedulerSettings, file: Path, known: Sequence[str]) -> str:
    """The noise schedule of a discrete scheduler."""
    timesteps = fields.num_train_timesteps
    if fields.trained_betas is not None:
        names = (*known, *(f"{name}:timesteps={timesteps}" for name in SCHEDULES))
        found = next((name for name in names if _has_betas(name, fields.trained_betas, timesteps)), None)
        if found is None:
            raise _unsupported(file, "trained_betas that are not those of a schedule of sfumato")
        return found
    if fields.beta_schedule not in OUR_SCHEDULES:
        raise _unsupported(file, f"beta_schedule {fields.beta_schedule!r}")
    name = f"{OUR_SCHEDULES[fields.beta_schedule]}:timesteps={timesteps}"
    if fields.beta_schedule == "squaredcos_cap_v2":
        return name
    scale = timesteps / 1000  # our betas are those of 1000 timesteps
    return f"{name},beta_start={scale * fields.beta_start!r},beta_end={scale * fields.beta_end!r}"


def _has_betas(name: str, betas: Sequence[float], timesteps: int) -> bool:
    """Whether a schedule has these betas, up to the precision of float32."""
    try:
        schedule = SCHEDULES.parse(name)
    except ConfigError:  # it has no timesteps, or needs more
        return False
    if not isinstance(schedule, BetaSchedule) or not schedule.timesteps == timesteps == len(betas):
        return False
    return torch.allclose(schedule.betas, torch.tensor(betas, dtype=torch.float64), rtol=1e-5, atol=0)


def _unsupported(file: Path, what: str) -> RunError:
    return RunError(
        f"{file} has {what}, which sfumato does not support",
        "Supported are DDPM, DDIM and others with the same timesteps, EDM and flow matching, with the usual settings.",
    )


def stock_scheduler(model: Model) -> dict[str, Any] | None:
    """Configuration of a `DDPMScheduler` with the schedule and parametrization of the model, or None."""
    schedule, prediction = model.schedule, PREDICTIONS.get(model.config.parametrization)
    if not isinstance(schedule, BetaSchedule) or prediction is None:
        return None
    base = schedule.base if type(schedule) is ZeroTerminal else schedule
    return {
        "_class_name": "DDPMScheduler",
        "num_train_timesteps": schedule.timesteps,
        **_betas(base),
        "rescale_betas_zero_snr": base is not schedule,
        "prediction_type": prediction,
        "variance_type": "fixed_small",
        "clip_sample": True,
        "clip_sample_range": 1.0,
        "timestep_spacing": "trailing",
    }


def _betas(schedule: BetaSchedule) -> dict[str, Any]:
    """Settings of a scheduler with the betas of a schedule."""
    names: dict[type[BetaSchedule], str] = {LinearBeta: "linear", ScaledLinearBeta: "scaled_linear"}
    name = names.get(type(schedule))  # a subclass may have other betas
    if name and isinstance(schedule, LinearBeta | ScaledLinearBeta):
        scale = 1000 / schedule.timesteps
        limits = {"beta_start": scale * schedule.beta_start, "beta_end": scale * schedule.beta_end}
        return {"beta_schedule": name, **limits}
    if schedule == Cosine(schedule.timesteps):
        return {"beta_schedule": "squaredcos_cap_v2"}
    return {"trained_betas": schedule.betas.tolist()}


def own_scheduler(model: Model) -> dict[str, Any]:
    """Settings of a `SfumatoSchedule` with the noise schedule and the parametrization of the model.

    Raises:
        ConfigError: a schedule or parametrization from outside the package, of which `SfumatoSchedule` would compute
            other numbers.
    """
    settings, standard = _standard(model.schedule)
    if standard is None or not torch.allclose(_noise_levels(model.schedule), _noise_levels(standard), rtol=1e-6):
        raise _not_ours(f"the schedule {model.config.schedule!r}")
    name, t = model.config.parametrization, _times(standard)
    found = torch.stack(model.parametrization(model.schedule, t))
    if name not in FORMULAS or not torch.allclose(found, torch.stack(FORMULAS[name](standard, t)), rtol=1e-6):
        raise _not_ours(f"the parametrization {name!r}")
    return settings | {"parametrization": name}


@dataclass(frozen=True)
class _Betas(BetaSchedule):
    """A schedule of given betas."""

    values: tuple[float, ...]

    @property
    def timesteps(self) -> int:  # type: ignore[override]  # a plain attribute in the base class
        return len(self.values)

    @cached_property
    def betas(self) -> Tensor:
        return torch.tensor(self.values, dtype=torch.float64)


def _standard(schedule: Schedule) -> tuple[dict[str, Any], Schedule | None]:
    """Settings of `SfumatoSchedule` for a schedule, and what it computes with them as one of our schedules."""
    match schedule:
        case Shifted():
            settings, base = _standard(schedule.base)
            factor = settings.get("shift", 1) * schedule.factor
            return settings | {"shift": factor}, base and Shifted(base, schedule.factor)
        case BetaSchedule():
            betas = schedule.betas.tolist()
            return {"kind": "betas", "betas": betas, "shift": 1.0}, _Betas(tuple(betas))
        case VarianceExploding():
            limits = {name: getattr(schedule, name) for name in ("sigma_min", "sigma_max", "rho")}
            return {"kind": "edm", **limits, "shift": 1.0}, VarianceExploding(**limits)
        case Flow():
            return {"kind": "flow", "shift": 1.0}, Flow()
    return {}, None


def _times(schedule: Schedule) -> Tensor:
    """Times from the earliest to 1, most of them between two timesteps."""
    return torch.linspace(schedule.earliest, 1, 101, dtype=torch.float64)


def _noise_levels(schedule: Schedule) -> Tensor:
    """All that networks and samplers use of a schedule, at `_times`."""
    t = _times(schedule)
    logsnr = schedule.logsnr(t)
    amplitudes = (schedule.alpha(t), schedule.sigma(t), *schedule.amplitudes(logsnr))
    return torch.stack([t, logsnr, *amplitudes, schedule.time_at(logsnr), schedule.network_time(t)])


def _not_ours(what: str) -> ConfigError:
    return ConfigError(
        f"{what} is not part of sfumato, and a folder of diffusers cannot contain it",
        "Export with --to onnx or --to web, or train with one of sfumato.",
    )
