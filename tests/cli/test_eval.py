"""`sfumato eval`: how good a run or a folder of samples is, in a table, as JSON, and on disk."""

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
    """Forty images of 8x8 random pixels in each of two classes."""
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
    """A run on these; not to be changed but for its evaluations."""
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


def test_a_run_is_judged_beside_its_own_held_out_images(sfumato: Command, trained: Path, tmp_path: Path) -> None:
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


def test_a_person_reads_a_table_and_sentences(sfumato: Command, trained: Path, tmp_path: Path) -> None:
    text = sfumato("eval", trained, *QUICK, "--metrics", "distance", "drift", "likelihood", "--out", tmp_path).out
    for words in (
        "30 samples beside 56 training images and 24 held-out real images; features pixels",
        "Frechet distance",
        "24 images each",
        "bits per dimension",
        "brightness in red",
        "depend on how many there are, here 30. Compare them only with those of as many samples, or judge 10,000",
        "samples.png",
    ):
        assert words in text


def test_a_classifier_tells_how_often_each_class_is_met(
    sfumato: Command, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfumato.metrics.features_for", lambda *_: Brightness())
    found = facts(sfumato, trained, *QUICK, "--metrics", "agreement", "--out", tmp_path)
    held_out = found["metrics"]["agreement"]["held_out"]  # type: ignore[index]
    assert held_out["share"] == 1
    assert {name: of["share"] for name, of in held_out["classes"].items()} == {"dark": 1, "light": 1}
    assert sum(of["images"] for of in held_out["classes"].values()) == held_out["images"] == 24


class Brightness(Features):
    """A classifier that is right on `faces`."""

    name, width, classes = "brightness", 1, 2

    def _look(self, images: torch.Tensor) -> NetworkOutput:
        means = images.mean((1, 2, 3))[:, None]
        return NetworkOutput(means, torch.cat([-means, means], 1))


def test_the_same_evaluation_draws_nothing_again(
    sfumato: Command, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = facts(sfumato, trained, *QUICK, "--seed", 5, "--metrics", "drift", "--out", tmp_path)
    monkeypatch.setattr("sfumato.sampling.sampler.initial_state", None)
    again = facts(sfumato, trained, *QUICK, "--seed", 5, "--metrics", "drift", "--out", tmp_path)
    assert first["metrics"] == again["metrics"]


def test_an_interrupted_evaluation_goes_on_from_its_samples(sfumato: Command, trained: Path, tmp_path: Path) -> None:
    asked = (trained, *QUICK, "--metrics", "distance", "--out", tmp_path)
    whole = facts(sfumato, *asked, "--seed", 6)
    (samples,) = [path for path in tmp_path.glob("*/samples.bin") if is_of_seed(path, whole)]
    content = samples.read_bytes()
    samples.write_bytes(content[: 11 * 8 * 8 * 3 + 7])
    assert facts(sfumato, *asked, "--seed", 6)["metrics"] == whole["metrics"]
    assert samples.read_bytes() == content


def test_ctrl_c_says_that_the_same_command_goes_on_and_so_it_does(
    sfumato: Command, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = (trained, *QUICK, "--metrics", "drift", "--seed", 7, "--batch", 10, "--out", tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr("sfumato.evaluation.drawing.generate", interrupted_after(2))
        stopped = sfumato("eval", *asked)
    said = "sfumato: interrupted. To go on from the samples drawn so far, give the same command."
    assert (stopped.code, stopped.error.strip()) == (130, said)
    begun: list[int] = []

    def watched(*arguments: object, first: int, **named: object) -> Iterator[object]:
        begun.append(first)
        return generate(*arguments, first=first, **named)  # type: ignore[arg-type]

    monkeypatch.setattr("sfumato.evaluation.drawing.generate", watched)
    assert sfumato("eval", *asked).code == 0
    assert begun == [20]


def interrupted_after(batches: int) -> Callable[..., Iterator[object]]:
    """Like `generate`, until somebody gives a Ctrl-C."""

    def drawing(*arguments: object, **named: object) -> Iterator[object]:
        yield from islice(generate(*arguments, **named), batches)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    return drawing


def test_ctrl_c_while_images_are_judged_promises_no_samples(
    sfumato: Command, faces: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sfumato.evaluation.run.evaluate_subject", interrupt)
    stopped = sfumato("eval", faces, faces, "--out", tmp_path, "--device", "cpu")
    assert (stopped.code, stopped.error.strip()) == (
        130,
        "sfumato: interrupted. To begin again, give the same command.",
    )


def test_each_model_has_samples_of_its_own_in_one_folder(sfumato: Command, trained: Path, tmp_path: Path) -> None:
    """Though both have seen as many images."""
    other = shutil.copytree(trained, tmp_path / "other")
    tensors, notes = read_tensors(other / "model" / "model.safetensors", "sfumato-model")
    changed = {name: tensor * 2 for name, tensor in tensors.items()}
    write_tensors(other / "model" / "model.safetensors", changed, "sfumato-model", notes)
    for path in (trained, other):
        assert sfumato("eval", path, *QUICK, "--metrics", "drift", "--out", tmp_path / "out").code == 0
    one, two = (tmp_path / "out").glob("*/samples.bin")
    assert one.read_bytes() != two.read_bytes()


def is_of_seed(path: Path, found: dict[str, object]) -> bool:
    """The newest samples are those of the last evaluation."""
    newest = max(path.parent.parent.glob("*/samples.bin"), key=lambda file: file.stat().st_mtime_ns)
    return bool(found) and path == newest


def test_the_best_model_is_judged_as_the_run_is(sfumato: Command, trained: Path, tmp_path: Path) -> None:
    best = shutil.copytree(trained / "model", trained / "best", dirs_exist_ok=True)
    asked = (*QUICK, "--metrics", "distance", "--out", tmp_path)
    of_best, of_run = (facts(sfumato, path, *asked) for path in (best, trained))
    assert of_best["metrics"] == of_run["metrics"]
    assert not (best / "evaluations").exists()


def test_a_copy_of_a_model_is_judged_beside_the_images_that_are_named(
    sfumato: Command, trained: Path, faces: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(trained / "model", tmp_path / "copy")
    found = facts(sfumato, copy, faces, *QUICK, "--metrics", "drift")
    assert (found["samples"], found["train"], found["held_out"]) == (30, 76, 4)
    outcome = sfumato("eval", copy, *QUICK)
    assert (outcome.code, "without its run" in outcome.error) == (2, True)


def test_a_copy_draws_again_for_images_whose_classes_are_others(
    sfumato: Command, trained: Path, faces: Path, tmp_path: Path
) -> None:
    """As its samples are of classes as often as the images that they are judged beside."""
    copy = shutil.copytree(trained / "model", tmp_path / "copy")
    darker = shutil.copytree(faces, tmp_path / "darker")
    for number in range(30):
        (darker / "light" / f"{number:02}.png").unlink()
    for data, sets in ((faces, 1), (faces, 1), (darker, 2)):
        facts(sfumato, copy, data, *QUICK, "--metrics", "drift")
        assert len(list((copy / "evaluations").glob("*/samples.bin"))) == sets


def test_what_was_skipped_or_converted_is_said(sfumato: Command, faces: Path, tmp_path: Path) -> None:
    pixels = np.full((30, 4, 4, 1), 0.5, np.float32)
    pixels[1:, 0] = np.random.default_rng(1).random((29, 4, 1))
    pixels[2, 0, 0] = np.nan
    np.savez(tmp_path / "drawn.npz", images=pixels)
    asked = (tmp_path / "drawn.npz", faces, "--metrics", "drift", "--out", tmp_path, "--device", "cpu")
    first, *others = facts(sfumato, *asked)["notices"]  # type: ignore[misc]
    assert first.startswith("Pixels without data (0.21% of all, in 1 images) have the mean")
    assert others == [
        f"The images of {faces} are compared as the samples are: 4x4 pixels, grey.",
        "1 of 30 samples show one colour and nothing else: look at what made them.",
    ]
    assert others[1] in sfumato("eval", *asked).out


def test_anybodys_samples_are_judged_beside_any_images(sfumato: Command, faces: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    np.savez(tmp_path / "drawn.npz", images=random.integers(256, size=(30, 8, 8, 3), dtype=np.uint8))
    found = facts(sfumato, tmp_path / "drawn.npz", faces, "--out", tmp_path, "--device", "cpu")
    assert (found["samples"], found["train"], found["held_out"]) == (30, 76, 4)
    few = facts(sfumato, tmp_path / "drawn.npz", faces, "--out", tmp_path, "--device", "cpu", "--count", 7)
    assert few["samples"] == 7


def test_copies_are_found(sfumato: Command, faces: Path, tmp_path: Path) -> None:
    found = facts(sfumato, faces, faces, "--metrics", "memorization", "--out", tmp_path, "--device", "cpu")
    assert found["metrics"]["memorization"]["pixels"]["verdict"] == "copies"  # type: ignore[index]


def test_a_wrong_metric_is_refused_before_samples_are_drawn(
    sfumato: Command, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sfumato.sampling.sampler.initial_state", None)
    asked = ("--seed", 8, "--features", "pixels", "--out", tmp_path)
    for metric in ("beauty", "agreement"):
        outcome = sfumato("eval", trained, *QUICK, *asked, "--metrics", "drift", metric)
        assert outcome.code == 2
        assert metric in outcome.error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{run}", "--metrics", "beauty"], "no metric 'beauty'"),
        (["{run}", "--metrics", "agreement"], "examples/features.py"),
        (["{run}", "--features", "nowhere.pt2"], "nowhere.pt2"),
        (["{run}", "{faces}/dark"], "does not hold the images that"),
        (["{faces}"], "Give IMAGES and DATA"),
        (["{faces}", "{faces}", "--metrics", "likelihood"], "whose model is not known"),
        (["nowhere", "{faces}"], "no file or folder nowhere"),
        (["{run}", "--count", "1"], "Ask for at least 2"),
        (["{run}", "--count", "-5"], "Ask for at least 2"),
        (["{faces}", "{faces}", "--count", "1"], "Ask for at least 2"),
    ],
)
def test_what_cannot_be_judged_is_a_sentence(
    arguments: list[str], message: str, sfumato: Command, trained: Path, faces: Path, tmp_path: Path
) -> None:
    filled = [argument.format(run=trained, faces=faces) for argument in arguments]
    outcome = sfumato("eval", *QUICK, "--out", tmp_path, *filled)
    assert outcome.code == 2
    assert message in outcome.error
