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
    from sfumato import (
        conditions,
        errors,
        grids,
        guidance,
        latents,
        likelihood,
        metrics,
        objective,
        oracle,
        schedule,
        solvers,
    )
    from sfumato.acceleration import accelerated
    from sfumato.conversions import convert
    from sfumato.data import ImageSet, load_images
    from sfumato.denoiser import Denoiser, Rescheduled
    from sfumato.errors import SfumatoError
    from sfumato.gaussian import Gaussian
    from sfumato.inspection import inspect
    from sfumato.latents import decode, encode, interpolate
    from sfumato.models import load
    from sfumato.pictures import save_grid, show
    from sfumato.presets import config_for, preset_for
    from sfumato.sampling import ImageNoise, begin, route_for, route_of, sample, trajectory
    from sfumato.schedule import LinearBeta, Schedule
    from sfumato.solvers import Ancestral, Solver
    from sfumato.trainer import train
    from sfumato.training.config import TrainConfig

__version__ = "0.1.0"

_HOMES = {
    "Ancestral": "solvers",
    "Denoiser": "denoiser",
    "Gaussian": "gaussian",
    "ImageNoise": "sampling",
    "ImageSet": "data",
    "LinearBeta": "schedule",
    "Rescheduled": "denoiser",
    "Schedule": "schedule",
    "SfumatoError": "errors",
    "Solver": "solvers",
    "TrainConfig": "training.config",
    "accelerated": "acceleration",
    "begin": "sampling",
    "config_for": "presets",
    "convert": "conversions",
    "decode": "latents",
    "encode": "latents",
    "inspect": "inspection",
    "interpolate": "latents",
    "load": "models",
    "load_images": "data",
    "preset_for": "presets",
    "route_for": "sampling",
    "route_of": "sampling",
    "sample": "sampling",
    "save_grid": "pictures",
    "show": "pictures",
    "train": "trainer",
    "trajectory": "sampling",
}
_MODULES = (
    "conditions",
    "errors",
    "grids",
    "guidance",
    "latents",
    "likelihood",
    "metrics",
    "objective",
    "oracle",
    "schedule",
    "solvers",
)

__all__ = [
    "Ancestral",
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
    "begin",
    "conditions",
    "config_for",
    "convert",
    "decode",
    "encode",
    "errors",
    "grids",
    "guidance",
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
    "route_for",
    "route_of",
    "sample",
    "save_grid",
    "schedule",
    "show",
    "solvers",
    "train",
    "trajectory",
]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return import_module(f"sfumato.{name}")
    if name in _HOMES:
        return getattr(import_module(f"sfumato.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'sfumato' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
