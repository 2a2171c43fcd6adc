"""Errors in the command line: message with remedy, exit code 2 and no traceback."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from sfumato import __version__
from sfumato.cli import parse

from .conftest import TINY, Command

TRAIN = [
    ("--preset huge", "the preset 'huge' is unknown. Choose among: default, ddpm, tiny"),
    ("--device warp", "the device 'warp' is not available. Choose among: auto, cpu"),
    ("--device cpu:x", "the device 'cpu:x' is not available"),
    ("--device cpu:7", "the device 'cpu:7' is not available"),
    ("--device cuda:99", "the device 'cuda:99' is not available"),
    ("--device meta", "the device 'meta' is not available"),
    ("--images 0", "--images 0 is out of range"),
    ("--batch 0", "--batch 0 is out of range"),
    ("--batch many", "--batch many is not an integer. It takes an integer, such as --batch 20"),
    ("--multipliers 1 2 x", "--multipliers x is not an integer"),
    ("--learning_rate fast", "--learning-rate fast is not a number"),
    ("--learning-rate", "--learning-rate was given without a value. It takes a number"),
    ("--batch=1.5", "--batch 1.5 is not an integer"),
    ("--size 3", "--size 3 is too small"),
    ("--attention 0", "--attention (0,) is too small"),
    ("--width 3", "width 3"),
    ("--schedule linear:timesteps=5", "5 timesteps are too few"),
    ("--schedule quadratic", "the schedule 'quadratic' is unknown. Choose among: linear, scaled-linear, "),
    ("--schedule flow --zero-terminal-snr", "choose among: linear, scaled-linear, cosine, sigmoid"),
    ("--schedule flow", "the parametrization 'noise' cannot be used with this schedule"),
    ("--parametrization image", "the parametrization 'image' is unknown. Choose among: noise, data, "),
    ("--times often", "the time density 'often' is unknown. Choose among: uniform, "),
    ("--weight heavy", "the loss weight 'heavy' is unknown. Choose among: simple, "),
    ("--learning-rate nan", "--learning-rate nan is out of range"),
    ("--channels gray", "--channels gray is not a valid choice. Did you mean grey? Choose among: auto, grey,"),
    ("--colour red", "sfumato train has no flag --colour. "),
    ("--widht 8", "sfumato train has no flag --widht. Did you mean --width"),
    ("--no-label", "sfumato train has no flag --no-label. Did you mean --no-labels"),
    ("--no-width", "sfumato train has no flag --no-width"),
    ("--learning-rate inf", "--learning-rate inf is out of range"),
    ("--width 1000000000", "a network of 1,000,000,000 channels and"),
    ("--images 1000000000000000000000", "is out of range. Choose less than 10^12"),
    ("--save-minutes inf", "--save-minutes inf is invalid"),
]


@pytest.mark.parametrize(("flags", "message"), TRAIN)
def test_invalid_training_flags_are_rejected(
    flags: str, message: str, sfumato: Command, photos: Path, tmp_path: Path
) -> None:
    outcome = sfumato("train", photos, "--out", tmp_path / "run", *TINY, *flags.split())
    assert outcome.code == 2
    assert message in outcome.error
    assert "Traceback" not in outcome.error
    assert not (tmp_path / "run").exists()


SAMPLE = [
    ("--steps abc", "--steps abc is not an integer. It takes an integer, such as --steps 20"),
    ("--guidance high", "--guidance high is not a number"),
    ("--guidance-interval 1", "--guidance-interval 1 is missing a value. It takes 2 values, each a number"),
    ("--guidance-interval 1 b", "--guidance-interval b is not a number"),
    ("--count 0", "the number of images is 0. Choose at least 1"),
    (f"--count {10**23}", f"the number of images is {10**23}. Choose at least 1, and at most"),
    (f"--steps {10**23}", f"the number of sampling steps is {10**23}. Choose 1 to"),
    ("--steps 0", "the number of sampling steps is 0"),
    (
        "--steps 51 --time-grid trailing",
        "steps is 51, but the schedule has 50 timesteps. Choose 1 to 50",
    ),
    ("--steps 2 --solver unipc-3", "2 sampling steps are too few for the solver unipc-3. Choose at least 4"),
    ("--solver warp", "the solver 'warp' is unknown. Choose among: ddpm, ddim, "),
    ("--solver ddim:etta=1", "the solver 'ddim' has no setting 'etta'. It has: eta=0.0"),
    ("--solver ddim:eta=2", "eta 2.0 is out of range"),
    ("--time-grid warp", "the time grid 'warp' is unknown. Choose among: uniform, trailing, "),
    ("--clip hard", "the clipping 'hard' is unknown. Choose among: static, dynamic, none"),
    ("--guidance nan", "the guidance scale nan is out of range"),
    ("--guidance 1e308", "guidance scale 1e+308 is out of range"),
    (
        "--guidance-rescale 0.5",
        "the guidance scale is 1, which means no guidance. Set another scale, for example --guidance 2",
    ),
    ("--guidance 2 --guidance-interval 5 1", "5.0"),
    ("--guidance 2 --autoguidance nowhere", "nowhere is not a folder"),
    ("--batch 0", "the batch size is 0"),
    ("--label cow", "the model does not know the label 'cow'. It knows: cat, dog"),
    ("--seed -1", "the seed -1 is out of range"),
    ("--solver ddpm:variance=medium", "'medium'"),
    ("--device warp", "the device 'warp' is not available"),
]


@pytest.mark.parametrize(("flags", "message"), SAMPLE)
def test_invalid_sampling_flags_are_rejected(
    flags: str, message: str, sfumato: Command, run: Path, tmp_path: Path
) -> None:
    outcome = sfumato("sample", run, "--out", tmp_path / "out", *flags.split())
    assert outcome.code == 2
    assert message in outcome.error
    assert "Traceback" not in outcome.error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [("--label cat", "a model that knows no classes"), ("--guidance 3", "a model without classes")],
)
def test_an_unlabelled_model_rejects_labels_and_guidance(
    flags: str, message: str, sfumato: Command, unlabelled: Path, tmp_path: Path
) -> None:
    outcome = sfumato("sample", unlabelled, "--out", tmp_path / "out", *flags.split())
    assert outcome.code == 2
    assert message in outcome.error


@pytest.mark.parametrize(
    ("verb", "path", "message"),
    [
        ("sample", "nowhere", "nowhere is not a folder"),
        ("sample", "empty", "empty contains no model"),
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
def test_an_invalid_path_is_reported(
    verb: str, path: str, message: str, sfumato: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("text")
    for folder, sides in (("single", [8]), ("sizes", [8, 9])):
        (tmp_path / folder).mkdir()
        for side in sides:
            Image.new("L", (side, side)).save(tmp_path / folder / f"{side}.png")
    outcome = sfumato(verb, path)
    assert outcome.code == 2
    assert path in outcome.error
    assert message in outcome.error
    assert "Traceback" not in outcome.error


@pytest.mark.parametrize("verb", ["sample", "explain"])
def test_a_run_without_a_model_is_reported(verb: str, sfumato: Command, run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / "model" / "model.safetensors").unlink()
    outcome = sfumato(verb, copy, "--out", tmp_path / "out")
    assert outcome.code == 2
    assert f"{copy} has no trained model yet. Resume it" in outcome.error


def test_resuming_with_a_changed_setting_is_rejected(sfumato: Command, run: Path, photos: Path) -> None:
    outcome = sfumato("train", photos, "--out", run, *TINY, "--batch", 8, "--images", 24)
    assert outcome.code == 2
    assert "(--batch: 4 -> 8)" in outcome.error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("trian photos", "unknown command 'trian'. Did you mean train? The commands are: inspect, train, "),
        ("fly", "unknown command 'fly'. The commands are: "),
        (
            "train my photos --size 64",
            "sfumato train: unexpected argument 'photos' after 'my'. Quote a path with spaces",
        ),
        ("eval runs/x photos more", "sfumato eval: unexpected argument 'more' after 'runs/x photos'"),
        ("--versoin", "Did you mean --version?"),
        ("--preset tiny train photos", "the flag --preset was given before a command"),
        ("eval runs/x --metric distance", "sfumato eval has no flag --metric. Did you mean --metrics"),
    ],
)
def test_a_misspelt_name_has_a_suggestion(arguments: str, message: str, sfumato: Command) -> None:
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
        *("sample --steps 5 r", "sample r --label cat --count 3", "interpolate r a.png b.png --frames 3"),
    ],
)
def test_valid_arguments_pass_the_checks(arguments: str) -> None:
    assert parse(arguments.split())


@pytest.mark.parametrize("arguments", ["", "fly", "train", "sample", "train photos --batch", "--preset"])
def test_an_incomplete_command_is_rejected(arguments: str, sfumato: Command) -> None:
    outcome = sfumato(*arguments.split())
    assert outcome.code == 2
    assert outcome.error
    assert "Traceback" not in outcome.error


@pytest.mark.parametrize("verb", ["sample", "explain"])
@pytest.mark.parametrize("out", ["file/below", "file"])
def test_an_unwritable_output_is_reported(verb: str, out: str, sfumato: Command, run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    flags = ["--count", 1] if verb == "sample" else []
    outcome = sfumato(verb, run, "--out", tmp_path / out, *flags)
    assert outcome.code == 2
    assert str(tmp_path / "file") in outcome.error
    assert "Traceback" not in outcome.error
