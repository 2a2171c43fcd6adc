"""Base class of metrics, and the measurement that a metric returns for the JSON output and the printed report."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sfumato.diffusion.denoiser import Denoiser
from sfumato.errors import TooFewImagesError
from sfumato.evaluation.context import EvalContext
from sfumato.evaluation.subject import Subject
from sfumato.metrics.features import Features

Result = TypeVar("Result")

Facts = dict[str, Any]
"""JSON object."""

UNEQUAL = ""
"""Cell of held-out images for a value that depends on the number of images, if there are not as many as samples."""

FEW_SAMPLES = 10_000
"""Below this number of samples, a distance depends noticeably on the number."""


@dataclass(frozen=True)
class Row:
    """Row of the main table: a value of the samples and the same value of held-out real images."""

    label: str
    samples: str = ""
    held_out: str = ""


@dataclass(frozen=True)
class MetricValue:
    """Value of a metric in the metadata of a model card.

    Attributes:
        kind: Identifier of the quantity, such as "fid".
        name: Name of the quantity, with the features that it depends on.
        value: The value.
        images: Number of images that were measured.
    """

    kind: str
    name: str
    value: float
    images: int


@dataclass(frozen=True)
class ClassColumn:
    """Column of the table of classes.

    Columns of several metrics with the same title are merged.

    Attributes:
        title: Column title.
        values: Value of each class name; None where it cannot be measured. Integers are printed as counts.
        is_score: Whether the value is a score in [0, 1], higher is better. Classes are sorted by their mean score.
    """

    title: str
    values: Mapping[str, float | None]
    is_score: bool = True


@dataclass(frozen=True)
class ReportTable:
    """Additional table of a metric."""

    titles: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Measurement:
    """Result of a metric.

    Attributes:
        facts: Content of the JSON output.
        rows: Rows of the main table.
        class_columns: Columns of the table of classes.
        tables: Additional tables, printed after those.
        sentences: Sentences printed after the tables.
        warnings: Sentences printed before the other sentences.
        pictures: Files written.
    """

    facts: Facts
    rows: Sequence[Row] = ()
    class_columns: Sequence[ClassColumn] = ()
    tables: Sequence[ReportTable] = ()
    sentences: Sequence[str] = ()
    warnings: Sequence[str] = ()
    pictures: Sequence[Path] = ()


class Metric(ABC):
    """Metric of `sfumato eval`, registered by name in `sfumato.evaluation.METRICS`."""

    def check(self, features: Features, model: Denoiser | None) -> None:  # noqa: B027 (most metrics need nothing)
        """Checks the requirements of the metric before samples are generated.

        Args:
            features: Feature extractor of the evaluation.
            model: Model that generates the samples; None if it is not known.

        Raises:
            ConfigError: The metric cannot be measured.
        """

    def is_default(self, subject: Subject, features: Features) -> bool:
        """Whether the metric is measured when no metric is named."""
        del subject, features
        return True

    @abstractmethod
    def measure(self, context: EvalContext) -> Measurement:
        """Measures the samples and, for comparison, the held-out real images.

        Raises:
            ConfigError: The images do not allow it.
            DataError: The images or features cannot be compared.
        """

    def rows(self, facts: Facts) -> Sequence[Row]:
        """Rows of the main table, from the facts of the JSON output; without them, model cards have no rows."""
        del facts
        return ()

    def values(self, facts: Facts) -> Sequence[MetricValue]:
        """Values for the metadata of a model card, from the facts of the JSON output."""
        del facts
        return ()


def none_if_too_few(measure: Callable[[], Result]) -> Result | None:
    """Result of `measure`; None if there are too few images."""
    try:
        return measure()
    except TooFewImagesError:
        return None


def few_samples_warning(samples: int) -> tuple[str, ...]:
    """Warning of metrics that depend on the number of samples; empty from `FEW_SAMPLES` samples."""
    if samples >= FEW_SAMPLES:
        return ()
    return (
        f"Few samples: Frechet distance, recall and coverage depend on the number of samples, here {samples:,}. "
        f"Compare them only between equal numbers of samples, or evaluate {FEW_SAMPLES:,} or more.",
    )


def number_cell(value: float | None) -> str:
    """Table cell of a number with four significant digits; None is too few images."""
    return "too few images" if value is None else f"{value:.4g}"


def counted(count: int, noun: str) -> str:
    """Count with a noun in the singular or plural.

    >>> counted(1, "image"), counted(2000, "image")
    ('1 image', '2,000 images')
    """
    return f"{count:,} {noun}{'s' if count != 1 else ''}"
