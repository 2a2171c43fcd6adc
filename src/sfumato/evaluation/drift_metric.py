"""Drift: differences in colour, contrast and detail between samples and training images."""

from dataclasses import asdict

from sfumato.data import ImageSet
from sfumato.evaluation.context import EvalContext, batches
from sfumato.evaluation.metric import Measurement, Metric, ReportTable
from sfumato.metrics.drift import Appearance, Change, appearance, drift

TITLES = ("drift", "samples", "training images", "change", "")


class DriftMetric(Metric):
    """Differences in colour, contrast and detail between samples and training images."""

    def measure(self, context: EvalContext) -> Measurement:
        """Measures the differences.

        Raises:
            DataError: There are fewer than 2 samples or training images.
        """
        found = drift(_appearance(context, context.subject.samples), _appearance(context, context.subject.train))
        table = ReportTable(TITLES, [_row(change) for change in found.changes])
        return Measurement(asdict(found), tables=[table], sentences=[found.sentence])


def _appearance(context: EvalContext, images: ImageSet) -> Appearance:
    return appearance(batches(images, context.begin("colours and detail", len(images))))


def _row(change: Change) -> tuple[str, ...]:
    size = f"{100 * change.change:+.1f} +- {100 * change.error:.1f} %"
    significant = "significant" if change.significant else ""
    return change.quantity, f"{change.samples:.4f}", f"{change.data:.4f}", size, significant
