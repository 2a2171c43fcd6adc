"""Training from Python: settings by name, and a progress bar in terminals and notebooks."""

from __future__ import annotations

import builtins
import io
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image

import sfumato as sf
from sfumato.errors import ConfigError
from sfumato.training.presets import PRESETS, config_for, preset_for
from sfumato.utils import pictures

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.mark.parametrize("preset", [None, *PRESETS])
@pytest.mark.parametrize("source", ["digits", "photos/"])
def test_without_settings_the_preset_is_used(source: str, preset: str | None) -> None:
    assert config_for(source, preset=preset) == preset_for(source, preset)
    assert config_for(Path(source), preset=preset).optimization == preset_for(source, preset).optimization


def test_given_settings_replace_those_of_the_preset() -> None:
    settings = {"size": "64x96", "width": 8, "schedule": "cosine", "minutes": 3, "keep": 5, "multipliers": [1, 2, 2]}
    config, preset = config_for("photos", settings, preset="ddpm"), preset_for("photos", "ddpm")
    assert (config.data.size, config.network.width, config.diffusion.schedule) == ("64x96", 8, "cosine")
    assert (config.optimization.minutes, config.monitoring.keep, config.network.multipliers) == (3.0, 5, (1, 2, 2))
    assert (config.network.attention, config.optimization.batch) == (
        preset.network.attention,
        preset.optimization.batch,
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"widht": 3}, "the setting 'widht' is unknown. Did you mean width"),
        ({"source": "x"}, "the setting 'source' is unknown"),
        ({"learning-rate": 1}, "the setting 'learning-rate' is unknown. Did you mean learning_rate"),
        ({"minutes": "soon"}, "minutes='soon' is not allowed or has the wrong type. Input should be a valid number"),
        ({"blocks": 2}, "blocks=2 is not allowed or has the wrong type"),
        ({"precision": "half"}, "precision='half' is not allowed or has the wrong type. Input should be 'auto',"),
        ({"minutes": -1}, "--minutes -1.0 is out of range"),
    ],
)
def test_an_invalid_setting_is_rejected_with_the_reason(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        config_for("photos", settings)
    assert message in str(raised.value)


class Terminal(io.StringIO):
    """A file that says that it is a terminal."""

    def isatty(self) -> bool:
        """It is one."""
        return True


@pytest.mark.parametrize(
    ("stdout", "progress", "shown"),
    [(Terminal(), True, True), (Terminal(), False, False), (io.StringIO(), True, False)],
)
def test_a_terminal_has_a_bar_unless_it_is_disabled(
    stdout: io.StringIO, progress: bool, shown: bool, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    network = {"width": 8, "multipliers": (1,), "blocks": (1,), "schedule": "linear:timesteps=50", "batch": 4}
    monitoring = {"preview_count": 1, "preview_steps": 5, "validation_count": 10}
    settings = {"images": 8} | network | monitoring
    sf.train(photos, tmp_path / "run", settings, preset="tiny", device="cpu", progress=progress)
    written = stdout.getvalue()
    assert ("images/s" in written) == shown
    assert ("validation loss" in written) == shown
    assert shown or not written


def test_show_displays_a_grid_in_a_notebook_or_opens_a_viewer(monkeypatch: pytest.MonkeyPatch) -> None:
    images, shown = torch.zeros(2, 1, 64, 64), []
    monkeypatch.setattr(Image.Image, "show", lambda picture: shown.append(("viewer", picture.size)))
    sf.show(images, columns=2)
    display = ModuleType("IPython.display")
    display.display = lambda picture: shown.append(("notebook", picture.size))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setattr(builtins, "get_ipython", object, raising=False)
    sf.show(images, columns=2)
    size = pictures.grid(images, 2).size
    assert shown == [("viewer", size), ("notebook", size)]
