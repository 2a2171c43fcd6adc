"""A mistake is explained in a sentence with its remedy and exit code 2, and never by a traceback."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from sfumato import __version__
from sfumato.cli import parse

from .conftest import TINY, Command

TRAIN = [
    ("--preset huge", "no preset 'huge'. Choose among: default, ddpm, tiny"),
    ("--device warp", "the device 'warp' is not here. Choose among: auto, cpu"),
    ("--device cpu:x", "the device 'cpu:x' is not here"),
    ("--device cpu:7", "the device 'cpu:7' is not here"),
    ("--device cuda:99", "the device 'cuda:99' is not here"),
    ("--device meta", "the device 'meta' is not here"),
    ("--images 0", "--images 0 is nothing to train on"),
    ("--batch 0", "--batch 0 is no batch"),
    ("--batch many", "--batch many is not a whole number. It takes a whole number, such as --batch 20"),
    ("--multipliers 1 2 x", "--multipliers x is not a whole number"),
    ("--learning_rate fast", "--learning-rate fast is not a number"),
    ("--learning-rate", "--learning-rate was given without a value. It takes a number"),
    ("--batch=1.5", "--batch 1.5 is not a whole number"),
    ("--size 3", "--size 3 is too small"),
    ("--attention 0", "--attention (0,) is no size"),
    ("--width 3", "width 3"),
    ("--schedule linear:timesteps=5", "5 timesteps are too few"),
    ("--schedule quadratic", "the schedule 'quadratic' is unknown. Choose among: linear, scaled-linear, "),
    ("--schedule flow --zero-terminal-snr", "choose among: linear, scaled-linear, cosine, sigmoid"),
    ("--schedule flow", "predicts 'noise' says nothing of the image at the end of this schedule"),
    ("--parametrization image", "the parametrization 'image' is unknown. Choose among: noise, data, "),
    ("--times often", "the time density 'often' is unknown. Choose among: uniform, "),
    ("--weight heavy", "the weight 'heavy' is unknown. Choose among: simple, "),
    ("--learning-rate nan", "--learning-rate nan learns nothing"),
    ("--channels gray", "--channels gray is not one of its values. Did you mean grey? Choose among: auto, grey,"),
    ("--colour red", "sfumato train has no flag --colour. "),
    ("--widht 8", "sfumato train has no flag --widht. Did you mean --width"),
    ("--no-label", "sfumato train has no flag --no-label. Did you mean --no-labels"),
    ("--no-width", "sfumato train has no flag --no-width"),
    ("--learning-rate inf", "--learning-rate inf learns nothing"),
    ("--width 1000000000", "a network of 1,000,000,000 channels is too wide. Choose at most 16,384"),
    ("--images 1000000000000000000000", "is too many"),
    ("--save-minutes inf", "--save-minutes inf is no time"),
]


@pytest.mark.parametrize(("flags", "message"), TRAIN)
def test_a_mistake_in_training_is_explained(
    flags: str, message: str, sfumato: Command, photos: Path, tmp_path: Path
) -> None:
    outcome = sfumato("train", photos, "--out", tmp_path / "run", *TINY, *flags.split())
    assert outcome.code == 2
    assert message in outcome.error
    assert "Traceback" not in outcome.error
    assert not (tmp_path / "run").exists()


SAMPLE = [
    ("--steps abc", "--steps abc is not a whole number. It takes a whole number, such as --steps 20"),
    ("--guidance high", "--guidance high is not a number"),
    ("--guidance-interval 1", "--guidance-interval 1 lacks a value. It takes 2 values, each a number"),
    ("--guidance-interval 1 b", "--guidance-interval b is not a number"),
    ("--count 0", "0 images were asked. Ask for at least 1"),
    (f"--count {10**23}", f"{10**23} images were asked. Ask for at least 1, and at most"),
    (f"--steps {10**23}", f"{10**23} sampling steps were asked. Choose at least 1, and at most"),
    ("--steps 0", "0 sampling steps were asked"),
    ("--steps 51 --time-grid trailing", "51 sampling steps were asked of a schedule with 50. Choose 1 to 50"),
    ("--steps 2 --solver unipc-3", "cannot use its order in 2 steps. Choose at least 4"),
    ("--solver warp", "the solver 'warp' is unknown. Choose among: ddpm, ddim, "),
    ("--solver ddim:etta=1", "the solver 'ddim' has no setting 'etta'. It has: eta=0.0"),
    ("--solver ddim:eta=2", "eta 2.0 is out of range"),
    ("--time-grid warp", "the grid 'warp' is unknown. Choose among: uniform, trailing, "),
    ("--clip hard", "the clipping 'hard' is unknown. Choose among: static, dynamic, none"),
    ("--guidance nan", "guidance nan is out of range"),
    ("--guidance 1e308", "guidance 1e+308 is out of range"),
    ("--guidance-rescale 0.5", "its scale is 1, which is none. Add --guidance 2"),
    ("--guidance 2 --guidance-interval 5 1", "5.0"),
    ("--guidance 2 --autoguide nowhere", "nowhere is not a folder"),
    ("--batch 0", "batches of 0 images were asked"),
    ("--label cow", "the model does not know the label 'cow'. It knows: cat, dog"),
    ("--seed -1", "the seed -1 is out of range"),
    ("--solver ddpm:variance=medium", "'medium'"),
    ("--device warp", "the device 'warp' is not here"),
]


@pytest.mark.parametrize(("flags", "message"), SAMPLE)
def test_a_mistake_in_sampling_is_explained(
    flags: str, message: str, sfumato: Command, run: Path, tmp_path: Path
) -> None:
    outcome = sfumato("sample", run, "--out", tmp_path / "out", *flags.split())
    assert outcome.code == 2
    assert message in outcome.error
    assert "Traceback" not in outcome.error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("flags", ["--label cat", "--guidance 3"])
def test_a_model_without_labels_takes_none(flags: str, sfumato: Command, unlabelled: Path, tmp_path: Path) -> None:
    outcome = sfumato("sample", unlabelled, "--out", tmp_path / "out", *flags.split())
    assert outcome.code == 2
    assert "a model that knows no classes" in outcome.error


@pytest.mark.parametrize(
    ("verb", "place", "message"),
    [
        ("sample", "nowhere", "nowhere is not a folder"),
        ("sample", "empty", "empty holds no model"),
        ("show", "nowhere", "nowhere is not a run directory"),
        ("show", "empty", "empty is not a run directory"),
        ("explain", "nowhere", "There is no file or folder nowhere"),
        ("explain", "empty", "holds no images"),
        ("train", "nowhere", "There is no file or folder nowhere"),
        ("train", "empty", "holds no images"),
        ("train", "single", "2"),
        ("train", "sizes", "different sizes"),
        ("train", "text.txt", "is a file that holds no images"),
    ],
)
def test_a_place_that_is_not_what_it_should_be_is_named(
    verb: str, place: str, message: str, sfumato: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("text")
    for folder, sides in (("single", [8]), ("sizes", [8, 9])):
        (tmp_path / folder).mkdir()
        for side in sides:
            Image.new("L", (side, side)).save(tmp_path / folder / f"{side}.png")
    outcome = sfumato(verb, place)
    assert outcome.code == 2
    assert place in outcome.error
    assert message in outcome.error
    assert "Traceback" not in outcome.error


@pytest.mark.parametrize("verb", ["sample", "explain"])
def test_a_run_without_a_model_says_so(verb: str, sfumato: Command, run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / "model" / "model.safetensors").unlink()
    outcome = sfumato(verb, copy, "--out", tmp_path / "out")
    assert outcome.code == 2
    assert f"{copy} has no trained model yet. Train it further" in outcome.error


def test_a_changed_setting_is_shown(sfumato: Command, run: Path, photos: Path) -> None:
    outcome = sfumato("train", photos, "--out", run, *TINY, "--batch", 8, "--images", 24)
    assert outcome.code == 2
    assert "(--batch: 4 -> 8)" in outcome.error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("trian photos", "there is no command 'trian'. Did you mean train? The commands are: inspect, train, "),
        ("fly", "there is no command 'fly'. The commands are: "),
        (
            "train my photos --size 64",
            "sfumato train was given 'photos' besides 'my'. Put a path with spaces in quotes",
        ),
        ("eval runs/x photos more", "sfumato eval was given 'more' besides 'runs/x photos'"),
        ("--versoin", "Did you mean --version?"),
        ("--preset tiny train photos", "the flag --preset stands before a command"),
        ("eval runs/x --metric distance", "sfumato eval has no flag --metric. Did you mean --metrics"),
    ],
)
def test_a_misspelt_name_gets_a_suggestion(arguments: str, message: str, sfumato: Command) -> None:
    outcome = sfumato(*arguments.split())
    assert outcome.code == 2
    assert message in outcome.error


def test_the_version_is_printed(sfumato: Command) -> None:
    assert sfumato("--version") == (0, f"sfumato {__version__}\n", "")


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "arguments",
    [
        *("train p --width None", "train p --size 64x96", "train p --no-labels --flip", "train p --attention"),
        *("sample r --guidance -1", "sample r --guidance_interval 0.2 5", "sample r --steps=5", "sample r --seed None"),
        *("sample --steps 5 r", "sample r --label --count 3", "interpolate r a.png b.png --frames 3"),
    ],
)
def test_what_is_right_is_not_taken_for_a_mistake(arguments: str) -> None:
    assert parse(arguments.split())


@pytest.mark.parametrize("arguments", ["", "fly", "train", "sample", "train photos --batch", "--preset"])
def test_a_command_that_is_none_is_refused(arguments: str, sfumato: Command) -> None:
    outcome = sfumato(*arguments.split())
    assert outcome.code == 2
    assert outcome.error
    assert "Traceback" not in outcome.error


@pytest.mark.parametrize("verb", ["sample", "explain"])
@pytest.mark.parametrize("out", ["file/below", "file"])
def test_a_place_that_cannot_be_written_is_named(
    verb: str, out: str, sfumato: Command, run: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    flags = ["--count", 1] if verb == "sample" else []
    outcome = sfumato(verb, run, "--out", tmp_path / out, *flags)
    assert outcome.code == 2
    assert str(tmp_path / "file") in outcome.error
    assert "Traceback" not in outcome.error
