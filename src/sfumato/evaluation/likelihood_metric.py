"""Likelihood of held-out images under the probability flow of the model, in bits per dimension."""

from collections.abc import Sequence

from sfumato.data.dataset import first
from sfumato.diffusion.denoiser import Denoiser
from sfumato.errors import ConfigError
from sfumato.evaluation.context import EvalContext
from sfumato.evaluation.metric import Facts, Measurement, Metric, MetricValue, Row
from sfumato.evaluation.subject import Subject
from sfumato.likelihood import flow_likelihood
from sfumato.metrics.features import Features

MOST_IMAGES = 128
"""Maximum number of held-out images: each takes hundreds of network evaluations."""


class LikelihoodMetric(Metric):
    """Bits per dimension of held-out images, with the standard error of their mean."""

    def check(self, features: Features, model: Denoiser | None) -> None:
        """Checks that the model is known."""
        del features
        if model is None:
            raise ConfigError("likelihood needs the model that generated the samples", "Name a run instead.")

    def is_default(self, subject: Subject, features: Features) -> bool:
        """Never: it is slow."""
        del subject, features
        return False

    def measure(self, context: EvalContext) -> Measurement:
        """Measures the bits per dimension of at most `MOST_IMAGES` held-out images.

        Raises:
            ConfigError: The model needs classes, and the images do not have them.
        """
        model, images = context.model, first(context.subject.held_out, MOST_IMAGES)
        assert model is not None  # see `check`
        has_same = model.is_conditional and model.label_names == images.label_names
        labels = images.labels.to(model.device) if has_same and images.labels is not None else None
        if model.needs_labels and labels is None:
            raise ConfigError(
                "likelihood needs the class of each real image, and the classes of the model are "
                f"{', '.join(model.label_names[:3])}, ...",
                "Give images with these classes, or omit likelihood from --metrics.",
            )
        on_batch = context.begin("likelihood", len(images))
        bits = flow_likelihood(model, images.floats().to(model.device), labels=labels, on_batch=on_batch)
        error = bits.std().item() / len(bits) ** 0.5 if len(bits) > 1 else float("inf")
        facts = {"bits": bits.mean().item(), "error": error, "images": len(bits)}
        return Measurement(facts, rows=self.rows(facts))

    def rows(self, facts: Facts) -> Sequence[Row]:
        """Bits per dimension of the held-out images."""
        cell = f"{facts['bits']:.3f} +- {facts['error']:.3f} ({facts['images']:,} images)"
        return [Row("bits per dimension", held_out=cell)]

    def values(self, facts: Facts) -> Sequence[MetricValue]:
        """Bits per dimension of the held-out images."""
        name = "Bits per dimension of real images"
        return [MetricValue("bits-per-dimension", name, facts["bits"], facts["images"])]
