"""Evaluation of a model or of a set of images: `sfumato eval`.

`METRICS` holds all metrics by name. A metric of your own is a subclass of `Metric`, registered with one line:

    sfumato.evaluation.METRICS["brightness"] = Brightness()
"""

from sfumato.evaluation.accuracy_metric import AccuracyMetric
from sfumato.evaluation.context import EvalContext
from sfumato.evaluation.coverage_metric import CoverageMetric
from sfumato.evaluation.distance_metric import DistanceMetric
from sfumato.evaluation.drift_metric import DriftMetric
from sfumato.evaluation.likelihood_metric import LikelihoodMetric
from sfumato.evaluation.memorization_metric import MemorizationMetric
from sfumato.evaluation.metric import ClassColumn, Measurement, Metric, Row, Table

METRICS: dict[str, Metric] = {
    "distance": DistanceMetric(),
    "coverage": CoverageMetric(),
    "agreement": AccuracyMetric(),
    "memorization": MemorizationMetric(),
    "drift": DriftMetric(),
    "likelihood": LikelihoodMetric(),
}
"""Metrics of `sfumato eval --metrics` by name, in the order in which they are measured by default."""

__all__ = ["METRICS", "ClassColumn", "EvalContext", "Measurement", "Metric", "Row", "Table"]
