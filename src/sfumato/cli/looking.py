"""The verbs that look at something: data, a run, samples. Heavy imports wait until one runs."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from sfumato.cli.making import Run
from sfumato.cli.sampling_options import GuidanceOptions, SamplerOptions
from sfumato.errors import ConfigError, RunError
from sfumato.training.config import ReadConfig
from sfumato.utils.flags import optional_flag

if TYPE_CHECKING:
    import torch

    from sfumato.diffusion.denoiser import PreconditionedDenoiser
    from sfumato.evaluation.subject import Subject


@dataclass(frozen=True)
class Inspect:
    """Look at images before any training, and learn how to train on them.

    It tells their sizes, modes, classes and duplicates, and what cannot be read.

    The images are decoded on the way, so that training on them begins at once:
      sfumato inspect photos/
      sfumato inspect photos.zip --size 64x96 --fit pad
    """

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
    """A folder, zip, tar, .npz, .npy or .parquet file, hf:NAME, or the word `digits`, as for `sfumato train`."""
    reading: Annotated[ReadConfig, tyro.conf.arg(name="")] = field(default_factory=ReadConfig)
    near_duplicates: bool = True
    """Look for images that are nearly the same, too."""
    out: Path = Path("inspected")
    """The folder for the pictures: a contact sheet, and the duplicates."""
    cache: Annotated[Path | None, optional_flag("PATH", "$SFUMATO_CACHE or your cache folder")] = None
    """Where decoded images are kept."""
    json: bool = False
    """Print JSON for scripts."""

    def run(self) -> int:
        """Inspects."""
        from sfumato.reports.findings import print_findings
        from sfumato.reports.inspection import inspect, save_pictures
        from sfumato.utils.progress import comparison_bar

        with comparison_bar() as on_images:
            found = inspect(
                self.source,
                self.reading.options(),
                labels=self.reading.labels,
                near_duplicates=self.near_duplicates,
                cache=self.cache,
                on_images=on_images,
            )
        written = save_pictures(found, self.out)
        print_findings(found.facts, [str(path) for path in written], self.json)
        return 0


@dataclass(frozen=True)
class Show:
    """Say what a run is, its progress and its best moment, and draw its curves.

    It changes nothing of the run, so it can be used while the run is training:
      sfumato show runs/digits
    """

    run_directory: Run
    out: Annotated[Path | None, optional_flag("PATH", "curves.png in the run directory")] = None
    """The picture of the curves; without it, a run that cannot be written to is only printed."""
    json: bool = False
    """Print JSON for scripts."""

    def run(self) -> int:
        """Shows."""
        from sfumato.reports.summary import print_summary, save_curves, summarize
        from sfumato.training.runs import run_containing
        from sfumato.utils.progress import print_sentence

        run = run_containing(self.run_directory) or self.run_directory
        summary = summarize(run)
        curves, code = None, 0
        try:
            curves = save_curves(run, self.out or run / "curves.png")
        except RunError as error:
            print_sentence(f"sfumato: {error}", stderr=True)
            code = 0 if self.out is None else 2
        print_summary(summary | {"curves": curves and str(curves)}, self.json)
        return code


@dataclass(frozen=True)
class Eval:
    """Judge a model, or images that anyone made.

    It measures how good and varied they are, and whether they are copies:
      sfumato eval runs/flowers
      sfumato eval runs/flowers/best --metrics distance memorization --count 10000
      sfumato eval drawn/ photos/ --features inception
    """

    subject: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN|IMAGES")]
    """A run directory, its best/ or a copy of its model; or a folder, archive or .npz of samples."""
    data: Annotated[str | None, tyro.conf.Positional, optional_flag("[DATA]", "those that the run learned from")] = None
    """Real images, as for `sfumato train`; needed beside IMAGES."""
    count: Annotated[int | None, optional_flag("INT", "of a run 10,000 on a GPU, 1,000 elsewhere; of IMAGES all")] = (
        None
    )
    """How many samples are judged."""
    metrics: Annotated[tuple[str, ...], optional_flag("NAME [NAME ...]", "all that are quick and fit the images")] = ()
    """What is measured: distance, coverage, agreement, memorization, drift, likelihood."""
    features: str = "pixels"
    """What distances are measured in: pixels, efficientnet, inception (FID), dinov2, or an exported network (.pt2 or
    .onnx)."""
    weights: Annotated[Path | None, optional_flag("PATH", "those in their cache")] = None
    """The weights of efficientnet, inception or dinov2."""
    reading: Annotated[ReadConfig, tyro.conf.arg(name="")] = field(default_factory=ReadConfig)
    guidance: GuidanceOptions = field(default_factory=GuidanceOptions)
    sampler: Annotated[SamplerOptions, tyro.conf.arg(name="sampling")] = field(default_factory=SamplerOptions)
    seed: int = 0
    """Random seed of the samples."""
    batch: Annotated[int | None, optional_flag("INT", "what suits the device")] = None
    """Samples drawn at a time, at most."""
    out: Annotated[Path | None, optional_flag("PATH", "evaluations/ of the run; for IMAGES evaluated/")] = None
    """The folder for pictures, samples and evaluations.jsonl; name one for a run that cannot be written to."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes the fastest one here."""
    cache: Annotated[Path | None, optional_flag("PATH", "$SFUMATO_CACHE or your cache folder")] = None
    """Where decoded images and features are kept."""
    json: bool = False
    """Print JSON for scripts."""

    def run(self) -> int:
        """Evaluates."""
        from sfumato.evaluation.evaluate import EvalContext, check_metrics
        from sfumato.evaluation.report import print_report
        from sfumato.evaluation.run import EVALUATIONS, evaluate_subject
        from sfumato.metrics import features_for
        from sfumato.training.runs import is_model, run_containing
        from sfumato.utils.devices import choose_device, device_failures, out_of_memory
        from sfumato.utils.progress import stages_bar
        from sfumato.utils.signals import interruptions

        device = choose_device(self.device)
        features = features_for(self.features, self.weights)
        has_model = is_model(self.subject)
        check_metrics(self.metrics, features, has_model)
        again = "go on from the samples drawn so far" if has_model else "begin again"
        remedy = f"To {again}, give the same command."
        failed, interrupted = device_failures(remedy), interruptions(remedy)
        with interrupted, failed, out_of_memory("Choose a smaller --batch or --count."):
            out = self.out or (
                (run_containing(self.subject) or self.subject) / EVALUATIONS if has_model else Path("evaluated")
            )
            subject, model = self._of_model(device, out) if has_model else (self._of_images(), None)
            with stages_bar() as begin:
                facts = evaluate_subject(
                    EvalContext(subject, features, device, self.cache, begin), self.metrics, model, out
                )
        print_report(facts, self.json)
        return 0

    def _of_model(self, device: "torch.device", out: Path) -> "tuple[Subject, PreconditionedDenoiser]":
        from sfumato.evaluation.run import Drawing, default_count, subject_of_model
        from sfumato.models import load
        from sfumato.utils.progress import sampling_bar

        base = load(self.subject, device)
        count = default_count(device) if self.count is None else self.count
        guided = self.guidance.guided(base, self.subject, self.device)
        sampler = self.sampler.sampler(guided)
        drawing = Drawing(base, guided, sampler, count, self.seed, (self.sampler, self.guidance))
        with sampling_bar(count, len(sampler.timesteps) - 1) as on_step:
            options = self.reading.options()
            return subject_of_model(
                self.subject, self.data, drawing, options, out, self.cache, self.batch, on_step
            ), base

    def _of_images(self) -> "Subject":
        from sfumato.evaluation.run import subject_of_files
        from sfumato.sampling.output import samples_in

        if self.data is None:
            raise ConfigError("images are judged beside real ones, but none were named", "Give IMAGES and DATA.")
        samples, options = str(samples_in(self.subject)), self.reading.options()
        return subject_of_files(samples, self.data, self.count, options, self.cache, self.reading.labels)


@dataclass(frozen=True)
class Explain:
    """Draw what diffusion does: to the images of a folder, or in a trained model.

    It writes these pictures:
      forward.png   two images under more and more noise
      reverse.png   from noise to two new images, with the estimate at each time
      schedule.png  how noise and signal change over time
      loss.png      of a run: the training loss, overall and by noise level

    A folder has no network: the exact denoiser of its images takes its place.

    So the new images in its reverse.png are copies of images in the folder:
      sfumato explain runs/digits --out pictures
      sfumato explain photos/ --size 64 --out pictures
    """

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN|DATA")]
    """A run directory, or images as for `sfumato train`."""
    out: Path = Path("explained")
    """The folder for the pictures."""
    reading: Annotated[ReadConfig, tyro.conf.arg(name="")] = field(default_factory=ReadConfig)
    cache: Annotated[Path | None, optional_flag("PATH", "$SFUMATO_CACHE or your cache folder")] = None
    """Where decoded images are kept."""
    device: str = "auto"
    """For a RUN: cpu, cuda, cuda:1, mps; auto takes the fastest one here."""

    def run(self) -> int:
        """Explains."""
        from sfumato.data import read_images
        from sfumato.models import load
        from sfumato.reports.explain import DATA_SCHEDULE, explain_data, explain_run, steps_of
        from sfumato.training.runs import is_model, run_containing, training_images
        from sfumato.utils.devices import choose_device
        from sfumato.utils.progress import print_sentence, sampling_bar

        run = Path(self.source)
        if is_model(run):
            home = run_containing(run)
            model = load(run, choose_device(self.device))
            images = None if home is None else training_images(home, self.cache)
            if images is None:
                print_sentence("The images it learned from are not there any more; its own samples take their place.")
            with sampling_bar(2, steps_of(model.schedule)) as on_step:
                written = explain_run(model, home or run, images, self.out, on_step)
        else:
            images = read_images(self.source, self.reading.options(), cache=self.cache)
            for notice in filter(lambda notice: notice.matters, images.notices):
                print_sentence(str(notice))
            with sampling_bar(2, steps_of(DATA_SCHEDULE)) as on_step:
                written = explain_data(images, self.out, on_step)
        print_sentence(f"Look at {', '.join(str(path) for path in written)}")
        return 0
