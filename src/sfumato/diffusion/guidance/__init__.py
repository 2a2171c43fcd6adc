"""Guidance and other wrappers of denoisers: each wraps a denoiser and is a denoiser, so that they can be combined."""

from sfumato.diffusion.guidance.autoguidance import AutoGuided, default_autoguidance_scale
from sfumato.diffusion.guidance.base import Estimates, Extrapolated, Labelled, Observed, Wrapper
from sfumato.diffusion.guidance.classifier_free import ClassifierFree
from sfumato.diffusion.guidance.clipping import CLIPS, Clip, Clipped, DynamicThreshold
from sfumato.diffusion.guidance.interval import WithinLevels

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
    "default_autoguidance_scale",
]
