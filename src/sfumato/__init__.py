"""sfumato: train, sample and explain Gaussian diffusion models on your own images.

    import sfumato as sf

    model = sf.load("runs/digits")
    images = sf.sample(model, count=64, labels="7", steps=250)
    sf.save_grid(images, "sevens.png")

Names are imported when they are first used, so that `import sfumato` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sfumato import errors, grids, guidance, oracle
    from sfumato.data import ImageSet, load_images
    from sfumato.denoiser import Denoiser
    from sfumato.errors import SfumatoError
    from sfumato.gaussian import Gaussian
    from sfumato.models import load
    from sfumato.pictures import save_grid
    from sfumato.presets import preset_for
    from sfumato.sampling import sample, trajectory
    from sfumato.schedule import LinearBeta
    from sfumato.solvers import Ancestral
    from sfumato.trainer import train
    from sfumato.training.config import TrainConfig

__version__ = "0.1.0"

_HOMES = {
    "Ancestral": "solvers",
    "Denoiser": "denoiser",
    "Gaussian": "gaussian",
    "ImageSet": "data",
    "LinearBeta": "schedule",
    "SfumatoError": "errors",
    "TrainConfig": "training.config",
    "load": "models",
    "load_images": "data",
    "preset_for": "presets",
    "sample": "sampling",
    "save_grid": "pictures",
    "train": "trainer",
    "trajectory": "sampling",
}
_MODULES = ("errors", "grids", "guidance", "oracle")

__all__ = [
    "Ancestral",
    "Denoiser",
    "Gaussian",
    "ImageSet",
    "LinearBeta",
    "SfumatoError",
    "TrainConfig",
    "errors",
    "grids",
    "guidance",
    "load",
    "load_images",
    "oracle",
    "preset_for",
    "sample",
    "save_grid",
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
