"""Results of evaluations for a model card: a table, sentences, and entries of its metadata."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sfumato.evaluation import METRICS, Row
from sfumato.evaluation.metric import Facts, number_cell

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

TASK = "unconditional-image-generation"
"""Name of the task in the Hub's list of pipeline tags."""

GUIDANCE = {"AutoGuided": "autoguidance", "ClassifierFree": "classifier-free guidance"}
"""Kinds of guidance, by their classes."""


class Results:
    """The last result of each metric in each feature space.

    Args:
        evaluations: lines of evaluations.jsonl for one model, oldest first.
    """

    def __init__(self, evaluations: Sequence[Facts]) -> None:
        self.found: dict[tuple[str, str], Facts] = {}
        for facts in evaluations:
            for metric in facts["metrics"]:
                self.found[facts["features"], metric] = facts

    def tables(self) -> Iterator[tuple[str, list[Row]]]:
        """A caption and rows for each evaluation and feature space."""
        captions: dict[str, list[Row]] = {}
        for (features, metric), facts in self.found.items():
            rows = _with_full_labels(METRICS[metric].rows(facts["metrics"][metric]))
            captions.setdefault(_caption(features, facts), []).extend(rows)
        yield from ((caption, rows) for caption, rows in captions.items() if rows)

    def copies(self) -> list[str]:
        """Sentences on copies of training images among the samples."""
        sentences: dict[str, str] = {}
        for (_, metric), facts in self.found.items():
            if metric == "memorization":
                sentences |= {name: found["sentence"] for name, found in facts["metrics"][metric].items()}
        return [f"By {name}: {sentence}" for name, sentence in sentences.items()]

    def entries(self, data_type: str, data_name: str) -> "list[EvalResult]":
        """Entries of the metadata `model-index`.

        Args:
            data_type: identifier of the data set.
            data_name: name of the data set.
        """
        from huggingface_hub import EvalResult

        return [
            EvalResult(
                task_type=TASK,
                task_name="Unconditional Image Generation",
                dataset_type=data_type,
                dataset_name=data_name,
                metric_type=found.kind,
                metric_name=found.name,
                metric_value=float(f"{found.value:.4g}"),
                metric_args={"features": features, "images": found.images, "training_images": facts["train"]},
            )
            for (features, metric), facts in self.found.items()
            for found in METRICS[metric].values(facts["metrics"][metric])
        ]


def _caption(features: str, facts: Facts) -> str:
    """The number of images and the sampling of an evaluation."""
    sampling = facts["model"]
    guidance = ", ".join(f"{GUIDANCE.get(kind, kind)} at scale {scale:g}" for kind, scale in sampling["guidance"])
    steps = f"{sampling['steps']} steps of `{sampling['solver']}`, {guidance or 'without guidance'}"
    return (
        f"{facts['samples']:,} samples ({steps}), "
        f"compared with {facts['train']:,} training images and {facts['held_out']:,} real images that were not used "
        f"for training. Feature space: {features}."
    )


def _with_full_labels(rows: Iterable[Row]) -> Iterator[Row]:
    """The rows with values; an indented label is appended to the one that it belongs to."""
    label = ""
    for row in rows:
        is_part = row.label.startswith(" ")
        label = label if is_part else row.label
        if {row.samples, row.held_out} - {"", number_cell(None)}:
            yield replace(row, label=f"{label}, {row.label.strip()}" if is_part else label)
