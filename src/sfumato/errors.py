"""Errors for problems that the user can solve.

An error has a problem (what was given and what was expected) and a remedy (what to do). The command line prints both
without a traceback and exits with code 2.
"""

from __future__ import annotations


class SfumatoError(Exception):
    """Base class of all errors: a problem that the caller can solve, and its remedy.

    >>> print(DataError("photos/ contains no images", "Choose another folder."))
    photos/ contains no images. Choose another folder.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}. {remedy}")
        self.problem = problem
        self.remedy = remedy


class ConfigError(SfumatoError):
    """An invalid setting, or an invalid combination of settings."""


class DataError(SfumatoError):
    """Images or labels that cannot be used."""


class TooFewImagesError(DataError):
    """Too few images for a metric; other metrics may still be computed."""


class LabelError(SfumatoError):
    """Labels that the model does not support."""


class SamplingError(SfumatoError):
    """Invalid settings of sampling or guidance."""


class RunError(SfumatoError):
    """A run directory, checkpoint or model file that is missing, broken, or of another kind or configuration."""


class OutOfMemoryError(SfumatoError):
    """The memory of the device is not sufficient."""


class DeviceError(SfumatoError):
    """The device failed and cannot be used by this process any longer."""


class TrainingError(SfumatoError):
    """Training cannot continue because values are not finite or the disk is full."""


class BadImageError(Exception):
    """An image that cannot be used; the message is the reason, as the end of a sentence."""
