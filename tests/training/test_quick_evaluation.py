"""Quick evaluation: the distance of `eval` with the same samples each time, without an effect on training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from sfumato.data import ImageSet
from sfumato.diffusion import analytic
from sfumato.diffusion.denoiser import Denoiser
from sfumato.diffusion.schedules import LinearBeta, build_schedule
from sfumato.errors import ConfigError
from sfumato.evaluation.samples import generate_to_disk
from sfumato.metrics import Moments, features_for, frechet_distance
from sfumato.metrics.features.custom import EXTRACTORS
from sfumato.training import quick_evaluation
from sfumato.training.measurements import read_metrics
from sfumato.training.quick_evaluation import QuickEvaluation, quick_sampler_config
from sfumato.training.run_directory import read_record
from sfumato.training.train import train

from .own_networks import SETTINGS, pictures

PIXELS = features_for("pixels")


def patterns(count: int, seed: int) -> ImageSet:
    """Images of 1x8x8, brighter to the right, by how much is random."""
    generator = torch.Generator().manual_seed(seed)
    slope = torch.rand(count, 1, 1, 1, generator=generator)
    ramp = torch.linspace(0, 200, 8).expand(count, 1, 8, 8) * slope
    labels = (slope.flatten() > 0.25).long()
    return ImageSet.of((ramp + 20 * torch.rand(count, 1, 8, 8, generator=generator)).byte(), labels, ("flat", "steep"))


IMAGES, HELD_OUT = patterns(200, 0), patterns(60, 1)
EXACT = analytic.images(LinearBeta(), IMAGES.floats())
"""Draws the images themselves."""

GREY = analytic.gaussian(LinearBeta(), mean=torch.zeros(1, 8, 8), variance=0.04)
"""Draws noise around grey."""


def evaluation(count: int = 50, held_out: ImageSet = HELD_OUT, seed: int = 0) -> QuickEvaluation:
    return QuickEvaluation(IMAGES, held_out, count, "pixels", seed)


def distance_of(images: Tensor) -> float:
    reference = Moments.of(PIXELS(IMAGES.floats()))
    return frechet_distance(reference, Moments.of(PIXELS(images)))


def test_the_distance_equals_that_of_samples_in_files(tmp_path: Path) -> None:
    found = evaluation(seed=3).measure(GREY)
    samples = generate_to_disk(GREY, IMAGES.depth, 50, quick_sampler_config(GREY.schedule), tmp_path, seed=3)
    assert found["distance"] == pytest.approx(distance_of(samples.floats()), rel=1e-9)
    assert {name: found[name] for name in ("features", "count")} == {"features": "pixels", "count": 50}
    assert found["seconds"] > 0


def test_a_better_model_has_a_smaller_distance() -> None:
    measured = evaluation()
    assert measured.measure(EXACT)["distance"] < 0.2 * measured.measure(GREY)["distance"]


def test_the_distance_is_reproducible_without_global_generators() -> None:
    before, measured = torch.get_rng_state(), evaluation()
    first, second = (measured.measure(EXACT)["distance"] for _ in range(2))
    assert first == second
    assert torch.equal(torch.get_rng_state(), before)
    assert evaluation(seed=1).measure(EXACT)["distance"] != first


def test_the_reference_distance_uses_as_many_validation_images() -> None:
    expected = distance_of(HELD_OUT.floats()[:50])
    assert evaluation(50).measure(EXACT)["held_out"] == pytest.approx(expected, rel=1e-6)
    assert evaluation(61).measure(EXACT)["held_out"] is None


class Broken(Denoiser):
    """Whose estimates are not finite."""

    def __init__(self) -> None:
        super().__init__(LinearBeta(), (1, 8, 8))

    def forward(self, x_t: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """NaN."""
        del t, labels
        return torch.full_like(x_t, torch.nan)


def test_samples_that_are_not_finite_have_no_distance() -> None:
    assert evaluation().measure(Broken())["distance"] is None


def test_on_step_is_called_for_every_step_and_can_interrupt() -> None:
    heard: list[int] = []
    evaluation(70).measure(EXACT, heard.append)
    assert sum(heard) == 70 * quick_evaluation.STEPS

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluation().measure(EXACT, stop)


def test_samples_have_the_class_proportions_of_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = quick_evaluation.sample_batches

    def watched(*arguments: object, **named: object) -> object:
        asked.extend(named["labels"])  # type: ignore[call-overload]
        return real(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(quick_evaluation, "sample_batches", watched)
    model = analytic.images(LinearBeta(), IMAGES.floats(), IMAGES.labels, IMAGES.label_names)
    evaluation(40).measure(model)
    assert abs(asked.count("steep") / 40 - IMAGES.labels.double().mean()) < 0.06  # type: ignore[union-attr]


@pytest.mark.parametrize("timesteps", [3, 7, 1000])
def test_short_schedules_have_a_sampler(timesteps: int) -> None:
    schedule = build_schedule(f"cosine:timesteps={timesteps}")
    assert len(quick_sampler_config(schedule).timesteps) == 1 + min(timesteps, quick_evaluation.STEPS)


def test_unknown_features_are_rejected_before_training() -> None:
    with pytest.raises(ConfigError, match="beauty"):
        QuickEvaluation(IMAGES, HELD_OUT, 50, "beauty", 0)


def test_the_feature_network_of_a_stored_config_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EXTRACTORS, "named", {})
    net = tmp_path / "net.py"
    code = "from torch import nn\n\nclass Net(nn.Flatten):\n    pass\n"
    net.write_text(code)
    settings = SETTINGS | {"eval_every": 24, "eval_count": 4, "eval_features": f"{net}:Net"}
    train(pictures(), tmp_path / "run", settings, preset="tiny", device="cpu")
    evaluations = [line for line in read_metrics(tmp_path / "run") if line["kind"] == "evaluation"]
    assert {line["features"][:4] for line in evaluations} == {"Net-"}
    assert str(net) in (tmp_path / "run" / "config.toml").read_text()
    net.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n{code}")
    monkeypatch.setattr(EXTRACTORS, "named", {})
    stored = read_record(tmp_path / "run").config
    with pytest.raises(ConfigError, match=r"the feature network is .*net.py:Net, whose code is not part of sfumato"):
        QuickEvaluation(IMAGES, HELD_OUT, 4, stored.monitoring.eval_features, 0)
    train(pictures(), tmp_path / "run", SETTINGS | {"images": 96}, preset="tiny", device="cpu")
    assert not (tmp_path / "ran").exists()
