"""The order of samples, which files often sort by class, does not bias the metrics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sfumato.data import ImageSet
from sfumato.data.sources import DEFAULT_OPTIONS
from sfumato.evaluation import METRICS, coverage_metric
from sfumato.evaluation.context import EvalContext
from sfumato.evaluation.from_files import subject_of_files
from sfumato.evaluation.subject import Subject, representative_indices
from sfumato.metrics import features_for


def halves(count: int, seed: int) -> ImageSet:
    """Dark images, followed by bright images."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) * 2 // count
    images = torch.randint(0, 100, (count, 1, 8, 8), generator=generator) + 150 * labels[:, None, None, None]
    return ImageSet.of(images.byte(), labels, ("dark", "bright"))


@pytest.fixture
def context(tmp_path: Path) -> EvalContext:
    """Half as many held-out images as samples."""
    train = halves(400, 1).select(torch.randperm(400, generator=torch.Generator().manual_seed(3)))
    subject = Subject("halves", halves(200, 0), train, halves(100, 2))
    return EvalContext(subject, features_for("pixels"), torch.device("cpu"), tmp_path, tmp_path)


def test_equal_numbers_of_images_are_chosen_from_all_classes(context: EvalContext) -> None:
    distances = METRICS["distance"].measure(context).facts["as_many"]
    assert distances["images"] == 100
    assert distances["samples"] < 2 * distances["held_out"]
    shares = METRICS["coverage"].measure(context).facts["as_many"]
    assert shares["samples"]["recall"] > 0.9 * shares["held_out"]["recall"]


def test_compared_samples_are_chosen_from_all_classes(context: EvalContext, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = METRICS["coverage"].measure(context).facts
    monkeypatch.setattr(coverage_metric, "MOST_COMPARED", 100)
    some = METRICS["coverage"].measure(context).facts
    assert {name: of["images"] for name, of in everything["classes"].items()} == {"dark": 100, "bright": 100}
    counts = [of["images"] for of in some["classes"].values() if of]
    assert sum(counts) == some["samples"]["images"] == 100
    assert max(counts) < 70


def test_a_part_of_the_files_is_chosen_from_all_classes(tmp_path: Path) -> None:
    images = halves(200, 0)
    np.savez(tmp_path / "drawn.npz", images=images.floats().numpy(), labels=images.labels)
    found = subject_of_files(str(tmp_path / "drawn.npz"), str(tmp_path / "drawn.npz"), 60, DEFAULT_OPTIONS, tmp_path)
    labels = found.samples.labels
    assert labels is not None
    assert len(labels) == 60
    assert 20 < labels.sum() < 40


def test_representative_indices_are_the_same_in_each_call() -> None:
    assert torch.equal(representative_indices(1000, 10), representative_indices(1000, 10))
    assert len(set(representative_indices(1000, 10).tolist())) == 10
    assert representative_indices(5, 10).tolist() == [0, 1, 2, 3, 4]
