"""The model card: valid metadata, and a text that describes the model."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from exchange.conftest import build, convnet, unet
from exchange.small_models import small_model
from sfumato.evaluation import METRICS, EvalContext, Measurement, Metric, MetricValue, Row
from sfumato.sharing.card import MARK, Publication, card
from sfumato.sharing.published import without_folders
from sfumato.training.config import NetworkConfig, TrainConfig
from sfumato.training.presets import PRESETS
from sfumato.training.run_directory import DataRecord, RunRecord

DATA_NAME = re.compile(r"(?:[\w-]+/)?[\w.-]+")
"""Names of data sets that the Hub accepts in metadata."""

DISTANCE = {
    "samples": {"images": 200, "frechet": 11.19734, "frechet_interval": [9.5, 12.9], "frechet_limit": None}
    | {"kernel": {"distance": 0.0792713, "error": 0.06, "images": 150}},
    "held_out": {"images": 90, "frechet": 10.9, "frechet_interval": [7.6, 14.3], "frechet_limit": None, "kernel": None},
    "as_many": {"images": 90, "samples": 15.81, "held_out": 10.96},
    "features": "inception",
}
SCORES = {"images": 200, "precision": 0.5, "recall": 0.25, "density": 0.75, "coverage": 0.125}
COVERAGE = {
    "samples": SCORES,
    "held_out": None,
    "as_many": {"images": 0, "samples": None, "held_out": None},
    "features": "inception",
}
SENTENCE = "No sign of copies: 0 of 200 samples."


def evaluation(metrics: dict[str, Any], features: str = "inception", samples: int = 200) -> dict[str, Any]:
    """A line of evaluations.jsonl."""
    model = {"images_seen": 640, "solver": "dpm-2m", "steps": 20, "guidance": [["AutoGuided", 1.5]]}
    counts = {"samples": samples, "train": 1707, "held_out": 90}
    return counts | {"features": features, "model": model, "metrics": metrics}


def record(source: str = "/home/me/photos of cats", start: str | None = None) -> RunRecord:
    """The configuration of a run."""
    network = NetworkConfig(start=start)
    config = TrainConfig(source, network=network, optimization=PRESETS["ddpm"].optimization)
    return RunRecord(config, DataRecord(1797, (3, 8, 8), (), "0"))


def publication(**changes: Any) -> Publication:  # noqa: ANN401
    """A publication of a small model."""
    given = {"repository": "anna/pets", "model": build(unet()), "is_stock": False}
    return Publication(**given | changes)


def metadata(text: str) -> dict[str, Any]:
    """The metadata of a card, after checks of its form."""
    found: dict[str, Any] = ModelCard(text).data.to_dict()
    assert found == yaml.safe_load(text.split("---\n")[1])
    assert found["library_name"] == "diffusers"
    assert found["pipeline_tag"] == "unconditional-image-generation"
    assert found["tags"][:2] == ["sfumato", "diffusion"]
    assert all(DATA_NAME.fullmatch(name) for name in found.get("datasets", ["mnist"]))
    for index in found.get("model-index", []):
        for result in index["results"]:
            assert DATA_NAME.fullmatch(result["dataset"]["type"])
            assert result["dataset"]["name"]
            assert all(isinstance(metric["value"], float) for metric in result["metrics"])
    return found


def test_a_card_without_a_run_describes_the_model() -> None:
    text = card(publication(), "", {})
    found = metadata(text)
    assert set(found) == {"library_name", "pipeline_tag", "tags"}
    assert "# pets\n" in text
    assert "An unconditional diffusion model of images of 8x8 pixels (RGB, 8 bits)." in text
    assert "| images seen | 640, repetitions included |" in text
    assert "The author has not chosen a license." in text
    assert "was not measured" in text
    assert "config.toml" not in text
    assert text.endswith(f"{MARK}\n")


def test_a_stock_model_is_loaded_without_code_of_the_repository() -> None:
    text = card(publication(is_stock=True), "", {})
    assert 'DDPMPipeline.from_pretrained("anna/pets")\n' in text
    assert "trust_remote_code" not in text


def test_results_are_in_the_metadata_and_the_text() -> None:
    memorization = {"pixels": {"sentence": SENTENCE}}
    evaluations = [
        evaluation({"coverage": COVERAGE | {"features": "pixels"}}, "pixels", samples=77),
        evaluation({"distance": DISTANCE, "coverage": COVERAGE, "memorization": memorization}),
    ]
    text = card(publication(record=record(), evaluations=evaluations), "", {})
    (index,) = metadata(text)["model-index"]
    assert index["name"] == "pets"
    (result,) = index["results"]
    assert result["dataset"] == {"name": "photos of cats", "type": "images"}  # no data set of the Hub
    values = {metric["name"]: metric["value"] for metric in result["metrics"]}
    assert values == {
        "FID": 11.2,
        "KID": 0.07927,
        **{f"{name.capitalize()} (inception)": SCORES[name] for name in ("precision", "recall", "density", "coverage")},
        **{f"{name.capitalize()} (pixels)": SCORES[name] for name in ("precision", "recall", "density", "coverage")},
    }
    assert result["metrics"][-1]["args"] == {"features": "inception", "images": 200, "training_images": 1707}
    assert "| Frechet distance | 11.2 (9.5 to 12.9) |  |" in text
    assert "| Frechet distance, 90 images each | 15.81 | 10.96 |" in text
    assert "200 samples (20 steps of `dpm-2m`, autoguidance at scale 1.5)" in text
    assert "77 samples" in text
    assert f"- By pixels: {SENTENCE}" in text
    assert "was not measured" not in text


def test_the_last_result_of_a_metric_counts() -> None:
    better = DISTANCE | {"samples": DISTANCE["samples"] | {"frechet": 2.0}}
    evaluations = [evaluation({"distance": DISTANCE}), evaluation({"distance": better})]
    text = card(publication(evaluations=evaluations), "", {})
    assert [metric["value"] for metric in metadata(text)["model-index"][0]["results"][0]["metrics"]] == [2.0, 0.07927]
    assert text.count("| Frechet distance |") == 1


def test_other_metrics_have_rows() -> None:
    accuracy = {"samples": {"images": 200, "share": 0.875, "classes": {}}, "held_out": None}
    likelihood = {"bits": 3.14159, "error": 0.1, "images": 64}
    text = card(publication(evaluations=[evaluation({"accuracy": accuracy, "likelihood": likelihood})]), "", {})
    values = [metric["value"] for metric in metadata(text)["model-index"][0]["results"][0]["metrics"]]
    assert values == [0.875, 3.142]
    assert "| classifier accuracy | 87.5 % |  |" in text
    assert "| bits per dimension |  | 3.142 +- 0.100 (64 images) |" in text


def test_a_registered_metric_has_rows_and_values(monkeypatch: pytest.MonkeyPatch) -> None:
    class Brightness(Metric):
        def measure(self, context: EvalContext) -> Measurement:
            raise NotImplementedError

        def rows(self, facts: dict[str, Any]) -> list[Row]:
            return [Row("brightness", f"{facts['mean']}")]

        def values(self, facts: dict[str, Any]) -> list[MetricValue]:
            return [MetricValue("brightness", "Mean brightness", facts["mean"], 200)]

    monkeypatch.setitem(METRICS, "brightness", Brightness())
    text = card(publication(evaluations=[evaluation({"brightness": {"mean": 0.5}})]), "", {})
    (metric,) = metadata(text)["model-index"][0]["results"][0]["metrics"]
    assert (metric["type"], metric["name"], metric["value"]) == ("brightness", "Mean brightness", 0.5)
    assert "| brightness | 0.5 |  |" in text


def test_few_images_give_no_value() -> None:
    empty = {"images": 1, "frechet": None, "frechet_interval": None, "frechet_limit": None, "kernel": None}
    equal = {"images": 1, "samples": None, "held_out": None}
    distance = {"samples": empty, "held_out": empty, "as_many": equal, "features": "inception"}
    coverage = COVERAGE | {"samples": None}
    text = card(publication(evaluations=[evaluation({"distance": distance, "coverage": coverage})]), "", {})
    assert "model-index" not in metadata(text)
    assert "## Results" not in text


@pytest.mark.parametrize(
    ("source", "given", "expected"),
    [
        ("hf:me/cats", (), None),  # may have been a local folder
        ("hf:me/cats:train", ("anna/cats", "mnist"), ["anna/cats", "mnist"]),
        ("/home/me/photos", ("anna/cats",), ["anna/cats"]),
        ("hf:/home/me/photos", (), None),
        ("digits", (), None),
    ],
)
def test_data_sets_of_the_hub_are_named(source: str, given: tuple[str, ...], expected: list[str] | None) -> None:
    text = card(publication(record=record(source), data_sets=given), "", {})
    assert metadata(text).get("datasets") == expected
    assert "me/" not in text


def test_results_name_the_given_data_set() -> None:
    evaluations = [evaluation({"distance": DISTANCE})]
    text = card(publication(record=record(), evaluations=evaluations, data_sets=["anna/cats"]), "", {})
    (index,) = metadata(text)["model-index"]
    assert index["results"][0]["dataset"] == {"name": "anna/cats", "type": "anna/cats"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/me/photos/", "photos"),
        ("C:\\Users\\me\\photos.zip", "photos.zip"),
        ("hf:C:\\Users\\me\\photos", "photos"),
        ("../me/losses.py:huber", "losses.py:huber"),
        ("hf:anna/cats", "cats"),
        ("hf:data/cats:train", "cats:train"),
        ("log-normal:mean=-0.5", "log-normal:mean=-0.5"),
        (".", "."),
    ],
)
def test_folders_are_removed(text: str, expected: str) -> None:
    assert without_folders(text) == expected


def test_the_model_of_a_fine_tuned_run_is_named() -> None:
    text = card(publication(record=record("digits", "hf:google/ddpm-cifar10-32")), "", {})
    assert metadata(text)["base_model"] == "google/ddpm-cifar10-32"
    local = card(publication(record=record("digits", "/home/me/runs/cats")), "", {})
    assert "base_model" not in metadata(local)
    assert "| started from | cats |" in local
    revision = card(publication(record=record("digits", "hf:google/ddpm@v1")), "", {})
    assert metadata(revision)["base_model"] == "google/ddpm"


def test_names_of_classes_do_not_break_the_text() -> None:
    model = build(convnet(classes=2))
    object.__setattr__(model, "label_names", ('a|b"\n', "<b>_c_"))
    text = card(publication(model=model), "", {})
    metadata(text)
    assert '| classes | 2: a\\|b"\\\\n, \\<b\\>\\_c\\_ |' in text
    assert 'labels=["a|b\\"\\n", "<b>_c_"]' in text


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("unet, data, columns", "A conditional diffusion model of images of 8x8 pixels (RGB, 8 bits)"),
        ("unet, noise, classes", "A class-conditional diffusion model of images of 8x8 pixels (grey, 8 bits)"),
        ("convnet, flow, augmentation", "images of 8x8 pixels (4 channels, 8 bits)"),
        ("unet, velocity, zero terminal SNR, odd sizes", "images of 7x9 pixels"),
    ],
)
def test_models_of_each_kind_are_described(kind: str, expected: str) -> None:
    text = card(publication(model=small_model(kind)), "", {})
    metadata(text)
    assert expected in text


def test_conditions_are_described() -> None:
    text = card(publication(model=small_model("unet, data, columns")), "", {})
    assert "| conditions | colour (blue, red), age" in text


def test_metadata_of_an_earlier_card_is_kept() -> None:
    earlier = {"license": "mit", "language": ["en"], "tags": ["pets", "sfumato"], "model-index": [{"name": "old"}]}
    found = metadata(card(publication(), "", earlier | {3: "invalid"}))  # type: ignore[dict-item]
    assert (found["license"], found["language"], found["tags"]) == ("mit", ["en"], ["sfumato", "diffusion", "pets"])
    assert "model-index" not in found
    assert metadata(card(publication(license="cc0-1.0"), "", earlier))["license"] == "cc0-1.0"


@pytest.mark.parametrize("name", ["1e5", "true", "null", "2024"])
def test_a_name_that_yaml_would_convert_stays_text(name: str) -> None:
    evaluations = [evaluation({"distance": DISTANCE})]
    text = card(publication(repository=f"anna/{name}", record=record(f"/a/{name}"), evaluations=evaluations), "", {})
    (index,) = metadata(text)["model-index"]
    assert index["name"] == name
    assert index["results"][0]["dataset"]["name"] == name


def test_what_an_earlier_card_said_of_its_model_is_not_kept() -> None:
    earlier = {"datasets": ["old/set"], "base_model": "x/y", "model_name": "old", "library_name": "old"}
    text = card(publication(), "", earlier)
    assert set(metadata(text)) == {"library_name", "pipeline_tag", "tags"}
    assert "old" not in text
