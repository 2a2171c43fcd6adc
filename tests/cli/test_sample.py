"""`sfumato sample` to a folder or an archive."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sfumato.data.conditions import Category
from sfumato.models import load, save_weights
from sfumato.sampling.output import free_folder, write_samples
from sfumato.utils.captions import HEIGHT
from sfumato.utils.depth import EIGHT_BITS

from .conftest import Command

Archive = dict[str, np.ndarray]
Samples = Callable[..., Archive]


@pytest.fixture
def archive(sfumato: Command, run: Path, tmp_path: Path) -> Samples:
    """`archive(flags)` samples to an .npz and reads it."""

    def samples(*flags: object) -> Archive:
        out = tmp_path / f"{len(list(tmp_path.iterdir()))}.npz"
        seed = () if "--seed" in flags else ("--seed", 0)
        outcome = sfumato("sample", run, "--out", out, "--device", "cpu", *seed, *flags)
        assert outcome.code == 0, outcome.error
        with np.load(out) as content:
            return dict(content)

    return samples


def test_a_folder_has_images_labels_and_a_grid(sfumato: Command, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "samples"
    outcome = sfumato("sample", run, "--out", out, "--count", 5, "--steps", 3, "--batch", 2)
    assert outcome.code == 0
    assert f"Images saved to {out}. Grid: {out / 'grid.png'}" in outcome.out
    names = [f"{number:06d}.png" for number in range(5)]
    assert sorted(path.name for path in (out / "images").iterdir()) == [*names, "metadata.jsonl"]
    records = [json.loads(line) for line in (out / "images" / "metadata.jsonl").read_text().splitlines()]
    labels = ["cat", "dog", "cat", "dog", "cat"]
    assert records == [{"file_name": n, "label": label} for n, label in zip(names, labels, strict=True)]
    for name in names:
        with Image.open(out / "images" / name) as image:
            assert (image.size, image.mode) == ((8, 8), "RGB")
    with Image.open(out / "grid.png") as grid:
        assert grid.size == (2 * 64 + 3 * 2, HEIGHT + 3 * 64 + 4 * 2)


def test_an_unlabelled_model_writes_no_metadata(sfumato: Command, unlabelled: Path, tmp_path: Path) -> None:
    for out in (tmp_path / "folder", tmp_path / "a.npz"):
        assert sfumato("sample", unlabelled, "--out", out, "--count", 2, "--steps", 4).code == 0
    assert sorted(path.name for path in (tmp_path / "folder" / "images").iterdir()) == ["000000.png", "000001.png"]
    with np.load(tmp_path / "a.npz") as content:
        assert content["labels"].tolist() == [-1, -1]


def test_the_default_folder_is_a_new_one_named_after_the_run(
    sfumato: Command, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(3):
        assert sfumato("sample", run, "--count", 1, "--steps", 4).code == 0
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == ["pets", "pets-2", "pets-3"]


def test_an_archive_has_images_and_labels(archive: Samples) -> None:
    content = archive("--count", 5, "--steps", 3)
    assert content.keys() == {"images", "labels", "label_names", "seed"}
    assert (str(content["images"].dtype), content["images"].shape) == ("uint8", (5, 8, 8, 3))
    assert (str(content["labels"].dtype), content["labels"].tolist()) == ("int64", [0, 1, 0, 1, 0])
    assert content["label_names"].tolist() == ["cat", "dog"]
    assert content["images"].std() > 0


def test_folder_and_archive_have_the_same_pixels(archive: Samples, sfumato: Command, run: Path, tmp_path: Path) -> None:
    assert sfumato("sample", run, "--out", tmp_path / "folder", "--count", 3, "--steps", 3, "--seed", 0).code == 0
    for number, pixels in enumerate(archive("--count", 3, "--steps", 3)["images"]):
        with Image.open(tmp_path / "folder" / "images" / f"{number:06d}.png") as image:
            assert np.array_equal(np.asarray(image), pixels)


@pytest.mark.parametrize("flags", [["--batch", 1], ["--batch", 3], ["--count", 8, "--batch", 8], ["--count", 11]])
@pytest.mark.slow
def test_an_image_does_not_depend_on_batch_size_and_count(flags: list[object], archive: Samples) -> None:
    reference = archive("--count", 9, "--steps", 5)["images"][7]
    image = archive("--count", 9, "--steps", 5, *flags)["images"][7]
    assert np.abs(image.astype(int) - reference.astype(int)).max() <= 1  # rounding depends on the batch size


@pytest.mark.parametrize(
    "flags",
    [
        *(["--seed", 1], ["--steps", 4], ["--label", "dog"]),
        *(["--solver", "ddpm"], ["--solver", "ddim:eta=1"], ["--time-grid", "karras:rho=2"], ["--clip", "none"]),
        *(["--guidance", 4], ["--guidance", 4, "--guidance-rescale", 1], ["--precision", "bfloat16"]),
    ],
    ids=lambda flags: "-".join(map(str, flags)).strip("-"),
)
@pytest.mark.slow
def test_every_flag_changes_the_image(flags: list[object], archive: Samples) -> None:
    plain = archive("--count", 1, "--steps", 5)["images"]
    again = archive("--count", 1, "--steps", 5)["images"]
    assert np.array_equal(plain, again)
    assert not np.array_equal(plain, archive("--count", 1, "--steps", 5, *flags)["images"])


@pytest.mark.parametrize(
    ("flags", "labels"),
    [(["dog"], [1, 1, 1, 1]), (["dog", "cat"], [1, 0, 1, 0]), (["dog", "dog", "cat"], [1, 1, 0, 1])],
)
def test_labels_alternate(flags: list[str], labels: list[int], archive: Samples) -> None:
    content = archive("--count", 4, "--steps", 4, "--label", *flags)
    assert content["labels"].tolist() == labels


def test_the_default_is_20_steps(archive: Samples) -> None:
    assert np.array_equal(archive("--count", 1)["images"], archive("--count", 1, "--steps", 20)["images"])


def test_guidance_interval_limits_guidance(archive: Samples) -> None:
    flags = ("--count", 1, "--steps", 5, "--guidance", 4)
    everywhere, nowhere = archive(*flags)["images"], archive("--count", 1, "--steps", 5)["images"]
    assert np.array_equal(archive(*flags, "--guidance-interval", 0, 1e9)["images"], everywhere)
    assert np.array_equal(archive(*flags, "--guidance-interval", 1e8, 1e9)["images"], nowhere)


def test_autoguidance_rejects_a_model_of_other_images(
    run: Path, unlabelled: Path, sfumato: Command, tmp_path: Path
) -> None:
    foreign = sfumato("sample", run, "--out", tmp_path / "x.npz", "--guidance", 3, "--autoguidance", unlabelled)
    assert foreign.code == 2
    assert "Traceback" not in foreign.error


def test_existing_files_are_not_replaced(sfumato: Command, run: Path, tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_text("mine")
    (tmp_path / "b-grid.png").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "letter.txt").write_text("mine")
    for out, taken in (("a.npz", "a.npz"), ("b.npz", "b-grid.png"), ("folder", "folder")):
        outcome = sfumato("sample", run, "--out", tmp_path / out, "--count", 1, "--steps", 4)
        assert outcome.code == 2
        assert f"{taken} already exists" in outcome.error
    assert {path.name for path in tmp_path.rglob("*")} == {"a.npz", "b-grid.png", "folder", "letter.txt"}


def test_invalid_arguments_leave_no_files(sfumato: Command, run: Path, tmp_path: Path) -> None:
    for out in ("folder", "a.npz"):
        assert sfumato("sample", run, "--out", tmp_path / out, "--count", 0).code == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", "a/b", "..", "[/red]", "\x1b[31m", "two\nlines"])
@pytest.mark.slow
def test_label_names_of_a_hostile_model_do_not_escape_the_folder(
    name: str, sfumato: Command, run: Path, tmp_path: Path
) -> None:
    shutil.copytree(run / "model", tmp_path / "model")
    description = tmp_path / "model" / "config.json"
    fields = json.loads(description.read_text())
    model = load(tmp_path / "model")
    description.write_text(json.dumps(fields | {"label_names": [name, "dog"]}))
    save_weights(model.network.state_dict(), tmp_path / "model", 0)
    before = set(tmp_path.rglob("*"))
    out = tmp_path / "deep" / "down"
    outcome = sfumato("sample", tmp_path / "model", "--out", out, "--count", 2, "--steps", 4)
    assert outcome.code == 0, outcome.error
    written = set(tmp_path.rglob("*")) - before
    names = {"images", "000000.png", "000001.png", "metadata.jsonl", "grid.png", "seed.txt", "down", "deep"}
    assert {path.name for path in written} == names
    assert all(out in (path, *path.parents) or path == out.parent for path in written)
    assert json.loads((out / "images" / "metadata.jsonl").read_text().splitlines()[0])["label"] == name


def test_a_copied_model_folder_can_be_sampled(sfumato: Command, run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "model", tmp_path / "copy")
    outcome = sfumato("sample", tmp_path / "copy", "--out", tmp_path / "a.npz", "--count", 1, "--steps", 4)
    assert outcome.code == 0


def test_free_folder_makes_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [free_folder("flowers").name for _ in range(3)] == ["flowers", "flowers-2", "flowers-3"]


def test_a_column_does_not_override_file_name(tmp_path: Path) -> None:
    columns = [Category("file_name", ("../x",)), Category("colour", ("red",))]
    write_samples([(torch.zeros(1, 1, 8, 8), torch.zeros(1, 2))], tmp_path / "a", columns, EIGHT_BITS)
    record = json.loads((tmp_path / "a" / "images" / "metadata.jsonl").read_text())
    assert record == {"file_name": "000000.png", "colour": "red"}


@pytest.mark.parametrize("name", ["drawn", "drawn.npz"])
def test_ctrl_c_saves_the_samples_so_far(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        yield torch.zeros(3, 1, 8, 8), torch.tensor([0, 1, 0])
        raise KeyboardInterrupt

    columns = [Category("label", ("cat", "dog"))]
    assert write_samples(batches(), tmp_path / name, columns, EIGHT_BITS).is_file()
    assert "only the first 3 images" in capsys.readouterr().err
    if name == "drawn":
        assert len(list((tmp_path / name / "images").glob("*.png"))) == 3
        assert len((tmp_path / name / "images" / "metadata.jsonl").read_text().splitlines()) == 3


def test_a_repeated_label_flag_is_rejected(sfumato: Command, run: Path) -> None:
    outcome = sfumato("sample", run, "--label", "cat", "--label", "dog")
    assert outcome.code == 2
    assert "--label was given more than once" in outcome.error


def test_a_changed_model_description_is_rejected(sfumato: Command, run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "model", tmp_path / "model")
    description = tmp_path / "model" / "config.json"
    description.write_text(description.read_text().replace("linear:timesteps=50", "linear:timesteps=60"))
    outcome = sfumato("sample", tmp_path / "model", "--out", tmp_path / "a.npz", "--count", 1, "--steps", 4)
    assert outcome.code == 2
    assert "config.json was changed after model.safetensors was written" in outcome.error


def test_eval_of_a_folder_of_samples_skips_the_grid(sfumato: Command, run: Path, photos: Path, tmp_path: Path) -> None:
    assert sfumato("sample", run, "--out", tmp_path / "drawn", "--count", 12, "--steps", 3).code == 0
    flags = ("--metrics", "drift", "--device", "cpu", "--out", tmp_path / "evaluated", "--json")
    outcome = sfumato("eval", tmp_path / "drawn", photos, *flags)
    assert outcome.code == 0, outcome.error
    assert json.loads(outcome.out)["samples"] == 12
