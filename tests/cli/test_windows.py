"""Every verb with a simulation of Windows: no POSIX calls, and files in use cannot be replaced or removed."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.cli.conftest import TINY, Command
from tests.windows import held, play_windows

from sfumato.data import load_images

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it asks /proc which files are in use")


def test_a_file_in_use_cannot_be_replaced_or_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests the simulation."""
    refused = play_windows(monkeypatch)
    for name in ("open", "mapped", "free"):
        (tmp_path / name).write_bytes(bytes(4096))
    mapped = np.memmap(tmp_path / "mapped", mode="r")
    with (tmp_path / "open").open("rb"):
        assert {str(tmp_path / "open"), str(tmp_path / "mapped")} <= held()
        for name in ("open", "mapped"):
            with pytest.raises(PermissionError):
                (tmp_path / name).unlink()
            with pytest.raises(PermissionError):
                (tmp_path / "free").replace(tmp_path / name)
    assert len(refused) == 4
    del mapped
    (tmp_path / "free").replace(tmp_path / "mapped")


@pytest.mark.slow
def test_training_resuming_and_using_a_run(
    sfumato: Command, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = play_windows(monkeypatch)
    run, flags = tmp_path / "run", ["--out", tmp_path / "run", *TINY, "--keep", 1, "--cache", tmp_path / "cache"]
    for images in (8, 24):  # the second begins from the checkpoint of the first, and removes it
        outcome = sfumato("train", photos, *flags, "--images", images)
        assert outcome.code == 0, outcome.error
    for command in (
        ["sample", run, "--count", 2, "--steps", 4, "--out", tmp_path / "samples"],
        ["sample", run, "--count", 2, "--steps", 4, "--out", tmp_path / "samples.npz"],
        ["interpolate", run, "--count", 2, "--frames", 2, "--steps", 4, "--out", tmp_path / "between"],
        ["show", run],
        ["eval", run, "--count", 8, "--steps", 4, "--features", "pixels", "--cache", tmp_path / "cache"],
        ["explain", run, "--out", tmp_path / "explained"],
        ["inspect", photos, "--out", tmp_path / "inspected", "--cache", tmp_path / "cache"],
        ["inspect", tmp_path / "samples.npz", "--out", tmp_path / "inspected", "--cache", tmp_path / "cache"],
    ):
        outcome = sfumato(*command)
        assert outcome.code == 0, outcome.error
    assert refused == []
    assert not list(tmp_path.rglob("*unfinished*"))


def test_a_mapped_store_is_removed_later(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = play_windows(monkeypatch)
    source, cache = tmp_path / "photos", tmp_path / "cache"
    shutil.copytree(photos, source)
    former = load_images(source, cache=cache)
    pixels = former.floats()
    (source / "cat" / "0.png").unlink()
    now = load_images(source, cache=cache)
    assert (len(former), len(now)) == (12, 11)
    assert former.floats().equal(pixels)
    assert {Path(name).name for name in refused} >= {"pixels.bin"}
    del former
    (source / "cat" / "1.png").unlink()
    assert len(load_images(source, cache=cache)) == 10
    assert len(list(cache.glob("stores/*/*/pixels.bin"))) == 2  # that of now, and the one that is still mapped
