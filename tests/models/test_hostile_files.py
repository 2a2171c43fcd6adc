"""Broken files of a run: each is rejected with a message, or invalid parts are skipped."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sfumato.diffusion.schedules import build_schedule
from sfumato.errors import RunError
from sfumato.models import read_description
from sfumato.reports.curves import distance_panels, loss_panels
from sfumato.training.measurements import best_of, read_metrics
from sfumato.training.run_directory import read_record
from sfumato.utils.files import read_tensors, write_tensors
from sfumato.utils.pictures import plot

DEEP_JSON = "[" * 100_000
LONG_JSON = '{"format": ' + "1" * 5000 + "}"


@pytest.mark.parametrize("text", [DEEP_JSON, LONG_JSON, "{", '"', "nul"], ids=["deep", "long", "cut", "text", "word"])
def test_json_that_is_invalid_is_reported(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(RunError, match=r"config.json is not valid JSON"):
        read_description(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["a = " + "[" * 5000, "a = " + "1" * 5000, "a = ", "a = {" * 900],
    ids=["deep", "long", "cut", "tables"],
)
def test_toml_that_is_invalid_is_reported(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(RunError, match=r"config.toml is not valid TOML"):
        read_record(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(f"a.b.c{i} = 1" for i in range(50_000)),
        "a" + ".a" * 5000 + " = 1",
        '"a"' + '."a"' * 5000 + " = 1",
        "a = {" + ",".join(f"b.c{i}=1" for i in range(50_000)) + "}",
    ],
    ids=["many", "deep", "quoted", "in one table"],
)
def test_toml_with_too_many_settings_is_not_parsed(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sfumato.training.run_directory.tomllib.loads", None)
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(RunError, match=r"config.toml has too many settings for a run"):
        read_record(tmp_path)


TRAIN = {"kind": "train", "images": 4, "steps": 1, "seconds": 1.0, "skipped": 0, "loss": 0.5}
HELDOUT = {"kind": "validation", "images": 4, "loss": 0.5, "by_time": {"0.5": 0.1}}
EVALUATION = {"kind": "evaluation", "images": 4, "distance": 1.0, "features": "pixels", "count": 9}

ODD = [
    TRAIN | {"images": True},
    TRAIN | {"images": -4},
    TRAIN | {"images": 10**400},
    TRAIN | {"seconds": "long"},
    TRAIN | {"steps": None},
    TRAIN | {"loss": float("nan")},
    TRAIN | {"loss": [1]},
    TRAIN | {"kind": ["train"]},
    HELDOUT | {"by_time": {"soon": 0.1}},
    HELDOUT | {"by_time": {"0.5": "low"}},
    HELDOUT | {"by_time": [0.1]},
    HELDOUT | {"loss": float("inf")},
    {name: value for name, value in HELDOUT.items() if name != "by_time"},
    {name: value for name, value in EVALUATION.items() if name != "features"},
    EVALUATION | {"features": {"a": 1}},
    EVALUATION | {"count": "many"},
    EVALUATION | {"distance": "near"},
    EVALUATION | {"held_out": "near"},
    {"images": 4},
    [TRAIN],
]


@pytest.mark.parametrize("line", [*map(json.dumps, ODD), DEEP_JSON, LONG_JSON, '{"images": 1e999}'])
def test_invalid_lines_among_the_measurements_are_skipped(line: str, tmp_path: Path) -> None:
    good = [TRAIN, HELDOUT, EVALUATION]
    (tmp_path / "metrics.jsonl").write_text("\n".join([line, *map(json.dumps, good), line]) + "\n")
    assert read_metrics(tmp_path) == good


def test_measurements_at_other_noise_levels_are_plotted(tmp_path: Path) -> None:
    lines = [HELDOUT, HELDOUT | {"images": 8, "by_time": {"0.25": 0.2}}, EVALUATION | {"distance": 0}]
    panels = [*loss_panels(lines, build_schedule("linear")), *distance_panels(lines)]
    plot(panels, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 0
    assert best_of(lines) is not None


WRITE = (
    "import sys, torch\nfrom pathlib import Path\nfrom sfumato.utils.files import write_tensors\n"
    "write_tensors(Path(sys.argv[1]), {'b': torch.ones(3), 'a.ü\"': torch.zeros(2)}, 'kind', {'name': 'ü', 'n': 1})\n"
)


@pytest.mark.slow
def test_the_same_tensors_are_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.safetensors" for number in range(4)]
    for file in files[:2]:
        subprocess.run([sys.executable, "-c", WRITE, str(file)], check=True)
    for file in files[2:]:
        write_tensors(file, {"b": torch.ones(3), 'a.ü"': torch.zeros(2)}, "kind", {"name": "ü", "n": 1})
    header = files[0].read_bytes()
    places = [header.index(name) for name in (b'"digest"', b'"format"', b'"notes"')]
    assert places == sorted(places)
    assert len({file.read_bytes() for file in files}) == 1
    tensors, notes = read_tensors(files[0], "kind")
    assert notes == {"name": "ü", "n": 1}
    assert tensors.keys() == {"b", 'a.ü"'}
