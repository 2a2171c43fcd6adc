"""Networks that torch.export wrote (.pt2), read without `torch.export.load`, which executes code from the file."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sfumato.errors import RunError
from sfumato.metrics.features.graph import DTYPES, Graph
from sfumato.metrics.features.network import CONVENTION, NetworkFeatures

PROGRAM = "models/model.json"
TENSORS = ("weights", "constants")
"""The folders data/NAME of tensors, each with a model_NAME_config.json."""


def exported_network(path: Path) -> NetworkFeatures:
    """The features of a network that `torch.export.save` wrote. No code of the file is executed.

    Raises:
        RunError: The file is missing, holds something else, or uses operators that are not allowed.
    """
    if not path.is_file():
        raise RunError(f"{path} is not there", "Name the .pt2 or .onnx file of a network.")
    try:
        graph = _graph(path)
    except Exception as error:  # a foreign file can be wrong in any way
        reason = _reason(error)
        raise RunError(f"{path} is not a network that torch.export.save wrote: {reason}", CONVENTION) from error
    return NetworkFeatures(path, graph.signature, graph)


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it lacks {error}"
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _graph(path: Path) -> Graph:
    with zipfile.ZipFile(path) as archive:
        members = {info.filename.partition("/")[2]: info for info in archive.infolist()}

        def read(name: str) -> bytes:
            if members[name].compress_type != zipfile.ZIP_STORED:  # torch compresses nothing; a bomb would be
                raise ValueError(f"its member {name} is compressed")
            return archive.read(members[name])

        tensors: dict[str, Tensor] = {}
        for kind in TENSORS:
            config = json.loads(read(f"data/{kind}/model_{kind}_config.json"))["config"]
            names = {entry["path_name"] for entry in config.values()}
            contents = {name: bytearray(read(f"data/{kind}/{name}")) for name in names}  # which tensors may share
            tensors |= {name: _tensor(entry, contents[entry["path_name"]]) for name, entry in config.items()}
        return Graph(json.loads(read(PROGRAM)), tensors)


def _tensor(entry: Mapping[str, Any], content: bytearray) -> Tensor:
    """A tensor of an archive, in the memory of its content.

    Raises:
        ValueError: it is pickled.
        RuntimeError: it is larger than its content.
    """
    meta = entry["tensor_meta"]
    if entry["use_pickle"] or meta is None:
        raise ValueError("it holds a pickled object; sfumato opens none")
    dtype = DTYPES[meta["dtype"]]
    flat = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
    sizes, strides = ([side["as_int"] for side in meta[each]] for each in ("sizes", "strides"))
    return flat.as_strided(sizes, strides, meta["storage_offset"]["as_int"])
