"""Noise schedules: x_t = alpha(t) x_0 + sigma(t) noise, with t from 0 (clean) to 1 (noise)."""

from sfumato.diffusion.schedules.base import Schedule
from sfumato.diffusion.schedules.continuous import Custom, Flow, Shifted, VarianceExploding
from sfumato.diffusion.schedules.discrete import (
    BetaSchedule,
    Cosine,
    LinearBeta,
    ScaledLinearBeta,
    Sigmoid,
    ZeroTerminal,
)
from sfumato.errors import ConfigError
from sfumato.utils.registry import Registry

__all__ = [
    "SCHEDULES",
    "BetaSchedule",
    "Cosine",
    "Custom",
    "Flow",
    "LinearBeta",
    "ScaledLinearBeta",
    "Schedule",
    "Shifted",
    "Sigmoid",
    "VarianceExploding",
    "ZeroTerminal",
    "build_schedule",
]

SCHEDULES: Registry[Schedule] = Registry(
    "schedule",
    ConfigError,
    {
        "linear": LinearBeta(),
        "scaled-linear": ScaledLinearBeta(),
        "cosine": Cosine(),
        "sigmoid": Sigmoid(),
        "edm": VarianceExploding(),
        "flow": Flow(),
    },
)


def build_schedule(name: str, *, zero_terminal_snr: bool = False, shift: float = 1.0) -> Schedule:
    """Builds a noise schedule from a name in `SCHEDULES`, optionally with settings, zero terminal SNR and a shift.

    >>> build_schedule("cosine:timesteps=500", shift=2)
    Shifted(base=Cosine(timesteps=500, offset=0.008), factor=2)

    Args:
        name: name in `SCHEDULES`, optionally with settings.
        zero_terminal_snr: whether to rescale the schedule to zero SNR at the last timestep; for `BetaSchedule` only.
        shift: factor of `Shifted`; 1 is no shift.

    Raises:
        ConfigError: an unknown name or setting; zero terminal SNR for a schedule without timesteps; an invalid shift.
    """
    schedule = SCHEDULES.parse(name)
    if zero_terminal_snr:
        if not isinstance(schedule, BetaSchedule):
            discrete = [known for known, one in SCHEDULES.items() if isinstance(one, BetaSchedule)]
            raise ConfigError(
                f"the schedule {name!r} has no timesteps, which zero terminal SNR requires",
                f"Leave it out (flow has zero terminal SNR), or choose among: {', '.join(discrete)}.",
            )
        schedule = ZeroTerminal(schedule)
    return schedule if shift == 1 else Shifted(schedule, shift)
