"""Subject of an evaluation from a model: its samples, and the images of its run or others."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sfumato.data import ImageSet
from sfumato.data.sources import DEFAULT_OPTIONS, ReadOptions
from sfumato.diffusion.denoiser import Denoiser, PreconditionedDenoiser
from sfumato.diffusion.guidance import Extrapolated
from sfumato.errors import ConfigError, DataError
from sfumato.evaluation.from_files import read_real_images
from sfumato.evaluation.pixel_range import in_range_of
from sfumato.evaluation.samples import generate_to_disk
from sfumato.evaluation.subject import Subject, split_real_images
from sfumato.metrics.class_shares import classes_as_in
from sfumato.sampling.sampler import SamplerConfig
from sfumato.sampling.solvers import solver_name
from sfumato.training.run_directory import configured_images, read_record, run_containing
from sfumato.utils.files import tensors_digest

EVALUATIONS = "evaluations"
"""Folder of evaluations in a run directory."""

OTHER_IMAGES = "or evaluate samples against others: sfumato sample RUN --out drawn, then sfumato eval drawn DATA."


@dataclass(frozen=True)
class SamplePlan:
    """Samples to generate.

    Attributes:
        base: Model without guidance.
        model: The same model with guidance.
        seed: Random seed; image i is a function of (seed, i).
        settings: Other settings on which the samples depend, for the name of their folder.
    """

    base: PreconditionedDenoiser
    model: Denoiser
    sampler: SamplerConfig
    count: int
    seed: int
    settings: Sequence[object]

    def facts(self) -> dict[str, Any]:
        """Facts on the model and the sampling, for the JSON output."""
        return {
            "images_seen": getattr(self.base, "images_seen", None),
            "solver": solver_name(self.sampler.solver),
            "steps": len(self.sampler.timesteps) - 1,
            "guidance": self._guidance(),
        }

    def _guidance(self) -> list[list[Any]]:
        """Kind and scale of each guidance."""
        guided = [part for part in self.model.modules() if isinstance(part, Extrapolated)]
        return [[type(part).__name__, part.scale] for part in guided]

    def key(self, label_source: str) -> str:
        """Hash of everything that the samples depend on: the name of their folder.

        `label_source` is the fingerprint of the images whose class proportions the samples have; empty: no classes.
        """
        sampler = [str(self.sampler.solver), self.sampler.timesteps.tolist()]
        weights = tensors_digest("", self.model.state_dict())  # includes the guidance checkpoint
        text = json.dumps([weights, self.seed, *map(str, self.settings), sampler, self._guidance(), label_source])
        return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def subject_of_model(
    path: Path,
    data: str | None,
    plan: SamplePlan,
    options: ReadOptions,
    out: Path,
    cache: Path | None,
    batch: int | None,
    on_step: Callable[[int], None],
) -> Subject:
    """Generates samples of a model, and reads the real images to compare them with.

    The samples have the class proportions of the real images if both have the same classes. Otherwise they have no
    class, or all classes in turn if the model needs one.

    Args:
        path: Run directory, its `model` or `best`, a copy of either elsewhere, or a folder of diffusers.
        data: Source of the real images. Of a run, only needed if they were moved; required for a copy.
        plan: Samples to generate.
        options: Options for reading the images of a copy. The images of a run are read as in training.
        out: Folder of evaluations; the samples are kept in a subfolder.
        cache: Folder of decoded images; None: SFUMATO_CACHE, or the user's cache.
        batch: Maximum number of samples per batch; None: chosen for the device.
        on_step: Called after each step with the number of images that took it.

    Raises:
        ConfigError: No images were named for a copy, options were given for a run, or there are fewer than 2 samples.
        DataError: The images are missing, or are not those of the run.
    """
    if plan.count < 2:
        raise ConfigError(f"{plan.count} samples of {path} were requested", "Request at least 2.")
    home = run_containing(path)
    if home is None:
        train, held_out, notices = _images_for_copy(path, data, plan.base, options, cache)
    else:
        train, held_out, notices = _images_of_run(home, data, options, cache)
    has_same_classes = plan.model.label_names == train.label_names
    labels = classes_as_in(train, plan.count) if has_same_classes else []
    samples = generate_to_disk(
        plan.model,
        plan.base.depth,
        plan.count,
        plan.sampler,
        out / plan.key(train.fingerprint() if labels else ""),
        labels=labels or (plan.model.label_names if plan.base.needs_labels else None),  # all classes in turn
        seed=plan.seed,
        batch=batch,
        on_step=on_step,
    )
    return Subject(str(path), samples, train, held_out, notices, plan.facts())


def _images_for_copy(
    path: Path, data: str | None, model: PreconditionedDenoiser, options: ReadOptions, cache: Path | None
) -> tuple[ImageSet, ImageSet, tuple[str, ...]]:
    """Training images, held-out images and notices for a model outside its run directory."""
    if data is None:
        raise ConfigError(f"{path} is a model without its run", "Name real images to compare it with: RUN DATA.")
    real, notices = read_real_images(data, model.image_shape, model.depth, options, cache)
    real, clipped = in_range_of(model.depth, real, data)
    train, held_out, splits = split_real_images(real)
    return train, held_out, (*notices, *clipped, *splits)


def _images_of_run(
    home: Path, data: str | None, options: ReadOptions, cache: Path | None
) -> tuple[ImageSet, ImageSet, tuple[str, ...]]:
    """Training images, held-out images and notices of a run."""
    if options != DEFAULT_OPTIONS:
        raise ConfigError(
            f"options for reading images were given, but {home} defines how its images are read",
            f"Leave them out, {OTHER_IMAGES}",
        )
    record = read_record(home)
    config = record.config
    images = configured_images(replace(config, source=data or config.source), cache)
    if images.fingerprint() != record.learned.fingerprint:
        raise DataError(
            f"{data or config.source} does not hold the images that {home} was trained on",
            f"Name the same images, {OTHER_IMAGES}",
        )
    return split_real_images(images, config.data.validation_share, config.optimization.seed)
