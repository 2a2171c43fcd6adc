"""Ways to steer a denoiser. Each takes a Denoiser and is one, so they compose, and no sampler knows of them."""

from sfumato.diffusion.guidance.base import Labelled, Observed, Wrapper
from sfumato.diffusion.guidance.clipping import CLIPS, Clip, Clipped, DynamicThreshold, clip_for
from sfumato.diffusion.guidance.extrapolated import AutoGuided, ClassifierFree, Estimates, Extrapolated
from sfumato.diffusion.guidance.within import WithinLevels

__all__ = [
    "CLIPS",
    "AutoGuided",
    "ClassifierFree",
    "Clip",
    "Clipped",
    "DynamicThreshold",
    "Estimates",
    "Extrapolated",
    "Labelled",
    "Observed",
    "WithinLevels",
    "Wrapper",
    "clip_for",
]
