"""Resumes a command whose images are unfinished."""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import fields
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

from sfumato.errors import DataError

if TYPE_CHECKING:
    from sfumato.cli.interpolate import Interpolate
    from sfumato.cli.sample import Sample
    from sfumato.diffusion.denoiser import Denoiser, PreconditionedDenoiser
    from sfumato.sampling.output import Unfinished
    from sfumato.sampling.sampler import Conditions
    from sfumato.utils.shapes import Images, Labels


def fingerprint(verb: "Sample | Interpolate", model: "Denoiser") -> dict[str, str]:
    """The settings and weights that determine the images of a command."""
    from sfumato.utils.files import tensors_digest

    ignored = {"out", "batch", "device"}
    settings = {field.name: str(getattr(verb, field.name)) for field in fields(verb) if field.name not in ignored}
    weights = tensors_digest("", model.state_dict())
    return settings | {"run_directory": str(verb.run_directory.resolve()), "weights of the model": weights}


def seed_and_files(verb: "Sample | Interpolate", settings: dict[str, str]) -> "Unfinished":
    """The seed of a command and the existing images: those of the unfinished folder, if --out is one.

    Args:
        verb: the command.
        settings: its fingerprint.

    Raises:
        SamplingError: the folder is unfinished with other settings.
    """
    from sfumato.sampling.output import Unfinished, unfinished_samples

    existing = None if verb.out is None else unfinished_samples(verb.out, settings)
    return existing or Unfinished(secrets.randbelow(10**9) if verb.seed is None else verb.seed, ())


def readable_files(files: Sequence[Path], model: "PreconditionedDenoiser") -> list[Path]:
    """The files before the first unreadable one, which a power failure may have truncated."""
    from sfumato.data import load_files

    def is_readable(file: Path) -> bool:
        try:
            load_files([file], model.image_shape, model.depth)
        except DataError:
            return False
        return True

    return list(takewhile(is_readable, files))


def read_back(
    files: Sequence[Path], model: "PreconditionedDenoiser", conditions: "Conditions"
) -> "Iterator[tuple[Images, Labels | None]]":
    """Yields the existing images as batches (images, labels), as `generate` does."""
    from sfumato.data import load_files
    from sfumato.sampling.sampler import resolve_labels

    labels = resolve_labels(model, conditions, len(files)) if files else None
    for start in range(0, len(files), 64):
        part = slice(start, start + 64)
        yield load_files(files[part], model.image_shape, model.depth), None if labels is None else labels[part]
