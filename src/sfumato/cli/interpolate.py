"""`sfumato interpolate`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from sfumato.cli.continuation import fingerprint, seed_and_files
from sfumato.cli.sampling_options import Backbone, ConditionOptions, GuidanceOptions, ModelPath, SamplerOptions, period
from sfumato.errors import DataError, LabelError
from sfumato.utils.flags import optional_flag


@dataclass(frozen=True)
class Interpolate:
    """Interpolate between images through the latent noise.
    The probability flow ODE maps images to noise, and noise between to images.

    Examples:
      sfumato interpolate runs/flowers
      sfumato interpolate runs/flowers rose.jpg tulip.jpg --frames 16 --out between

      RUN                 run directory, folder of diffusers, or hf:USER/NAME
      [IMAGE ...]         two or more image files (default: new samples)
      --frames 9          frames from one image to the next, both included
      --count 5           number of new samples, without image files
      --out PATH          new folder (default: samples/NAME)
      --label NAME        class label of all images (default: unconditional)
      --condition A=B     values of condition columns: age=30 species=cat
      --steps 50          sampling steps (default: 50)
      --seed 0            random seed of the new samples
      --backbone PATH     class of your own network: nets.py:MyNet
      --device cuda:1     cpu, cuda, cuda:1 or mps (default: the fastest)
    """

    run_directory: ModelPath
    images: Annotated[tuple[Path, ...], tyro.conf.Positional, optional_flag("[IMAGE IMAGE ...]", "new samples")] = ()
    """Two or more image files."""
    out: Annotated[Path | None, optional_flag("PATH", "samples/NAME, with the name of RUN")] = None
    """New folder (image files, a grid and an animation)."""
    frames: int = 9
    """Frames from one image to the next, both included."""
    count: int = 5
    """Number of new samples, if no image files are given."""
    label: Annotated[str | None, optional_flag("NAME", "unconditional")] = None
    """Class label of all images."""
    conditions: Annotated[ConditionOptions, tyro.conf.arg(name="condition")] = field(default_factory=ConditionOptions)
    guidance: GuidanceOptions = field(default_factory=lambda: GuidanceOptions(guidance=1.0))
    sampler: Annotated[SamplerOptions, tyro.conf.arg(name="sampling")] = field(
        default_factory=lambda: SamplerOptions(solver="heun", time_grid="logsnr", steps=50, clip="none")
    )
    seed: Annotated[int | None, optional_flag("INT", "random, printed")] = None
    """Random seed of the new samples. The same seed gives the same images."""
    batch: int = 64
    """Batch size."""
    backbone: Backbone = None
    device: str = "auto"
    """cpu, cuda, cuda:1, mps or auto (the fastest available)."""

    def run(self) -> int:
        """Interpolates and returns the exit code."""
        from sfumato.data import load_files
        from sfumato.diffusion.guidance import Observed
        from sfumato.exchange.load import load, with_commit
        from sfumato.sampling.inversion import encode, interpolate
        from sfumato.sampling.output import check_new_folder, free_folder, mark_unfinished, write_frames
        from sfumato.sampling.sampler import ImageNoise
        from sfumato.sampling.sphere import check_interpolation
        from sfumato.training.run_directory import training_options
        from sfumato.utils.devices import choose_device, device_failures, out_of_memory
        from sfumato.utils.progress import evaluations_bar, print_sentence

        for image in self.images:
            if not image.is_file():
                raise DataError(f"the image file {image} does not exist", "Give the paths of two or more image files.")
        check_interpolation(len(self.images) or self.count, self.frames)
        path = with_commit(self.run_directory)
        base = load(path, choose_device(self.device), network=self.backbone)
        model = self.guidance.guided(base, path, self.device)
        sampler = self.sampler.sampler(model)
        if self.out is not None:
            check_new_folder(self.out)
        labels = self.conditions.resolve(model, () if self.label is None else (self.label,))
        if period(labels) > 1:
            raise LabelError("several values of one column were given", "Give one value for each column.")
        settings = fingerprint(self, model)
        seed, _ = seed_and_files(self, settings)
        full, failed = out_of_memory("Choose a smaller --batch."), device_failures("Run the same command again.")
        with evaluations_bar() as on_evaluation, failed, full:
            watched = Observed(model, on_evaluation)
            if self.images:
                ends = load_files(self.images, base.image_shape, base.depth, training_options(self.run_directory))
                latents = encode(watched, ends, labels=labels, sampler=sampler, batch=self.batch)
            else:
                latents = ImageNoise(seed, range(self.count), model.image_shape)()
            between = interpolate(watched, latents, self.frames, labels=labels, sampler=sampler, batch=self.batch)
        out = self.out or free_folder(self.run_directory.resolve().name)
        mark_unfinished(out, settings, seed)
        grid, film = write_frames(between, self.frames, out, base.depth)
        print_sentence(f"Images saved to {out}. Grid: {grid}. Animation: {film}")
        if self.seed is None and not self.images:
            print_sentence(f"Seed: {seed}. To sample the same images again, add --seed {seed}")
        return 0
