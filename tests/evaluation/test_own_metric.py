"""A metric defined outside the package: one class and one line of registration."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import sfumato.evaluation
from cli.conftest import run_main
from sfumato.data import ImageSet
from sfumato.diffusion.denoiser import Denoiser
from sfumato.errors import ConfigError
from sfumato.evaluation import EvalContext, Measurement, Metric, Row
from sfumato.evaluation.evaluate import evaluate, requested_metrics
from sfumato.evaluation.subject import Subject
from sfumato.metrics import Features, features_for


class Brightness(Metric):
    """Mean brightness of samples and held-out images, 0 to 1."""

    def measure(self, context: EvalContext) -> Measurement:
        """Measures both means."""
        samples, held_out = (
            (1 + images.floats().mean().item()) / 2 for images in (context.subject.samples, context.subject.held_out)
        )
        return Measurement(
            {"samples": samples, "held_out": held_out},
            rows=[Row("mean brightness", f"{samples:.2f}", f"{held_out:.2f}")],
            sentences=["Measured outside the package."],
        )


class Impossible(Brightness):
    """A metric that is never measured by default, and whose requirement is never met."""

    def check(self, features: Features, model: Denoiser | None) -> None:
        """Rejects all features."""
        del model
        raise ConfigError(f"impossible cannot use {features.name}", "Name another metric.")

    def is_default(self, subject: Subject, features: Features) -> bool:
        """Never."""
        del subject, features
        return False


METRIC = """
from dataclasses import dataclass
from sfumato.evaluation import Measurement, Metric, Row

@dataclass(frozen=True)
class Scaled(Metric):
    factor: float = 1.0

    def measure(self, context):
        return Measurement({"factor": self.factor}, rows=[Row("factor", f"{self.factor:.1f}")])
"""


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    """Both metrics, registered during a test."""
    before = dict(sfumato.evaluation.METRICS)
    sfumato.evaluation.METRICS["brightness"] = Brightness()
    sfumato.evaluation.METRICS["impossible"] = Impossible()
    yield
    sfumato.evaluation.METRICS.clear()
    sfumato.evaluation.METRICS.update(before)


def constant(count: int, value: int) -> ImageSet:
    images = torch.full((count, 1, 8, 8), value)
    images[:, :, 0, 0] = torch.arange(count)[:, None]
    return ImageSet.of(images.byte())


@pytest.fixture
def context(tmp_path: Path) -> EvalContext:
    subject = Subject("greys", constant(30, 51), constant(60, 204), constant(20, 204))
    return EvalContext(subject, features_for("pixels"), torch.device("cpu"), tmp_path, tmp_path)


def test_a_registered_metric_is_measured_by_default(context: EvalContext) -> None:
    facts = evaluate(context).facts
    assert list(facts["metrics"]) == ["distance", "coverage", "memorization", "drift", "brightness"]
    assert facts["metrics"]["brightness"]["held_out"] == pytest.approx(0.8, abs=0.02)


def test_only_metrics_that_depend_on_the_number_of_samples_warn(context: EvalContext) -> None:
    assert "here 30" in evaluate(context, ["distance"]).facts["warning"]
    assert evaluate(context, ["distance", "coverage"]).facts["warning"].count("here 30") == 1
    assert evaluate(context, ["drift", "brightness"]).facts["warning"] is None


def test_an_unmet_requirement_is_reported_before_sampling(context: EvalContext) -> None:
    with pytest.raises(ConfigError, match="impossible cannot use pixels"):
        requested_metrics(["brightness", "impossible"], context.features, None)


def test_the_command_line_prints_a_registered_metric(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = torch.randint(0, 256, (30, 8, 8, 1), generator=torch.Generator().manual_seed(0)).byte().numpy()
    for name in ("samples", "data"):
        with (tmp_path / f"{name}.npy").open("wb") as file:
            np.save(file, images)
    files = (str(tmp_path / "samples.npy"), str(tmp_path / "data.npy"))
    command = ["eval", *files, "--metrics", "brightness", "--device", "cpu", "--out", str(tmp_path / "out")]
    assert run_main(command) == 0
    printed = capsys.readouterr().out
    assert "mean brightness" in printed
    assert "Measured outside the package." in printed
    assert run_main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["brightness"]["samples"] == pytest.approx(0.5, abs=0.05)


def test_a_metric_is_named_by_its_import_path(context: EvalContext, tmp_path: Path) -> None:
    (tmp_path / "mymetric.py").write_text(METRIC)
    name = f"{tmp_path / 'mymetric.py'}:Scaled:factor=2.5"
    assert evaluate(context, [name, "drift"]).facts["metrics"][name] == {"factor": 2.5}


def test_an_import_path_that_gives_no_metric_is_rejected(context: EvalContext, tmp_path: Path) -> None:
    (tmp_path / "mycount.py").write_text("def count():\n    return 3\n")
    with pytest.raises(ConfigError, match=r"mycount\.py:count is 3\. Name a subclass of .*Metric, or a function"):
        evaluate(context, [f"{tmp_path / 'mycount.py'}:count"])


def test_a_metric_that_cannot_be_built_is_reported(context: EvalContext, tmp_path: Path) -> None:
    (tmp_path / "mymetric.py").write_text(METRIC)
    with pytest.raises(ConfigError, match=r"Scaled:foo=3 cannot be built: TypeError: .*foo.*Give its arguments as"):
        evaluate(context, [f"{tmp_path / 'mymetric.py'}:Scaled:foo=3"])


@pytest.mark.parametrize("given", [Brightness, object()])
def test_a_registered_object_that_is_no_metric_is_rejected(context: EvalContext, given: Metric) -> None:
    sfumato.evaluation.METRICS["brightness"] = given
    with pytest.raises(ConfigError, match=r"the metric brightness is <.*Register an object of a subclass of .*Metric"):
        evaluate(context)


def test_an_unknown_metric_is_rejected_with_a_list_of_names(context: EvalContext) -> None:
    with pytest.raises(ConfigError, match=r"the metric 'beauty' is unknown\. Choose among: distance, coverage, acc"):
        evaluate(context, ["beauty"])
