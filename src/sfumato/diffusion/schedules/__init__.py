"""How signal turns into noise: x_t = alpha(t) x_0 + sigma(t) noise, t from 0 (clean) to 1 (noise)."""

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
from sfumato.utils.registry import parse_part

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
    "schedule_for",
]

SCHEDULES: dict[str, Schedule] = {
    "linear": LinearBeta(),
    "scaled-linear": ScaledLinearBeta(),
    "cosine": Cosine(),
    "sigmoid": Sigmoid(),
    "edm": VarianceExploding(),
    "flow": Flow(),
}


def schedule_for(name: str, *, zero_terminal_snr: bool = False, shift: float = 1.0) -> Schedule:
    """The schedule of a name in `SCHEDULES`, possibly with settings, ended without signal, or shifted.

    >>> schedule_for("cosine:timesteps=500", shift=2)
    Shifted(base=Cosine(timesteps=500, offset=0.008), factor=2)

    Raises:
        ConfigError: an unknown name or setting; zero terminal SNR for a schedule without steps; an impossible shift.
    """
    schedule = parse_part(SCHEDULES, name, "schedule", ConfigError)
    if zero_terminal_snr:
        if not isinstance(schedule, BetaSchedule):
            discrete = [known for known, one in SCHEDULES.items() if isinstance(one, BetaSchedule)]
            raise ConfigError(
                f"zero terminal SNR was asked of the schedule {name!r}, which is not made of steps",
                f"Leave it out (flow ends without signal anyway), or choose among: {', '.join(discrete)}.",
            )
        schedule = ZeroTerminal(schedule)
    return schedule if shift == 1 else Shifted(schedule, shift)
