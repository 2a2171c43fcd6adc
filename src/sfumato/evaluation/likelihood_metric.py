"""Likelihood of held-out images under the probability flow of the model, in bits per dimension."""

from __future__ import annotations

from sfumato.data import ImageSet
from sfumato.data.dataset import first
from sfumato.diffusion.denoiser import PreconditionedDenoiser
from sfumato.errors import ConfigError
from sfumato.evaluation.context import BeginStage, EvalContext
from sfumato.evaluation.metric import Facts, Measurement, Metric, Row
from sfumato.evaluation.subject import Subject
from sfumato.likelihood import flow_likelihood
from sfumato.metrics.features import Features

MOST_IMAGES = 128
"""Maximum number of held-out images: each takes hundreds of network evaluations."""


class LikelihoodMetric(Metric):
    """Bits per dimension of held-out images, with the standard error of their mean."""

    def check(self, features: Features, has_model: bool) -> None:
        """Checks that the model is known."""
        del features
        if not has_model:
            raise _unknown_model()

    def is_default(self, subject: Subject, features: Features) -> bool:
        """Never: it is slow."""
        del subject, features
        return False

    def measure(self, context: EvalContext) -> Measurement:
        """Measures the bits per dimension of at most `MOST_IMAGES` held-out images.

        Raises:
            ConfigError: The model is not known.
        """
        if context.model is None:
            raise _unknown_model()
        facts = _bits(context.model, first(context.subject.held_out, MOST_IMAGES), context.begin)
        cell = f"{facts['bits']:.3f} +- {facts['error']:.3f} ({facts['images']:,} images)"
        return Measurement(facts, rows=[Row("bits per dimension", held_out=cell)])


def _unknown_model() -> ConfigError:
    return ConfigError("likelihood needs the model that generated the samples", "Name a run instead.")


def _bits(model: PreconditionedDenoiser, images: ImageSet, begin: BeginStage) -> Facts:
    device = next(model.parameters()).device
    labels = None if images.labels is None or not model.is_conditional else images.labels.to(device)
    on_batch = begin("likelihood", len(images))
    bits = flow_likelihood(model, images.floats().to(device), labels=labels, on_batch=on_batch)
    error = bits.std().item() / len(bits) ** 0.5 if len(bits) > 1 else float("inf")
    return {"bits": bits.mean().item(), "error": error, "images": len(bits)}
