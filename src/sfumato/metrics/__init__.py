"""Metrics of generated images.

Frechet distance (FID), kernel distance (KID), precision, recall, density, coverage, drift and memorization, computed
on features of images.
"""

from sfumato.metrics.features import Features, NetworkOutput, features_for, register_features
from sfumato.metrics.frechet import FrechetInterval, FrechetLimit, frechet_distance, frechet_interval, frechet_limit
from sfumato.metrics.kid import KernelDistance, kernel_distance
from sfumato.metrics.moments import Moments, moments_of
from sfumato.metrics.neighbours import Neighbours, nearest
from sfumato.metrics.prdc import DensityCoverage, PrecisionRecall, density_coverage, precision_recall
from sfumato.metrics.reference import features_of, reference_moments

__all__ = [
    "DensityCoverage",
    "Features",
    "FrechetInterval",
    "FrechetLimit",
    "KernelDistance",
    "Moments",
    "Neighbours",
    "NetworkOutput",
    "PrecisionRecall",
    "density_coverage",
    "features_for",
    "features_of",
    "frechet_distance",
    "frechet_interval",
    "frechet_limit",
    "kernel_distance",
    "moments_of",
    "nearest",
    "precision_recall",
    "reference_moments",
    "register_features",
]
