"""Files of a run for publication: settings and evaluations, without the folders of the machine."""

import json
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PureWindowsPath
from typing import Any

import tomli_w

from sfumato.evaluation import METRICS
from sfumato.evaluation.evaluate import RECORD
from sfumato.evaluation.from_model import EVALUATIONS
from sfumato.evaluation.metric import Facts
from sfumato.training.run_directory import CONFIG
from sfumato.utils.files import read_text
from sfumato.utils.hub import PREFIX, is_hub_name


def without_folders(text: str) -> str:
    r"""The last part of a path; texts without folders stay as they are.

    Of hf:NAME too: whether a data set was a local folder when it was read is not recorded.

    >>> without_folders("/home/me/photos/"), without_folders("C:\\nets.py:Net"), without_folders("hf:data/photos")
    ('photos', 'nets.py:Net', 'photos')
    """
    return PureWindowsPath(text.removeprefix(PREFIX)).name or text


def published_config(run: Path) -> str:
    """The config.toml of a run directory. Paths in it, such as that of the images, are reduced to their last part."""
    fields = tomllib.loads(read_text(run / CONFIG))
    return tomli_w.dumps(fields | {"config": _reduced(fields["config"])})


def _reduced(table: Mapping[str, Any]) -> Facts:
    """A table of settings without folders. The starting model hf:USER/NAME stays: models are never local then."""
    reduced = dict(table)
    for name, value in table.items():
        if isinstance(value, dict):
            reduced[name] = _reduced(value)
        elif isinstance(value, str) and not (name == "start" and is_hub_name(value)):
            reduced[name] = without_folders(value)
    return reduced


def published_evaluations(run: Path, images_seen: int) -> list[Facts]:
    """Results of `sfumato eval` for the model of a run after `images_seen` images, oldest first.

    Only what the metrics of the package measured, without paths. Invalid lines are skipped.
    """
    file = run / EVALUATIONS / RECORD
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
    found = []
    for line in lines:
        with suppress(ValueError, RecursionError, KeyError, TypeError, AttributeError):
            facts = json.loads(line)
            if facts["model"]["images_seen"] == images_seen:
                kept = {name: facts[name] for name in ("samples", "train", "held_out", "features", "model")}
                metrics = {name: facts["metrics"][name] for name in METRICS if name in facts["metrics"]}
                found.append(kept | {"metrics": metrics})
    return found


def as_lines(facts: Sequence[Facts]) -> str:
    """JSON objects, one in a line."""
    return "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in facts)
