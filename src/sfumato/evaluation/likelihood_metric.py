"""Likelihood of held-out images under the probability flow of the model, in bits per dimension."""

from sfumato.data.dataset import first
from sfumato.diffusion.denoiser import Denoiser
from sfumato.errors import ConfigError
from sfumato.evaluation.context import EvalContext
from sfumato.evaluation.metric import Measurement, Metric, Row
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
        """Measures the bits per dimension of at most `MOST_IMAGES` held-out images."""
        model, images = context.model, first(context.subject.held_out, MOST_IMAGES)
        assert model is not None  # see `check`
        labels = None if images.labels is None or not model.is_conditional else images.labels.to(model.device)
        on_batch = context.begin("likelihood", len(images))
        bits = flow_likelihood(model, images.floats().to(model.device), labels=labels, on_batch=on_batch)
        error = bits.std().item() / len(bits) ** 0.5 if len(bits) > 1 else float("inf")
        facts = {"bits": bits.mean().item(), "error": error, "images": len(bits)}
        cell = f"{facts['bits']:.3f} +- {error:.3f} ({len(bits):,} images)"
        return Measurement(facts, rows=[Row("bits per dimension", held_out=cell)])
