"""sfumato: train, sample and explain Gaussian diffusion models on your own images.

    import sfumato as sf

    result = sf.train("photos/", "runs/photos", {"size": 64, "minutes": 30})
    model = sf.load("runs/photos")
    images = sf.sample(model, count=64)
    sf.save_grid(images, "photos.png")

Names are imported when they are first used, so that `import sfumato` costs nothing.
"""

from importlib import import_module

TYPE_CHECKING = False  # as type checkers know it; `typing` takes half of the time in which Ctrl-C prints a traceback
if TYPE_CHECKING:
    from sfumato import data, errors, evaluation, likelihood, metrics, models, networks
    from sfumato.data import ImageSet, load_images
    from sfumato.diffusion import analytic, guidance, losses, schedules, time_densities
    from sfumato.diffusion.denoiser import Denoiser
    from sfumato.errors import SfumatoError
    from sfumato.models import load, save
    from sfumato.reports.inspection import inspect
    from sfumato.sampling import sampler, solvers, timesteps
    from sfumato.sampling.acceleration import accelerated
    from sfumato.sampling.inversion import decode, encode, interpolate
    from sfumato.sampling.sampler import sample
    from sfumato.training.ema import EMA
    from sfumato.training.train import train
    from sfumato.utils.pictures import save_grid, show

__version__ = "0.1.0"

_HOMES = {
    "Denoiser": "diffusion.denoiser",
    "EMA": "training.ema",
    "ImageSet": "data",
    "SfumatoError": "errors",
    "accelerated": "sampling.acceleration",
    "decode": "sampling.inversion",
    "encode": "sampling.inversion",
    "inspect": "reports.inspection",
    "interpolate": "sampling.inversion",
    "load": "models",
    "load_images": "data",
    "sample": "sampling.sampler",
    "save": "models",
    "save_grid": "utils.pictures",
    "show": "utils.pictures",
    "train": "training.train",
}
_MODULES = {
    "analytic": "diffusion.analytic",
    "data": "data",
    "errors": "errors",
    "evaluation": "evaluation",
    "guidance": "diffusion.guidance",
    "likelihood": "likelihood",
    "losses": "diffusion.losses",
    "metrics": "metrics",
    "models": "models",
    "networks": "networks",
    "sampler": "sampling.sampler",
    "schedules": "diffusion.schedules",
    "solvers": "sampling.solvers",
    "time_densities": "diffusion.time_densities",
    "timesteps": "sampling.timesteps",
}

__all__ = [
    "EMA",
    "Denoiser",
    "ImageSet",
    "SfumatoError",
    "accelerated",
    "analytic",
    "data",
    "decode",
    "encode",
    "errors",
    "evaluation",
    "guidance",
    "inspect",
    "interpolate",
    "likelihood",
    "load",
    "load_images",
    "losses",
    "metrics",
    "models",
    "networks",
    "sample",
    "sampler",
    "save",
    "save_grid",
    "schedules",
    "show",
    "solvers",
    "time_densities",
    "timesteps",
    "train",
]


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return import_module(f"sfumato.{_MODULES[name]}")
    if name in _HOMES:
        return getattr(import_module(f"sfumato.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'sfumato' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
