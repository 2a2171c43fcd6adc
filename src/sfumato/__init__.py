"""sfumato: train, sample and explain Gaussian diffusion models on your own images.

    import sfumato as sf

    model = sf.load("runs/digits")
    images = sf.sample(model, count=64, labels="7")
    sf.save_grid(images, "sevens.png")

Names are imported when they are first used, so that `import sfumato` costs nothing.
"""

from importlib import import_module

TYPE_CHECKING = False  # as type checkers know it; `typing` takes half of the time in which Ctrl-C prints a traceback
if TYPE_CHECKING:
    from sfumato import errors, likelihood, metrics
    from sfumato.data import ImageSet, conditions, load_images
    from sfumato.diffusion import analytic as oracle
    from sfumato.diffusion import guidance
    from sfumato.diffusion import loss as objective
    from sfumato.diffusion import schedules as schedule
    from sfumato.diffusion.conversions import convert
    from sfumato.diffusion.denoiser import Denoiser, Rescheduled
    from sfumato.diffusion.gaussian import Gaussian
    from sfumato.diffusion.schedules import LinearBeta, Schedule
    from sfumato.errors import SfumatoError
    from sfumato.models import load
    from sfumato.reports.inspection import inspect
    from sfumato.sampling import inversion as latents
    from sfumato.sampling import solvers
    from sfumato.sampling import timesteps as grids
    from sfumato.sampling.acceleration import accelerated
    from sfumato.sampling.inversion import decode, encode, interpolate
    from sfumato.sampling.sampler import ImageNoise, default_sampler, initial_state, sample, sampler_config, trajectory
    from sfumato.sampling.solvers import DDPM, Solver
    from sfumato.training.config import TrainConfig
    from sfumato.training.loop import train
    from sfumato.training.presets import config_for, preset_for
    from sfumato.utils.pictures import save_grid, show

__version__ = "0.1.0"

_HOMES = {
    "DDPM": "sampling.solvers",
    "Denoiser": "diffusion.denoiser",
    "Gaussian": "diffusion.gaussian",
    "ImageNoise": "sampling.sampler",
    "ImageSet": "data",
    "LinearBeta": "diffusion.schedules",
    "Rescheduled": "diffusion.denoiser",
    "Schedule": "diffusion.schedules",
    "SfumatoError": "errors",
    "Solver": "sampling.solvers",
    "TrainConfig": "training.config",
    "accelerated": "sampling.acceleration",
    "initial_state": "sampling.sampler",
    "config_for": "training.presets",
    "convert": "diffusion.conversions",
    "decode": "sampling.inversion",
    "encode": "sampling.inversion",
    "inspect": "reports.inspection",
    "interpolate": "sampling.inversion",
    "load": "models",
    "load_images": "data",
    "preset_for": "training.presets",
    "sampler_config": "sampling.sampler",
    "default_sampler": "sampling.sampler",
    "sample": "sampling.sampler",
    "save_grid": "utils.pictures",
    "show": "utils.pictures",
    "train": "training.loop",
    "trajectory": "sampling.sampler",
}
_MODULES = {
    "conditions": "data.conditions",
    "errors": "errors",
    "grids": "sampling.timesteps",
    "guidance": "diffusion.guidance",
    "latents": "sampling.inversion",
    "likelihood": "likelihood",
    "metrics": "metrics",
    "objective": "diffusion.loss",
    "oracle": "diffusion.analytic",
    "schedule": "diffusion.schedules",
    "solvers": "sampling.solvers",
}

__all__ = [
    "DDPM",
    "Denoiser",
    "Gaussian",
    "ImageNoise",
    "ImageSet",
    "LinearBeta",
    "Rescheduled",
    "Schedule",
    "SfumatoError",
    "Solver",
    "TrainConfig",
    "accelerated",
    "conditions",
    "config_for",
    "convert",
    "decode",
    "default_sampler",
    "encode",
    "errors",
    "grids",
    "guidance",
    "initial_state",
    "inspect",
    "interpolate",
    "latents",
    "likelihood",
    "load",
    "load_images",
    "metrics",
    "objective",
    "oracle",
    "preset_for",
    "sample",
    "sampler_config",
    "save_grid",
    "schedule",
    "show",
    "solvers",
    "train",
    "trajectory",
]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return import_module(f"sfumato.{_MODULES[name]}")
    if name in _HOMES:
        return getattr(import_module(f"sfumato.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'sfumato' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
