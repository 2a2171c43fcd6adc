"""sfumato: train, sample and explain Gaussian diffusion models on your own images.

    import sfumato as sf

    result = sf.train("photos/", "runs/photos", {"size": 64, "minutes": 30})
    model = sf.load("runs/photos")
    images = sf.sample(model, count=64)
    sf.save_grid(images, "photos.png")

Names are imported at their first use, so that `import sfumato` is fast.
"""

from importlib import import_module

TYPE_CHECKING = False  # as type checkers know it; `typing` takes half of the time in which Ctrl-C prints a traceback
if TYPE_CHECKING:
    from sfumato import data, likelihood, metrics, networks
    from sfumato.data import ImageSet, load_images
    from sfumato.diffusion import analytic, guidance, losses, schedules, time_densities
    from sfumato.diffusion.denoiser import Denoiser
    from sfumato.errors import SfumatoError
    from sfumato.exchange.export import export
    from sfumato.exchange.load import load
    from sfumato.models import save
    from sfumato.sampling import solvers
    from sfumato.sampling.acceleration import accelerated
    from sfumato.sampling.inversion import decode, encode, interpolate
    from sfumato.sampling.sampler import sample
    from sfumato.sharing.push import push
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
    "export": "exchange.export",
    "interpolate": "sampling.inversion",
    "load": "exchange.load",
    "load_images": "data",
    "push": "sharing.push",
    "sample": "sampling.sampler",
    "save": "models",
    "save_grid": "utils.pictures",
    "show": "utils.pictures",
    "train": "training.train",
}
_MODULES = {
    "analytic": "diffusion.analytic",
    "data": "data",
    "guidance": "diffusion.guidance",
    "likelihood": "likelihood",
    "losses": "diffusion.losses",
    "metrics": "metrics",
    "networks": "networks",
    "schedules": "diffusion.schedules",
    "solvers": "sampling.solvers",
    "time_densities": "diffusion.time_densities",
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
    "export",
    "guidance",
    "interpolate",
    "likelihood",
    "load",
    "load_images",
    "losses",
    "metrics",
    "networks",
    "push",
    "sample",
    "save",
    "save_grid",
    "schedules",
    "show",
    "solvers",
    "time_densities",
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
