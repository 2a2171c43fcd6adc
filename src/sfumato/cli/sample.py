"""`sfumato sample`."""

from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

import tyro

from sfumato.cli.continuation import fingerprint, read_back, readable_files, seed_and_files
from sfumato.cli.sampling_options import Backbone, ConditionOptions, GuidanceOptions, ModelPath, SamplerOptions, period
from sfumato.utils.flags import optional_flag


@dataclass(frozen=True)
class Sample:
    """Sample new images from a trained model.
    After an interruption, the same command with the same --out resumes.

    Examples:
      sfumato sample runs/digits
      sfumato sample runs/flowers --label rose tulip --guidance 2 --out flowers.npz
      sfumato sample runs/faces --condition age=30 hair=red hair=black

      RUN                 run directory, folder of diffusers, or hf:USER/NAME
      --count 64          number of images (default: 64)
      --out PATH          new folder, or NAME.npz (default: samples/NAME)
      --label cat dog     class labels, which alternate (default: all classes)
      --condition A=B     values of condition columns: age=30 species=cat
      --guidance 2        guidance scale; above 1, samples match their class more
      --steps 20          sampling steps (default: 20)
      --solver NAME       dpm-2m-sde (default), dpm-2m, heun, ddim, ddpm, ...
      --seed 0            random seed; the same seed gives the same images
      --backbone PATH     class of your own network: nets.py:MyNet
      --device cuda:1     cpu, cuda, cuda:1 or mps (default: the fastest)
    """

    run_directory: ModelPath
    out: Annotated[Path | None, optional_flag("PATH", "samples/NAME, with the name of RUN")] = None
    """New folder (image files and a grid), or NAME.npz."""
    count: int = 64
    """Number of images."""
    label: Annotated[tuple[str, ...], optional_flag("NAME [NAME ...]", "all classes")] = ()
    """Class labels, which alternate between the images."""
    conditions: Annotated[ConditionOptions, tyro.conf.arg(name="condition")] = field(default_factory=ConditionOptions)
    guidance: GuidanceOptions = field(default_factory=GuidanceOptions)
    sampler: Annotated[SamplerOptions, tyro.conf.arg(name="sampling")] = field(default_factory=SamplerOptions)
    seed: Annotated[int | None, optional_flag("INT", "random, printed and saved with the images")] = None
    """Random seed. The same seed gives the same images: image i depends on the seed and i only, not on the count or the
    batch size."""
    batch: Annotated[int | None, optional_flag("INT", "chosen for the device")] = None
    """Maximum batch size. It is halved if memory is full."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Precision of the network. auto: bfloat16 if the device supports it."""
    backbone: Backbone = None
    device: str = "auto"
    """cpu, cuda, cuda:1, mps or auto (the fastest available)."""

    def run(self) -> int:
        """Samples and returns the exit code."""
        from sfumato.exchange.load import load, with_commit
        from sfumato.sampling.generate import generate
        from sfumato.sampling.output import check_absent, free_folder, mark_unfinished, write_samples
        from sfumato.utils.devices import choose_device, device_failures
        from sfumato.utils.progress import print_sentence, sampling_bar

        path = with_commit(self.run_directory)
        base = load(path, choose_device(self.device), network=self.backbone)
        model = self.guidance.guided(base, path, self.device)
        sampler = self.sampler.sampler(model)
        if self.out is not None:
            check_absent(self.out)
        labels = self.conditions.resolve(model, self.label) or model.label_names
        columns = period(labels)
        settings = fingerprint(self, model)
        seed, existing = seed_and_files(self, settings)
        files = readable_files(existing[: self.count], base)
        with (
            sampling_bar(self.count, len(sampler.timesteps) - 1) as on_step,
            device_failures("Run the same command again, with another --out if you gave one."),
        ):
            batches = generate(
                model,
                self.count,
                sampler,
                labels=labels,
                seed=seed,
                batch=self.batch,
                first=len(files),
                precision=self.precision,
                on_step=on_step,
            )
            on_step(len(files) * (len(sampler.timesteps) - 1))
            out = self.out or free_folder(self.run_directory.resolve().name)
            batches = chain(read_back(files, base, labels), batches)
            batches = chain([next(batches)], batches)  # fails before a folder is made if the settings are invalid
            if out.suffix != ".npz":
                mark_unfinished(out, settings, seed)
            grid_columns = columns if 1 < columns <= 16 else None
            grid = write_samples(batches, out, model.known_columns, base.depth, grid_columns, seed)
        print_sentence(f"Images saved to {out}. Grid: {grid}")
        if self.seed is None:
            print_sentence(f"Seed: {seed}. To sample the same images again, add --seed {seed}")
        return 0
