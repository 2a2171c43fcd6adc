"""Evaluation of a model or of a set of images: `sfumato eval`. `METRICS` holds all metrics by name."""

from sfumato.errors import ConfigError
from sfumato.evaluation.accuracy_metric import AccuracyMetric
from sfumato.evaluation.context import EvalContext
from sfumato.evaluation.coverage_metric import CoverageMetric
from sfumato.evaluation.distance_metric import DistanceMetric
from sfumato.evaluation.drift_metric import DriftMetric
from sfumato.evaluation.likelihood_metric import LikelihoodMetric
from sfumato.evaluation.memorization_metric import MemorizationMetric
from sfumato.evaluation.metric import ClassColumn, Measurement, Metric, MetricValue, ReportTable, Row
from sfumato.utils.imports import NamedCode, is_import_path, settings_in
from sfumato.utils.registry import Registry

METRICS: Registry[Metric] = Registry(
    "metric",
    ConfigError,
    {
        "distance": DistanceMetric(),
        "coverage": CoverageMetric(),
        "accuracy": AccuracyMetric(),
        "memorization": MemorizationMetric(),
        "drift": DriftMetric(),
        "likelihood": LikelihoodMetric(),
    },
)
"""Metrics of `sfumato eval --metrics` by name, in the order in which they are measured by default."""

CUSTOM_METRICS = NamedCode("metric", "--metrics")
"""Metrics that were named by their import paths in this process."""


def metric_named(name: str) -> Metric:
    """Metric of a name in `METRICS`, or of an import path that the user typed; its code is run.

    Raises:
        ConfigError: The name is unknown, the code cannot be imported or built, or it is not a `Metric`.
    """
    if is_import_path(name):
        CUSTOM_METRICS.register(name)
        try:
            metric = CUSTOM_METRICS.find(name)(**settings_in(name))
        except Exception as error:  # custom code can raise any exception
            problem = f"the metric {name} cannot be built: {type(error).__name__}: {error}"
            raise ConfigError(problem, "Give its arguments as settings, such as metrics.py:Mine:factor=2.") from error
        remedy = "Name a subclass of sfumato.evaluation.Metric, or a function that returns a metric."
    else:
        metric = METRICS.parse(name)
        remedy = "Register an object of a subclass of sfumato.evaluation.Metric: Mine() instead of Mine."
    if not isinstance(metric, Metric):
        raise ConfigError(f"the metric {name} is {metric!r}", remedy)
    return metric


__all__ = [
    "METRICS",
    "ClassColumn",
    "EvalContext",
    "Measurement",
    "Metric",
    "MetricValue",
    "ReportTable",
    "Row",
    "metric_named",
]
