"""`sfumato eval`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from sfumato.cli.sampling_options import Backbone, GuidanceOptions, SamplerOptions
from sfumato.errors import ConfigError
from sfumato.training.data_config import ReadConfig
from sfumato.utils.flags import optional_flag

if TYPE_CHECKING:
    import torch

    from sfumato.diffusion.denoiser import PreconditionedDenoiser
    from sfumato.evaluation.subject import Subject


@dataclass(frozen=True)
class Eval:
    """Evaluate a model, or any folder of generated images.
    Measures quality, diversity and memorization against real images.

    Examples:
      sfumato eval runs/flowers
      sfumato eval runs/flowers/best --metrics distance memorization --count 10000
      sfumato eval generated/ photos/ --features inception

      RUN|IMAGES          run or model, as for sample, or generated images
      [DATA]              real images (default: the training images of RUN)
      --count 10000       number of samples (default: 10,000; 1,000 on a CPU)
      --metrics NAME ...  distance, coverage, accuracy, memorization, drift,
                          likelihood (default: all quick ones that apply)
      --features NAME     pixels (default), efficientnet, inception (FID),
                          dinov2, NET.onnx, or your own network: nets.py:MyNet
      --out PATH          folder for the results (default: in RUN, or evaluated/)
      --device cuda:1     cpu, cuda, cuda:1 or mps (default: the fastest)
      --json              print JSON
    """

    subject: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN|IMAGES")]
    """Run directory, its best/ or a copied model; folder of diffusers or hf:USER/NAME; or a folder, archive or .npz of
    generated images."""
    data: Annotated[str | None, tyro.conf.Positional, optional_flag("[DATA]", "training images of the run")] = None
    """Real images, as for `sfumato train`. Required without a run."""
    count: Annotated[int | None, optional_flag("INT", "for a run 10,000 on a GPU and 1,000 on a CPU; all IMAGES")] = (
        None
    )
    """Number of samples to evaluate."""
    metrics: Annotated[tuple[str, ...], optional_flag("NAME [NAME ...]", "all quick ones that apply")] = ()
    """Metrics: distance, coverage, accuracy, memorization, drift, likelihood, or the import path of your own:
    path/file.py:Class (docs/extending.md)."""
    features: str = "pixels"
    """Feature space of the distances: pixels, efficientnet, inception (FID), dinov2, an .onnx file, or the import path
    of your own network: path/file.py:Class (docs/extending.md)."""
    weights: Annotated[Path | None, optional_flag("PATH", "from the cache")] = None
    """Weights of efficientnet, inception or dinov2."""
    reading: Annotated[ReadConfig, tyro.conf.arg(name="")] = field(default_factory=ReadConfig)
    guidance: GuidanceOptions = field(default_factory=GuidanceOptions)
    sampler: Annotated[SamplerOptions, tyro.conf.arg(name="sampling")] = field(default_factory=SamplerOptions)
    seed: int = 0
    """Random seed of the samples."""
    batch: Annotated[int | None, optional_flag("INT", "chosen for the device")] = None
    """Maximum batch size of sampling."""
    out: Annotated[Path | None, optional_flag("PATH", "evaluations/ in a run or model folder; else evaluated/")] = None
    """Folder for figures, samples and evaluations.jsonl. Required if the run directory is read-only."""
    backbone: Backbone = None
    device: str = "auto"
    """cpu, cuda, cuda:1, mps or auto (the fastest available)."""
    cache: Annotated[Path | None, optional_flag("PATH", "$SFUMATO_CACHE, or the user cache folder")] = None
    """Folder for decoded images and features."""
    json: bool = False
    """Print JSON."""

    def run(self) -> int:
        """Evaluates and returns the exit code."""
        from sfumato.evaluation.context import EvalContext
        from sfumato.evaluation.evaluate import evaluate, requested_metrics
        from sfumato.evaluation.from_model import EVALUATIONS
        from sfumato.evaluation.report import print_report
        from sfumato.exchange.load import is_foreign, load, with_commit
        from sfumato.metrics import features_for, register_features
        from sfumato.training.run_directory import is_model, run_containing
        from sfumato.utils.devices import choose_device, device_failures, out_of_memory
        from sfumato.utils.progress import stages_bar
        from sfumato.utils.signals import interrupt_hint

        device = choose_device(self.device)
        features = features_for(register_features(self.features), self.weights)
        is_imported = is_foreign(self.subject)
        has_model = is_imported or is_model(self.subject)
        kept = " It continues with the existing samples." if has_model else ""
        remedy = f"Run the same command again.{kept}"
        with interrupt_hint(remedy), device_failures(remedy), out_of_memory("Choose a smaller --batch or --count."):
            out = self.out or (
                (run_containing(self.subject) or self.subject) / EVALUATIONS
                if has_model and not is_imported
                else Path("evaluated")
            )
            path = with_commit(self.subject)
            model = load(path, device, network=self.backbone) if has_model else None
            requested_metrics(self.metrics, features, model)  # fails before samples are generated
            subject = self._of_images() if model is None else self._of_model(model, path, device, out)
            with stages_bar() as begin:
                context = EvalContext(subject, features, device, self.cache, out, model, begin)
                evaluation = evaluate(context, self.metrics)
        print_report(evaluation, self.json)
        return 0

    def _of_model(self, base: "PreconditionedDenoiser", path: Path, device: "torch.device", out: Path) -> "Subject":
        from sfumato.evaluation.from_model import SamplePlan, subject_of_model
        from sfumato.utils.progress import sampling_bar

        count = (10_000 if device.type == "cuda" else 1_000) if self.count is None else self.count
        guided = self.guidance.guided(base, path, self.device)
        sampler = self.sampler.sampler(guided)
        plan = SamplePlan(base, guided, sampler, count, self.seed, (self.sampler, self.guidance))
        with sampling_bar(count, len(sampler.timesteps) - 1) as on_step:
            options = self.reading.options()
            return subject_of_model(self.subject, self.data, plan, options, out, self.cache, self.batch, on_step)

    def _of_images(self) -> "Subject":
        from sfumato.evaluation.from_files import subject_of_files
        from sfumato.sampling.output import samples_in

        if self.data is None:
            raise ConfigError(
                "generated images are compared with real images, but none were given", "Give IMAGES and DATA."
            )
        samples, options = str(samples_in(self.subject)), self.reading.options()
        return subject_of_files(samples, self.data, self.count, options, self.cache, self.reading.labels)
