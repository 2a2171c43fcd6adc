"""Solvers: step rules from x_t to x_s, s < t. A new solver is a class and an entry in `SOLVERS`."""

from sfumato.errors import SamplingError
from sfumato.sampling.solvers.adaptive import Adaptive
from sfumato.sampling.solvers.base import NoiseSource, Solver, SolverState, Step
from sfumato.sampling.solvers.multistep import DEIS, IPNDM, DPMSolver
from sfumato.sampling.solvers.single import DDIM, DDPM, Euler, Heun
from sfumato.sampling.solvers.unipc import UniPC
from sfumato.utils.registry import Registry

__all__ = [
    "DDIM",
    "DDPM",
    "DEIS",
    "IPNDM",
    "SOLVERS",
    "Adaptive",
    "DPMSolver",
    "Euler",
    "Heun",
    "NoiseSource",
    "Solver",
    "SolverState",
    "Step",
    "UniPC",
]

SOLVERS: Registry[Solver] = Registry(
    "solver",
    SamplingError,
    {
        "ddpm": DDPM(),
        "ddim": DDIM(),
        "euler": Euler(),
        "heun": Heun(),
        "dpm-1": DPMSolver(order=1),
        "dpm-2m": DPMSolver(order=2),
        "dpm-3m": DPMSolver(order=3),
        "dpm-1-sde": DPMSolver(order=1, eta=1.0),
        "dpm-2m-sde": DPMSolver(order=2, eta=1.0),
        "dpm-3m-sde": DPMSolver(order=3, eta=1.0),
        "unipc-2": UniPC(order=2),
        "unipc-3": UniPC(order=3),
        **{f"deis-{order}": DEIS(order) for order in (1, 2, 3, 4)},
        **{f"ipndm-{order}": IPNDM(order) for order in (1, 2, 3, 4)},
        "adaptive": Adaptive(),
    },
)


def check_deterministic(solver: Solver) -> None:
    """Raises `SamplingError` unless the solver is deterministic; lists those that are."""
    if not solver.deterministic:
        known = [name for name, one in SOLVERS.items() if one.deterministic]
        raise SamplingError(
            f"{solver} is stochastic, but a deterministic solver is required",
            f"Choose among: {', '.join(known)}.",
        )


def solver_name(solver: Solver) -> str:
    """The name of a solver in `SOLVERS`; that of its class with its settings if it has none."""
    return next((name for name, one in SOLVERS.items() if one == solver), str(solver))
