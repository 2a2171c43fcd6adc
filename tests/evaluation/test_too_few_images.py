"""Too few images leave a gap in the table; other problems raise an error."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from sfumato.data import ImageSet
from sfumato.errors import DataError
from sfumato.evaluation import METRICS
from sfumato.evaluation.context import EvalContext
from sfumato.evaluation.evaluate import evaluate
from sfumato.evaluation.subject import Subject
from sfumato.metrics import Features, NetworkOutput, features_for


class Huge(Features):
    """Finite features with infinite squares."""

    name, width = "huge", 4

    def _outputs(self, images: torch.Tensor) -> NetworkOutput:
        return NetworkOutput(images.flatten(1)[:, :4] * 1e25, None)


def noise(count: int, seed: int) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    return ImageSet.of(torch.randint(0, 256, (count, 1, 8, 8), generator=generator).byte())


def context_of(features: Features, folder: Path, samples: int = 40, held_out: int = 20) -> EvalContext:
    subject = Subject("noise", noise(samples, 0), noise(60, 1), noise(held_out, 2))
    return EvalContext(subject, features, torch.device("cpu"), folder, folder)


class Dark(Features):
    """Equal features for all images."""

    name, width = "dark", 4

    def _outputs(self, images: torch.Tensor) -> NetworkOutput:
        return NetworkOutput(torch.zeros(len(images), 4), None)


def test_distant_features_are_not_reported_as_too_few_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="too far apart"):
        METRICS["coverage"].measure(context_of(Huge(), tmp_path))


def test_too_few_images_leave_gaps_and_all_else_is_measured(tmp_path: Path) -> None:
    few = context_of(features_for("pixels"), tmp_path, held_out=3)
    distance, coverage = (METRICS[name].measure(few).facts for name in ("distance", "coverage"))
    assert distance["held_out"]["frechet"] > 0
    assert distance["held_out"]["kernel"] is distance["held_out"]["frechet_limit"] is None
    assert coverage["samples"]["precision"] > 0
    assert coverage["held_out"] is None


@pytest.mark.parametrize("metrics", [(), ("memorization",)])
def test_equal_real_images_give_no_verdict_but_other_metrics(metrics: Sequence[str], tmp_path: Path) -> None:
    grey = ImageSet.of(torch.full((40, 1, 8, 8), 200).byte())
    subject = Subject("noise", noise(40, 0), grey, grey.select(torch.arange(5)))
    context = EvalContext(subject, features_for("pixels"), torch.device("cpu"), tmp_path, tmp_path)
    found = evaluate(context, metrics).facts
    pixels = found["metrics"]["memorization"]["pixels"]
    assert pixels == {
        "verdict": None,
        "sentence": "No verdict. 1 different training image(s) are too few to detect copies. Give at least 11.",
    }
    assert list(found["metrics"]) == list(metrics or ("distance", "coverage", "memorization", "drift"))
    assert [Path(picture).name for picture in found["pictures"]] == ["samples.png"]


def test_equal_features_leave_the_verdict_by_pixels(tmp_path: Path) -> None:
    facts = METRICS["memorization"].measure(context_of(Dark(), tmp_path)).facts
    assert facts["pixels"]["verdict"] == "no sign"
    assert "1 different training image(s)" in facts["dark"]["sentence"]


def test_one_held_out_image_has_no_distance_but_samples_do(tmp_path: Path) -> None:
    measured = METRICS["distance"].measure(context_of(features_for("pixels"), tmp_path, held_out=1))
    found = measured.facts
    assert found["samples"]["frechet"] > 0
    assert found["held_out"]["frechet"] is found["held_out"]["frechet_interval"] is None
    assert found["as_many"] == {"images": 1, "samples": None, "held_out": None}
    assert [row.held_out for row in measured.rows] == ["", *["too few images"] * 3]


@pytest.mark.parametrize(("samples", "is_compared"), [(40, False), (20, True)])
def test_only_equal_numbers_of_images_share_a_row(samples: int, is_compared: bool, tmp_path: Path) -> None:
    context = context_of(features_for("pixels"), tmp_path, samples=samples, held_out=20)
    rows = [row for name in ("distance", "coverage") for row in METRICS[name].measure(context).rows]
    compared = {row.label: bool(row.held_out) for row in rows}
    assert {label for label, is_filled in compared.items() if not is_filled} == (
        set() if is_compared else {"Frechet distance", "recall", "coverage"}
    )
    assert compared["  20 images each"]
    assert all(row.samples for row in rows)
