"""From a run, or a folder of anybody's samples, to facts and pictures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from sfumato.data import ImageSet, read_images
from sfumato.data.dataset import first
from sfumato.data.sources import DEFAULT_OPTIONS, ChannelChoice, ReadOptions, mode_title
from sfumato.diffusion.denoiser import Denoiser, PreconditionedDenoiser
from sfumato.diffusion.guidance import Extrapolated
from sfumato.errors import ConfigError, DataError
from sfumato.evaluation.drawing import drawn
from sfumato.evaluation.evaluate import (
    MEASURES,
    Begin,
    EvalContext,
    check_metrics,
    default_metrics,
    memorization,
    no_progress,
    plain_images,
    save_sheet,
)
from sfumato.evaluation.ranges import read_as
from sfumato.evaluation.report import warning_of
from sfumato.evaluation.subject import Subject, reference, some_of, subject_of_images
from sfumato.likelihood import flow_likelihood
from sfumato.metrics.class_shares import classes_as_in
from sfumato.sampling.sampler import SamplerConfig
from sfumato.training.runs import configured_images, read_record, run_containing
from sfumato.utils import pictures
from sfumato.utils.depth import Depth
from sfumato.utils.files import cannot_write, tensors_digest

EVALUATIONS = "evaluations"
RECORD = "evaluations.jsonl"

MOST_MEASURED = 128
"""Held-out images whose likelihood is measured, which takes hundreds of evaluations each."""

SHOWN = 64

CHANNELS: dict[int, ChannelChoice] = {1: "grey", 3: "rgb"}


@dataclass(frozen=True)
class Drawing:
    """How samples of a run are drawn.

    Attributes:
        base: the model itself.
        model: the same, guided.
        sampler: from noise to images.
        count: how many.
        seed: image i is a function of (seed, i).
        settings: all that the samples depend on beside the model, for the name of their folder.
    """

    base: PreconditionedDenoiser
    model: Denoiser
    sampler: SamplerConfig
    count: int
    seed: int
    settings: Sequence[object]


def subject_of_model(
    path: Path,
    data: str | None,
    drawing: Drawing,
    options: ReadOptions,
    out: Path,
    cache: Path | None,
    batch: int | None,
    on_step: Callable[[int], None],
) -> Subject:
    """The samples of a model beside real images: those of its run, or others if it is far from it.

    Args:
        path: the run directory, its `model` or `best`, or a copy of either elsewhere.
        data: the images, if they have moved; None: where they were. Of a copy, any images.
        drawing: how samples are drawn.
        options: of a copy, how the images are read; those of a run are read as it was trained.
        out: the folder of evaluations, in which samples have folders of their own.
        cache: where decoded images are kept.
        batch: samples drawn at a time, at most; None: what suits the device.
        on_step: told after every step how many images took it.

    Raises:
        ConfigError: of a copy, no images were named; of a run, options were given; a count below 2.
        DataError: the images are not there, or are not those of the run.
    """
    if drawing.count < 2:
        raise ConfigError(f"{drawing.count} samples of {path} were asked", "Ask for at least 2.")
    home = run_containing(path)
    train, held_out, notices = _beside(path, home, data, drawing.base, options, cache)
    labels = classes_as_in(train, drawing.count) if drawing.model.label_names == train.label_names else None
    samples = drawn(
        drawing.model,
        drawing.base.depth,
        drawing.count,
        drawing.sampler,
        out / _key(drawing, train.fingerprint() if labels else ""),
        labels=labels,
        seed=drawing.seed,
        batch=batch,
        on_step=on_step,
    )
    return Subject(str(path), samples, train, held_out, notices)


def _beside(
    path: Path,
    home: Path | None,
    data: str | None,
    model: PreconditionedDenoiser,
    options: ReadOptions,
    cache: Path | None,
) -> tuple[ImageSet, ImageSet, tuple[str, ...]]:
    """The images that a model learned from, those that it did not, and what a person should know of them."""
    if home is None:
        if data is None:
            raise ConfigError(f"{path} is a model without its run", "Name real images to judge it by: RUN DATA.")
        real, notices = _like(data, model.image_shape, model.depth, options, cache)
        real, in_range = read_as(model.depth, real, data)
        train, held_out, splits = reference(real)
        return train, held_out, (*notices, *in_range, *splits)
    if options != DEFAULT_OPTIONS:
        raise ConfigError(
            f"flags on how images are read were given, but {home} says how its images are read",
            "Leave them out, or judge samples by other images: sfumato sample RUN --out drawn, then sfumato eval drawn "
            "DATA.",
        )
    record = read_record(home)
    config = record.config
    images = configured_images(replace(config, source=data or config.source), cache)
    if images.fingerprint() != record.learned.fingerprint:
        raise DataError(
            f"{data or config.source} does not hold the images that {home} learned from",
            "Name the same images, or judge samples by others: sfumato sample RUN --out drawn, then sfumato eval drawn "
            "DATA.",
        )
    return reference(images, config.data.validation_share, config.optimization.seed)


def subject_of_files(
    samples: str, data: str, count: int | None, options: ReadOptions, cache: Path | None, labels: bool = True
) -> Subject:
    """Samples in files, beside real images, which are brought to their size and channels.

    Args:
        samples: a folder, archive or `.npz`.
        data: as for `load_images`.
        count: how many samples are judged, taken at random, the same ones each time; None: all.
        options: how both are read; without a size, real images are brought to the size of the samples.
        cache: where decoded images are kept.
        labels: whether classes are read.

    Raises:
        ConfigError: a count below 2.
        DataError: they cannot be read, or compared.
    """
    if count is not None and count < 2:
        raise ConfigError(f"{count} of the images of {samples} were asked", "Ask for at least 2.")
    drawn_by_others = read_images(samples, replace(options, split="none", range=None), labels, cache=cache)
    if count is not None:
        drawn_by_others = drawn_by_others.select(some_of(len(drawn_by_others), count))
    real, notices = _like(data, drawn_by_others.image_shape, drawn_by_others.depth, options, cache, labels)
    return subject_of_images(samples, drawn_by_others, real, notices)


def _like(
    data: str,
    shape: tuple[int, int, int],
    depth: Depth,
    options: ReadOptions,
    cache: Path | None,
    labels: bool = True,
) -> tuple[ImageSet, tuple[str, ...]]:
    """Real images, brought to a shape, and what a person should know of them."""
    channels, height, width = shape
    kind: ChannelChoice = "rgba" if depth.opacity else CHANNELS.get(channels, "bands")
    real = read_images(data, replace(options, size=(width, height), channels=kind), labels, cache=cache)
    title = mode_title(channels, depth.opacity)
    brought = f"The images of {data} are compared as the samples are: {width}x{height} pixels, {title}."
    return real, (*map(str, real.notices), brought)


def _key(drawing: Drawing, classes: str) -> str:
    """What the samples depend on, as a name; what was left open counts as it turned out.

    Args:
        drawing: how they are drawn.
        classes: of what images the samples have theirs, if they have any.
    """
    sampler = [str(drawing.sampler.solver), drawing.sampler.timesteps.tolist()]
    parts = [part for part in drawing.model.modules() if isinstance(part, Extrapolated)]
    guidance = [[type(part).__name__, part.scale] for part in parts]
    weights = tensors_digest("", drawing.model.state_dict())  # its guide's included
    text = json.dumps([weights, drawing.seed, *map(str, drawing.settings), sampler, guidance, classes])
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def evaluate_subject(
    bench: EvalContext, metrics: Sequence[str], model: PreconditionedDenoiser | None, out: Path
) -> dict[str, Any]:
    """Measures what is asked, writes pictures to `out` and a line to its `evaluations.jsonl`.

    Args:
        bench: the subject and how to look at it.
        metrics: names in `METRICS`; none: the usual ones.
        model: that made the samples, for its likelihood; None if it is not known.
        out: a folder; made if need be.

    Returns:
        The facts, ready for JSON, with the pictures' paths.

    Raises:
        ConfigError: an unknown metric, or one that these images do not allow.
        DataError: features cannot be compared, or drift was asked and there is but one sample.
        RunError: something could not be written.
    """
    check_metrics(metrics, bench.features, model is not None)
    subject = bench.subject
    found: dict[str, Any] = {}
    written = [pictures.save_grid(first(subject.samples, SHOWN).viewable(), out / "samples.png")]
    for name in metrics or default_metrics(subject, bench.features):
        if name == "memorization":
            found[name], by_pixels = memorization(bench)
            if by_pixels is not None:
                written.append(save_sheet(subject, by_pixels, out / "closest.png"))
        elif name == "likelihood" and model is not None:
            found[name] = likelihood(model, subject.held_out, bench.begin)
        else:
            found[name] = MEASURES[name](bench)
    facts = {
        "subject": subject.name,
        "notices": [*subject.notices, *plain_images(subject.samples)],
        "samples": len(subject.samples),
        "train": len(subject.train),
        "held_out": len(subject.held_out),
        "features": bench.features.name,
        "warning": warning_of(len(subject.samples), found),
        "metrics": found,
        "pictures": [str(path) for path in written],
    }
    _record(facts, out)
    return facts


def likelihood(model: PreconditionedDenoiser, held_out: ImageSet, begin: Begin = no_progress) -> dict[str, Any]:
    """Bits per dimension of held-out images under the model's flow, with the standard error of their mean."""
    images = first(held_out, MOST_MEASURED)
    device = next(model.parameters()).device
    labels = None if images.labels is None or not model.is_conditional else images.labels.to(device)
    on_batch = begin("likelihood", len(images))
    bits = flow_likelihood(model, images.floats().to(device), labels=labels, on_batch=on_batch)
    error = bits.std().item() / len(bits) ** 0.5 if len(bits) > 1 else float("inf")
    return {"bits": bits.mean().item(), "error": error, "images": len(bits)}


def _record(facts: dict[str, Any], out: Path) -> None:
    line = json.dumps({"time": f"{datetime.now():%Y-%m-%d %H:%M:%S}"} | facts, ensure_ascii=False)
    try:
        with (out / RECORD).open("a", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError as error:
        raise cannot_write(out / RECORD, error) from error


def default_count(device: torch.device) -> int:
    """How many samples are drawn if nothing is said."""
    return 10_000 if device.type == "cuda" else 1_000
