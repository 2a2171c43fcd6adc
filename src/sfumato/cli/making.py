"""The verbs that make something: a model, images, the images between images. Heavy imports wait until one runs."""

import math
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from itertools import chain, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from sfumato.cli.sampling_options import ConditionOptions, GuidanceOptions, SamplerOptions
from sfumato.errors import DataError, LabelError
from sfumato.training.config import TrainConfig
from sfumato.utils.flags import optional_flag

if TYPE_CHECKING:
    from sfumato.diffusion.denoiser import Denoiser, PreconditionedDenoiser
    from sfumato.sampling.output import Unfinished
    from sfumato.sampling.sampler import Conditions
    from sfumato.utils.shapes import Images, Labels

ARCHIVE = re.compile(r"(\.tar)?\.(zip|tar|gz|tgz|xz|txz|bz2|tbz2|npz|npy|parquet)$", re.IGNORECASE)

AGAIN_ELSEWHERE = "Give the same command again, with another --out if you gave one."

Run = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN", help="The run directory.")]


@dataclass(frozen=True)
class Train:
    """Train a model on a folder of images, or go on training it.

    Stop it with Ctrl-C: the same command goes on at the very image it stopped at:
      sfumato train photos/ --size 64 --minutes 30
      sfumato train digits
    """

    config: Annotated[TrainConfig, tyro.conf.arg(name="")]
    out: Annotated[Path | None, optional_flag("PATH", "runs/ and the name of the data")] = None
    """The run directory."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes the fastest one here."""
    cache: Annotated[Path | None, optional_flag("PATH", "$SFUMATO_CACHE or your cache folder")] = None
    """Where decoded images and compiled code are kept."""
    debug: bool = False
    """Do one operation after the other on a GPU too (slower), so that an error points at its cause."""

    def run(self) -> int:
        """Trains."""
        from sfumato.training.loop import train
        from sfumato.utils.progress import TrainingBar
        from sfumato.utils.signals import stop_request

        out = self.out or Path("runs") / run_name(self.config.source)
        with stop_request() as wish, TrainingBar() as progress:
            state, _, share = train(
                self.config,
                out,
                device=self.device,
                cache=self.cache,
                debug=self.debug,
                reporter=progress,
                should_stop=wish,
            )
            seen = state.counters.images_seen
            if seen == 0:
                progress.say("Stopped before the first step. To begin, give the same command.")
            elif share < 1:
                progress.say(
                    f"Stopped and saved at {share:.0%}, after {seen:,} images. To go on, give the same command."
                )
            else:
                minutes = state.counters.seconds / 60
                progress.say(f"Done: {seen:,} images in {minutes:.1f} minutes. To draw new ones: sfumato sample {out}")
        return wish.exit_code if share < 1 else 0


@dataclass(frozen=True)
class Sample:
    """Draw new images from a trained model.

    A run directory describes itself, so nothing else needs to be said:
      sfumato sample runs/digits
      sfumato sample runs/flowers --label rose tulip --guidance 2 --out flowers.npz
      sfumato sample runs/faces --condition age=30 hair=red hair=black
    """

    run_directory: Run
    out: Annotated[Path | None, optional_flag("PATH", "samples/ and the name of the run")] = None
    """A new folder (PNGs and a grid) or a .npz file."""
    count: int = 64
    """How many images."""
    label: Annotated[tuple[str, ...], optional_flag("NAME [NAME ...]", "every class the model knows")] = ()
    """Classes of the images, which take turns."""
    conditions: Annotated[ConditionOptions, tyro.conf.arg(name="condition")] = field(default_factory=ConditionOptions)
    guidance: GuidanceOptions = field(default_factory=GuidanceOptions)
    sampler: Annotated[SamplerOptions, tyro.conf.arg(name="sampling")] = field(default_factory=SamplerOptions)
    seed: Annotated[int | None, optional_flag("INT", "a fresh one, which is printed and kept beside the images")] = None
    """Random seed. The same seed draws the same images; image i depends on the seed and on i alone, whatever the
    count and the batch."""
    batch: Annotated[int | None, optional_flag("INT", "what suits the device")] = None
    """Images at a time, at most; fewer are taken if memory is full."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the network; auto: bfloat16 where the device has it."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes the fastest one here."""

    def run(self) -> int:
        """Samples."""
        from sfumato.models import load
        from sfumato.sampling.generate import generate
        from sfumato.sampling.output import check_absent, free_folder, mark_unfinished, write_samples
        from sfumato.utils.devices import choose_device, device_failures
        from sfumato.utils.progress import print_sentence, sampling_bar

        base = load(self.run_directory, choose_device(self.device))
        model = self.guidance.guided(base, self.run_directory, self.device)
        sampler = self.sampler.sampler(model)
        if self.out is not None:
            check_absent(self.out)
        wanted = self.conditions.wanted(model, self.label) or model.label_names
        turns = _turns(wanted)
        settings = _settings(self, model)
        seed, there = _begun(self, settings)
        files = _readable(there[: self.count], base)
        with sampling_bar(self.count, len(sampler.timesteps) - 1) as on_step, device_failures(AGAIN_ELSEWHERE):
            batches = generate(
                model,
                self.count,
                sampler,
                labels=wanted,
                seed=seed,
                batch=self.batch,
                first=len(files),
                precision=self.precision,
                on_step=on_step,
            )
            on_step(len(files) * (len(sampler.timesteps) - 1))
            out = self.out or free_folder(self.run_directory.resolve().name)
            batches = chain(_read_back(files, base, wanted), batches)
            batches = chain([next(batches)], batches)  # Settings that cannot be drawn leave no folder behind.
            if out.suffix != ".npz":
                mark_unfinished(out, settings, seed)
            grid_columns = turns if 1 < turns <= 16 else None
            look_at = write_samples(batches, out, model.known_columns, base.depth, grid_columns, seed)
        print_sentence(f"Images are in {out}. Look at {look_at}")
        if self.seed is None:
            print_sentence(f"The seed was {seed}; to draw the same images again, add --seed {seed}")
        return 0


@dataclass(frozen=True)
class Interpolate:
    """Draw the images between images: between your own, or between new ones.

    Each image is one noise, carried along the model's flow.

    Halfway between two noises lies another image:
      sfumato interpolate runs/flowers
      sfumato interpolate runs/flowers rose.jpg tulip.jpg --frames 16 --out between
    """

    run_directory: Run
    images: Annotated[tuple[Path, ...], tyro.conf.Positional, optional_flag("[IMAGE IMAGE ...]", "new images")] = ()
    """Two or more image files to go between."""
    out: Annotated[Path | None, optional_flag("PATH", "samples/ and the name of the run")] = None
    """A new folder (PNGs, a grid and an animation)."""
    frames: int = 9
    """Images from one end to the next, both included."""
    count: int = 5
    """How many new images to go between, where no files are given."""
    label: Annotated[str | None, optional_flag("NAME", "no class in particular")] = None
    """The class of all images."""
    conditions: Annotated[ConditionOptions, tyro.conf.arg(name="condition")] = field(default_factory=ConditionOptions)
    guidance: GuidanceOptions = field(default_factory=lambda: GuidanceOptions(guidance=1.0))
    sampler: Annotated[SamplerOptions, tyro.conf.arg(name="sampling")] = field(
        default_factory=lambda: SamplerOptions(solver="heun", time_grid="logsnr", steps=50, clip="none")
    )
    seed: Annotated[int | None, optional_flag("INT", "a fresh one, which is printed")] = None
    """Random seed of the new images. The same seed draws the same images."""
    batch: int = 64
    """Images at a time."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes the fastest one here."""

    def run(self) -> int:
        """Interpolates."""
        from sfumato.data import load_files
        from sfumato.diffusion.guidance import Observed
        from sfumato.models import load
        from sfumato.sampling.inversion import encode, interpolate
        from sfumato.sampling.output import check_new_folder, free_folder, mark_unfinished, write_frames
        from sfumato.sampling.sampler import ImageNoise
        from sfumato.sampling.sphere import check_interpolation
        from sfumato.training.runs import training_options
        from sfumato.utils.devices import choose_device, device_failures, out_of_memory
        from sfumato.utils.progress import evaluations_bar, print_sentence

        for image in self.images:
            if not image.is_file():
                raise DataError(f"there is no image file {image}", "Give the paths of two image files or more.")
        check_interpolation(len(self.images) or self.count, self.frames)
        base = load(self.run_directory, choose_device(self.device))
        model = self.guidance.guided(base, self.run_directory, self.device)
        sampler = self.sampler.sampler(model)
        if self.out is not None:
            check_new_folder(self.out)
        wanted = self.conditions.wanted(model, () if self.label is None else (self.label,))
        if _turns(wanted) > 1:
            raise LabelError("several values of a column were given for one way", "Give one value for each column.")
        settings = _settings(self, model)
        seed, _ = _begun(self, settings)
        full, failed = out_of_memory("Choose a smaller --batch."), device_failures("Give the same command again.")
        with evaluations_bar() as on_evaluation, failed, full:
            watched = Observed(model, on_evaluation)
            if self.images:
                ends = load_files(self.images, base.image_shape, base.depth, training_options(self.run_directory))
                latents = encode(watched, ends, labels=wanted, sampler=sampler, batch=self.batch)
            else:
                latents = ImageNoise(seed, range(self.count), model.image_shape)()
            between = interpolate(watched, latents, self.frames, labels=wanted, sampler=sampler, batch=self.batch)
        out = self.out or free_folder(self.run_directory.resolve().name)
        mark_unfinished(out, settings, seed)
        grid, film = write_frames(between, self.frames, out, base.depth)
        print_sentence(f"Images are in {out}. Look at {grid} and at the film {film}")
        if self.seed is None and not self.images:
            print_sentence(f"The seed was {seed}; to draw the same images again, add --seed {seed}")
        return 0


def _settings(verb: Sample | Interpolate, model: "Denoiser") -> dict[str, str]:
    """What the images of a command depend on, by name."""
    from sfumato.utils.files import tensors_digest

    free = {"out", "batch", "device"}
    settings = {field.name: str(getattr(verb, field.name)) for field in fields(verb) if field.name not in free}
    weights = tensors_digest("", model.state_dict())
    return settings | {"run_directory": str(verb.run_directory.resolve()), "weights of the model": weights}


def _begun(verb: Sample | Interpolate, settings: dict[str, str]) -> "Unfinished":
    """The seed of a command, and the images that are there already where it goes on with an unfinished folder."""
    from sfumato.sampling.output import Unfinished, unfinished_samples

    there = None if verb.out is None else unfinished_samples(verb.out, settings)
    return there or Unfinished(fresh_seed() if verb.seed is None else verb.seed, ())


def fresh_seed() -> int:
    """A seed that was probably never used before, short enough to be typed."""
    return secrets.randbelow(10**9)


def run_name(source: str) -> str:
    """What a run on this data is called: the name of the folder, file or data set, without its extension."""
    name = re.split(r"[/\\:]", source.rstrip("/\\"))[-1] if source.startswith("hf:") else Path(source).resolve().name
    return ARCHIVE.sub("", name) or "images"


def _readable(files: Sequence[Path], model: "PreconditionedDenoiser") -> list[Path]:
    """The files before the first that cannot be read: where the power failed, one may be torn."""
    from sfumato.data import load_files

    def is_whole(file: Path) -> bool:
        try:
            load_files([file], model.image_shape, model.depth)
        except DataError:
            return False
        return True

    return list(takewhile(is_whole, files))


def _read_back(
    files: Sequence[Path], model: "PreconditionedDenoiser", wanted: "Conditions"
) -> "Iterator[tuple[Images, Labels | None]]":
    """Samples that were drawn before, as batches."""
    from sfumato.data import load_files
    from sfumato.sampling.sampler import resolve_labels

    labels = resolve_labels(model, wanted, len(files)) if files else None
    for start in range(0, len(files), 64):
        part = slice(start, start + 64)
        yield load_files(files[part], model.image_shape, model.depth), None if labels is None else labels[part]


def _turns(wanted: Sequence[str] | dict[str, list[str]]) -> int:
    """After how many images the labels or conditions begin anew."""
    return math.lcm(*map(len, wanted.values())) if isinstance(wanted, dict) else len(wanted)
