"""Every error that a person can cause, in one tree.

An error says what was given and what was expected (the problem), and what to do about it (the remedy). The command
line prints both and exits with code 2; nothing below `SfumatoError` ever reaches a user as a traceback.
"""

from __future__ import annotations


class SfumatoError(Exception):
    """A problem that the caller can solve, with its remedy.

    >>> print(DataError("photos/ holds no images", "Name a folder that does."))
    photos/ holds no images. Name a folder that does.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"{problem}. {remedy}")
        self.problem = problem
        self.remedy = remedy


class ConfigError(SfumatoError):
    """A setting, or a combination of settings, that makes no sense."""


class DataError(SfumatoError):
    """Images or labels that cannot be learned from."""


class TooFewImagesError(DataError):
    """Fewer images than a measure needs; the others may still be taken."""


class LabelError(SfumatoError):
    """Labels that the model does not know, or cannot take."""


class SamplingError(SfumatoError):
    """A request for samples that cannot be met."""


class RunError(SfumatoError):
    """A run directory, checkpoint or model file that is missing, broken, foreign, or of another configuration."""


class OutOfMemoryError(SfumatoError):
    """More than the device's memory holds."""


class DeviceError(SfumatoError):
    """A device that failed; this process can use it no more."""


class TrainingError(SfumatoError):
    """Training that cannot go on: the numbers are no longer finite, or the disk is full."""
