"""`sfumato eval`: measures a run or a folder of samples; prints a table or JSON, and records the result."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cli.conftest import TINY, Command, run_main
from sfumato.metrics import Features, NetworkOutput
from sfumato.sampling.generate import generate
from sfumato.utils.files import read_tensors, write_tensors


@pytest.fixture(scope="session")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 40 images of 8x8 random pixels each."""
    folder = tmp_path_factory.mktemp("eval") / "faces"
    random = np.random.default_rng(0)
    for label, brightness in (("dark", 0), ("light", 128)):
        (folder / label).mkdir(parents=True)
        for number in range(40):
            pixels = random.integers(brightness, brightness + 128, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number:02}.png")
    return folder


@pytest.fixture(scope="session")
def trained(faces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run trained on `faces`. Tests may only add evaluations to it."""
    out = tmp_path_factory.mktemp("eval") / "run"
    flags = ["--images", "40", "--validation-share", "0.3", *TINY]
    assert run_main(["train", str(faces), "--out", str(out), *flags]) == 0
    return out


QUICK = ("--steps", "4", "--count", "30", "--device", "cpu")


def facts(sfumato: Command, *arguments: object) -> dict[str, object]:
    outcome = sfumato("eval", *arguments, "--json")
    assert outcome.code == 0, outcome.error
    found: dict[str, object] = json.loads(outcome.out)
    return found


def test_a_run_is_compared_with_its_own_held_out_images(sfumato: Command, trained: Path, tmp_path: Path) -> None:
    found = facts(sfumato, trained, *QUICK, "--out", tmp_path)
    assert (found["samples"], found["train"], found["held_out"]) == (30, 56, 24)
    metrics = found["metrics"]
    assert isinstance(metrics, dict)
    assert list(metrics) == ["distance", "coverage", "memorization", "drift"]
    assert set(metrics["coverage"]["classes"]) == {"dark", "light"}
    assert metrics["memorization"]["pixels"]["verdict"] == "no sign"
    assert [Path(path).name for path in found["pictures"]] == ["samples.png", "closest.png"]  # type: ignore[attr-defined]
    for picture in found["pictures"]:  # type: ignore[attr-defined]
        with Image.open(picture) as image:
            image.load()
    (line,) = (tmp_path / "evaluations.jsonl").read_text().splitlines()
    assert json.loads(line)["metrics"] == metrics


@pytest.mark.slow
def test_a_table_and_sentences_are_printed(sfumato: Command, trained: Path, tmp_path: Path) -> None:
    text = sfumato("eval", trained, *QUICK, "--metrics", "distance", "drift", "likelihood", "--out", tmp_path).out
    for words in (
        "30 samples compared with 56 training images and 24 held-out real images; features pixels",
        "Frechet distance",
        "24 images each",
        "bits per dimension",
        "brightness in red",
        "depend on the number of samples, here 30. Compare them only between equal numbers of samples, or evaluate",
        "samples.png",
    ):
        assert words in text


def test_a_classifier_gives_the_accuracy_of_each_class(
    sfumato: Command, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfumato.metrics.features_for", lambda *_: Brightness())
    found = facts(sfumato, trained, *QUICK, "--metrics", "accuracy", "--out", tmp_path)
    held_out = found["metrics"]["accuracy"]["held_out"]  # type: ignore[index]
    assert held_out["share"] == 1
    assert {name: of["share"] for name, of in held_out["classes"].items()} == {"dark": 1, "light": 1}
    assert sum(of["images"] for of in held_out["classes"].values()) == held_out["images"] == 24


class Brightness(Features):
    """A classifier that is correct on all of `faces`."""

    name = "brightness"

    def _outputs(self, images: torch.Tensor) -> NetworkOutput:
        means = images.mean((1, 2, 3))[:, None]
        return NetworkOutput(means, torch.cat([-means, means], 1))


def test_a_repeated_evaluation_reuses_its_samples(
    sfumato: Command, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = facts(sfumato, trained, *QUICK, "--seed", 5, "--metrics", "drift", "--out", tmp_path)
    monkeypatch.setattr("sfumato.sampling.sampler.initial_state", None)
    again = facts(sfumato, trained, *QUICK, "--seed", 5, "--metrics", "drift", "--out", tmp_path)
    assert first["metrics"] == again["metrics"]


def test_an_interrupted_evaluation_resumes_from_its_samples(sfumato: Command, trained: Path, tmp_path: Path) -> None:
    command = (trained, *QUICK, "--metrics", "distance", "--out", tmp_path)
    whole = facts(sfumato, *command, "--seed", 6)
    (samples,) = [path for path in tmp_path.glob("*/samples.bin") if is_of_seed(path, whole)]
    content = samples.read_bytes()
    samples.write_bytes(content[: 11 * 8 * 8 * 3 + 7])
    assert facts(sfumato, *command, "--seed", 6)["metrics"] == whole["metrics"]
    assert samples.read_bytes() == content


def test_ctrl_c_while_sampling_suggests_a_rerun_that_resumes(
    sfumato: Command, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (trained, *QUICK, "--metrics", "drift", "--seed", 7, "--batch", 10, "--out", tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr("sfumato.evaluation.samples.generate", interrupted_after(2))
        stopped = sfumato("eval", *command)
    message = "sfumato: interrupted. Run the same command again. It continues with the existing samples."
    assert (stopped.code, stopped.error.strip()) == (130, message)
    begun: list[int] = []

    def watched(*arguments: object, first: int, **named: object) -> Iterator[object]:
        begun.append(first)
        return generate(*arguments, first=first, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("sfumato.evaluation.samples.generate", watched)
    assert sfumato("eval", *command).code == 0
    assert begun == [20]


def interrupted_after(batches: int) -> Callable[..., Iterator[object]]:
    """`generate`, interrupted by Ctrl-C after some batches."""

    def drawing(*arguments: object, **named: object) -> Iterator[object]:
        yield from islice(generate(*arguments, **named), batches)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    return drawing


def test_ctrl_c_while_reading_images_does_not_promise_to_resume(
    sfumato: Command, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sfumato.evaluation.evaluate.evaluate", interrupt)
    stopped = sfumato("eval", faces, faces, "--out", tmp_path, "--device", "cpu")
    assert (stopped.code, stopped.error.strip()) == (
        130,
        "sfumato: interrupted. Run the same command again.",
    )


def test_two_models_keep_separate_samples_in_one_folder(sfumato: Command, trained: Path, tmp_path: Path) -> None:
    """Even if both were trained on equal numbers of images."""
    other = shutil.copytree(trained, tmp_path / "other")
    tensors, notes = read_tensors(other / "model" / "model.safetensors", "sfumato-model")
    changed = {name: tensor * 2 for name, tensor in tensors.items()}
    write_tensors(other / "model" / "model.safetensors", changed, "sfumato-model", notes)
    for path in (trained, other):
        assert sfumato("eval", path, *QUICK, "--metrics", "drift", "--out", tmp_path / "out").code == 0
    one, two = (tmp_path / "out").glob("*/samples.bin")
    assert one.read_bytes() != two.read_bytes()


def is_of_seed(path: Path, found: dict[str, object]) -> bool:
    """Whether a file holds the newest samples, those of the last evaluation."""
    newest = max(path.parent.parent.glob("*/samples.bin"), key=lambda file: file.stat().st_mtime_ns)
    return bool(found) and path == newest


def test_the_best_model_is_compared_with_the_images_of_the_run(sfumato: Command, trained: Path, tmp_path: Path) -> None:
    best = shutil.copytree(trained / "model", trained / "best", dirs_exist_ok=True)
    command = (*QUICK, "--metrics", "distance", "--out", tmp_path)
    of_best, of_run = (facts(sfumato, path, *command) for path in (best, trained))
    assert of_best["metrics"] == of_run["metrics"]
    assert not (best / "evaluations").exists()


def test_a_copy_of_a_model_is_compared_with_named_images(
    sfumato: Command, trained: Path, faces: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(trained / "model", tmp_path / "copy")
    found = facts(sfumato, copy, faces, *QUICK, "--metrics", "drift")
    assert (found["samples"], found["train"], found["held_out"]) == (30, 76, 4)
    outcome = sfumato("eval", copy, *QUICK)
    assert (outcome.code, "without its run" in outcome.error) == (2, True)


def test_a_copy_samples_again_for_other_class_proportions(
    sfumato: Command, trained: Path, faces: Path, tmp_path: Path
) -> None:
    """Samples have the class proportions of the images that they are compared with."""
    copy = shutil.copytree(trained / "model", tmp_path / "copy")
    darker = shutil.copytree(faces, tmp_path / "darker")
    for number in range(30):
        (darker / "light" / f"{number:02}.png").unlink()
    for data, sets in ((faces, 1), (faces, 1), (darker, 2)):
        facts(sfumato, copy, data, *QUICK, "--metrics", "drift")
        assert len(list((copy / "evaluations").glob("*/samples.bin"))) == sets


def test_notices_report_converted_images(sfumato: Command, faces: Path, tmp_path: Path) -> None:
    pixels = np.full((30, 4, 4, 1), 0.5, np.float32)
    pixels[1:, 0] = np.random.default_rng(1).random((29, 4, 1))
    pixels[2, 0, 0] = np.nan
    np.savez(tmp_path / "drawn.npz", images=pixels)
    command = (tmp_path / "drawn.npz", faces, "--metrics", "drift", "--out", tmp_path, "--device", "cpu")
    first, *others = facts(sfumato, *command)["notices"]  # type: ignore[misc]
    assert first.startswith("Pixels without data (0.21% of all, in 1 images) have the mean")
    assert others == [
        f"The images of {faces} are compared in the format of the samples: 4x4 pixels, grey.",
        "1 of 30 samples are a single colour: check the program that generated them.",
    ]
    assert others[1] in sfumato("eval", *command).out


def test_samples_of_any_program_are_compared_with_any_images(sfumato: Command, faces: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    np.savez(tmp_path / "drawn.npz", images=random.integers(256, size=(30, 8, 8, 3), dtype=np.uint8))
    found = facts(sfumato, tmp_path / "drawn.npz", faces, "--out", tmp_path, "--device", "cpu")
    assert (found["samples"], found["train"], found["held_out"]) == (30, 76, 4)
    few = facts(sfumato, tmp_path / "drawn.npz", faces, "--out", tmp_path, "--device", "cpu", "--count", 7)
    assert few["samples"] == 7


def test_copies_are_found(sfumato: Command, faces: Path, tmp_path: Path) -> None:
    found = facts(sfumato, faces, faces, "--metrics", "memorization", "--out", tmp_path, "--device", "cpu")
    assert found["metrics"]["memorization"]["pixels"]["verdict"] == "copies"  # type: ignore[index]


def test_an_impossible_metric_is_rejected_before_sampling(
    sfumato: Command, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfumato.sampling.sampler.initial_state", None)
    command = ("--seed", 8, "--features", "pixels", "--out", tmp_path)
    for metric in ("beauty", "accuracy"):
        outcome = sfumato("eval", trained, *QUICK, *command, "--metrics", "drift", metric)
        assert outcome.code == 2
        assert metric in outcome.error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{run}", "--metrics", "beauty"], "the metric 'beauty' is unknown"),
        (["{run}", "--metrics", "accuracy"], "examples/features.py"),
        (["{run}", "--features", "nowhere.onnx"], "nowhere.onnx"),
        (["{run}", "{faces}/dark"], "does not hold the images that"),
        (["{faces}"], "Give IMAGES and DATA"),
        (["{faces}", "{faces}", "--metrics", "likelihood"], "likelihood needs the model"),
        (["nowhere", "{faces}"], "no file or folder nowhere"),
        (["{run}", "--count", "1"], "Request at least 2"),
        (["{run}", "--count", "-5"], "Request at least 2"),
        (["{faces}", "{faces}", "--count", "1"], "Request at least 2"),
    ],
)
def test_a_subject_that_cannot_be_evaluated_is_reported(
    arguments: list[str], message: str, sfumato: Command, trained: Path, faces: Path, tmp_path: Path
) -> None:
    filled = [argument.format(run=trained, faces=faces) for argument in arguments]
    outcome = sfumato("eval", *QUICK, "--out", tmp_path, *filled)
    assert outcome.code == 2
    assert message in outcome.error
