"""`export`: new folders only, nothing left after a failure, and the errors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import Tensor, nn

import sfumato as sf
from cli.conftest import run_main
from sfumato.errors import ConfigError, RunError
from sfumato.exchange import export as exporting
from sfumato.exchange.export import export
from sfumato.models import Model, ModelConfig, save
from sfumato.networks.custom import BUILDERS, CustomConfig, register_network

from .conftest import build, convnet
from .test_import import TUTORIAL, pipeline_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder."""
    save(build(), tmp_path / "model")
    return tmp_path / "model"


def test_the_command_exports_a_folder(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main(["export", str(folder), str(tmp_path / "new" / "out"), "--to", "diffusers"]) == 0
    assert "Model exported to" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"out"}
    assert (tmp_path / "new" / "out" / "model_index.json").is_file()
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in (tmp_path / "new").rglob("*"))


def test_an_error_of_the_command_has_code_2(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main(["export", str(folder), str(folder)]) == 2
    assert "exists already. Choose another path" in capsys.readouterr().err


def test_export_is_public() -> None:
    assert sf.export is export


@pytest.mark.parametrize("existing", ["folder", "file", "dangling link"])
def test_an_existing_path_is_rejected(existing: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    {"folder": out.mkdir, "file": out.touch, "dangling link": lambda: out.symlink_to(tmp_path / "none")}[existing]()
    with pytest.raises(RunError, match="out exists already"):
        export(build(), out)


def test_an_unknown_format_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"format 'keras' is unknown.*diffusers"):
        export(build(), tmp_path / "out", "keras")


def test_a_folder_without_a_best_model_is_rejected(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(["export", str(folder), str(tmp_path / "out"), "--model", "best"]) == 2
    assert "has no best model" in capsys.readouterr().err


def test_an_option_of_another_format_is_rejected(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--half was given, .*It belongs to onnx or web"):
        export(folder, tmp_path / "out", half=True)
    with pytest.raises(ConfigError, match=r"--runtime was given, .*It belongs to web"):
        export(folder, tmp_path / "out", "onnx", runtime=tmp_path)
    assert not (tmp_path / "out").exists()


def test_arguments_of_the_other_kind_of_model_are_rejected(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"guidance checkpoint was given for .*model, which has its own"):
        export(folder, tmp_path / "out", guidance_checkpoint=build())
    with pytest.raises(ConfigError, match="network was given for a loaded model"):
        export(build(), tmp_path / "out", network=Net)


def failing(error: BaseException) -> Callable[..., str]:
    """A writer that fails after it has written a file."""

    def write(_: Model, weaker: Model | None, out: Path) -> str:  # noqa: ARG001
        (out / "sub").mkdir()
        (out / "sub" / "half").write_text("half")
        raise error

    return write


@pytest.mark.parametrize(
    ("error", "expected"),
    [(OSError(28, "No space left on device"), RunError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
def test_nothing_is_left_after_a_failure(
    error: BaseException, expected: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "write_diffusers", failing(error))
    (tmp_path / "old").mkdir()
    with pytest.raises(expected, match=str(error.args[-1]) if error.args else None):
        export(build(), tmp_path / "old" / "new" / "newer" / "out")
    assert [path.name for path in tmp_path.rglob("*")] == ["old"]


def test_files_and_folders_are_on_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[tuple[str, bool]] = []
    out = tmp_path / "out"
    monkeypatch.setattr(exporting, "flush_file", lambda path: flushed.append((path.name, out.exists())))
    monkeypatch.setattr(exporting, "flush_folder", lambda path: flushed.append((path.name, out.exists())))
    export(build(), out)
    inside = {(path.name, False) for path in (out, *out.rglob("*"))}
    assert inside <= set(flushed)
    assert flushed[-1] == (tmp_path.name, True)


KILLED = f"""
import os, signal, sys
from pathlib import Path
from sfumato.exchange import export as exporting
from sfumato.utils import files

def write(model, weaker, out):
    (out / "half").write_text("half")
    os.kill(os.getpid(), signal.{"SIGTERM" if sys.platform == "win32" else "SIGKILL"})

exporting.write_diffusers = write
exporting.export(sys.argv[1], sys.argv[2])
"""


def test_a_killed_process_leaves_no_folder(folder: Path, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(folder), str(tmp_path / "out")], env=dict(os.environ))
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()
    exporting.export(folder, tmp_path / "out")


def test_a_network_of_diffusers_is_not_exported(tmp_path: Path) -> None:
    pipeline_of(TUTORIAL).save_pretrained(tmp_path / "in")
    with pytest.raises(ConfigError, match=r"has a network of diffusers already. Share its own folder"):
        export(tmp_path / "in", tmp_path / "out")


def test_a_folder_of_diffusers_is_exported_again(tmp_path: Path) -> None:
    model = build(convnet(classes=2), "edm", "edm")
    export(model, tmp_path / "one", guidance_checkpoint=build(convnet(classes=2), "edm", "edm", seed=1))
    export(tmp_path / "one", tmp_path / "two")
    files = [file.relative_to(tmp_path / "one") for file in (tmp_path / "one").rglob("*") if file.is_file()]
    assert all((tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes() for file in files)


class Net(nn.Module):
    """A network from outside the package."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, times: Tensor, labels: Tensor | None) -> Tensor:  # noqa: ARG002
        """A map of the channels."""
        output: Tensor = self.conv(x)
        return output


def test_a_custom_network_is_exported_to_onnx_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BUILDERS, "named", {})
    network = CustomConfig(register_network(Net), 3, (8, 8))
    model = Model(ModelConfig(network, "linear", False, 1.0, "noise", (3, 8, 8), ()))
    save(model, tmp_path / "model")
    BUILDERS.named.clear()
    with pytest.raises(ConfigError, match=r"is not part of sfumato. Read that code first"):
        export(tmp_path / "model", tmp_path / "out", "onnx")
    with pytest.raises(ConfigError, match="Net is not part of sfumato and cannot be exported"):
        export(tmp_path / "model", tmp_path / "out", network=Net)
    assert "Largest difference" in export(tmp_path / "model", tmp_path / "out", "onnx", network=Net)
    assert (tmp_path / "out").is_file()
