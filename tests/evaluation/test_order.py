"""Samples that are sorted, as files are by class, are judged as the same samples in any order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sfumato.data import ImageSet
from sfumato.data.sources import DEFAULT_OPTIONS
from sfumato.evaluation import evaluate
from sfumato.evaluation.evaluate import EvalContext, coverage, distance
from sfumato.evaluation.run import subject_of_files
from sfumato.evaluation.subject import Subject, some_of
from sfumato.metrics import features_for


def halves(count: int, seed: int) -> ImageSet:
    """Dark images, and after them bright ones."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) * 2 // count
    images = torch.randint(0, 100, (count, 1, 8, 8), generator=generator) + 150 * labels[:, None, None, None]
    return ImageSet.of(images.byte(), labels, ("dark", "bright"))


@pytest.fixture
def bench(tmp_path: Path) -> EvalContext:
    """As many held-out images as are half of the samples."""
    train = halves(400, 1).select(torch.randperm(400, generator=torch.Generator().manual_seed(3)))
    subject = Subject("halves", halves(200, 0), train, halves(100, 2))
    return EvalContext(subject, features_for("pixels"), torch.device("cpu"), tmp_path)


def test_numbers_of_as_many_are_of_samples_of_all_classes(bench: EvalContext) -> None:
    distances = distance(bench)["as_many"]
    assert distances["images"] == 100
    assert distances["samples"] < 2 * distances["held_out"]
    shares = coverage(bench)["as_many"]
    assert shares["samples"]["recall"] > 0.9 * shares["held_out"]["recall"]


def test_neighbours_are_those_of_samples_of_all_classes(bench: EvalContext, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = coverage(bench)
    monkeypatch.setattr(evaluate, "MOST_COMPARED", 100)
    some = coverage(bench)
    assert {name: of["images"] for name, of in everything["classes"].items()} == {"dark": 100, "bright": 100}
    counts = [of["images"] for of in some["classes"].values() if of]
    assert sum(counts) == some["samples"]["images"] == 100
    assert max(counts) < 70


def test_some_of_the_files_are_of_all_classes(tmp_path: Path) -> None:
    images = halves(200, 0)
    np.savez(tmp_path / "drawn.npz", images=images.floats().numpy(), labels=images.labels)
    found = subject_of_files(str(tmp_path / "drawn.npz"), str(tmp_path / "drawn.npz"), 60, DEFAULT_OPTIONS, tmp_path)
    labels = found.samples.labels
    assert labels is not None
    assert len(labels) == 60
    assert 20 < labels.sum() < 40


def test_some_are_the_same_each_time_and_all_if_there_are_fewer() -> None:
    assert torch.equal(some_of(1000, 10), some_of(1000, 10))
    assert len(set(some_of(1000, 10).tolist())) == 10
    assert some_of(5, 10).tolist() == [0, 1, 2, 3, 4]
