"""What cannot be measured: too few images are a gap in the table, anything else is told for what it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from sfumato.data import ImageSet
from sfumato.errors import DataError
from sfumato.evaluation.evaluate import MEASURES, EvalContext, memorization
from sfumato.evaluation.report import rows
from sfumato.evaluation.run import evaluate_subject
from sfumato.evaluation.subject import Subject
from sfumato.metrics import Features, NetworkOutput, features_for


class Huge(Features):
    """Finite numbers whose squares are not."""

    name, width = "huge", 4

    def _look(self, images: torch.Tensor) -> NetworkOutput:
        return NetworkOutput(images.flatten(1)[:, :4] * 1e25, None)


def noise(count: int, seed: int) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    return ImageSet.of(torch.randint(0, 256, (count, 1, 8, 8), generator=generator).byte())


def bench(features: Features, cache: Path, samples: int = 40, held_out: int = 20) -> EvalContext:
    subject = Subject("noise", noise(samples, 0), noise(60, 1), noise(held_out, 2))
    return EvalContext(subject, features, torch.device("cpu"), cache)


class Dark(Features):
    """The same of all images."""

    name, width = "dark", 4

    def _look(self, images: torch.Tensor) -> NetworkOutput:
        return NetworkOutput(torch.zeros(len(images), 4), None)


def test_features_too_far_apart_to_measure_are_not_called_too_few_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="too far apart"):
        MEASURES["coverage"](bench(Huge(), tmp_path))


def test_too_few_images_leave_gaps_and_everything_else_is_measured(tmp_path: Path) -> None:
    few = bench(features_for("pixels"), tmp_path, held_out=3)
    distance, coverage = MEASURES["distance"](few), MEASURES["coverage"](few)
    assert distance["held_out"]["frechet"] > 0
    assert distance["held_out"]["kernel"] is distance["held_out"]["frechet_limit"] is None
    assert coverage["samples"]["precision"] > 0
    assert coverage["held_out"] is None


@pytest.mark.parametrize("metrics", [(), ("memorization",)])
def test_real_images_that_are_all_one_say_why_copies_cannot_be_told_and_the_rest_is_measured(
    metrics: Sequence[str], tmp_path: Path
) -> None:
    grey = ImageSet.of(torch.full((40, 1, 8, 8), 200).byte())
    subject = Subject("noise", noise(40, 0), grey, grey.select(torch.arange(5)))
    found = evaluate_subject(
        EvalContext(subject, features_for("pixels"), torch.device("cpu"), tmp_path), metrics, None, tmp_path
    )
    pixels = found["metrics"]["memorization"]["pixels"]
    assert pixels == {
        "verdict": None,
        "sentence": "Copies cannot be told: 1 different training image(s) are too few to judge samples by. Give at "
        "least 11.",
    }
    assert list(found["metrics"]) == list(metrics or ("distance", "coverage", "memorization", "drift"))
    assert [Path(picture).name for picture in found["pictures"]] == ["samples.png"]


def test_features_that_are_all_one_leave_the_verdict_by_pixels(tmp_path: Path) -> None:
    facts, by_pixels = memorization(bench(Dark(), tmp_path))
    assert by_pixels is not None
    assert facts["pixels"]["verdict"] == by_pixels.verdict == "no sign"
    assert "1 different training image(s)" in facts["dark"]["sentence"]


def test_a_single_held_out_image_is_too_few_for_a_distance_and_that_of_the_samples_is_told(tmp_path: Path) -> None:
    found = MEASURES["distance"](bench(features_for("pixels"), tmp_path, held_out=1))
    assert found["samples"]["frechet"] > 0
    assert found["held_out"]["frechet"] is found["held_out"]["frechet_interval"] is None
    assert found["as_many"] == {"images": 1, "samples": None, "held_out": None}
    assert [row[2] for row in rows({"distance": found})] == ["too few images"] * 4
