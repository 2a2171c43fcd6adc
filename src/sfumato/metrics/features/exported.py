"""Features of networks from torch.export (.pt2), read without `torch.export.load`, which executes code in the file."""

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
"""Names of the folders data/NAME of tensors, each with a model_NAME_config.json."""


def exported_network(path: Path) -> NetworkFeatures:
    """Features of a network written by `torch.export.save`. No code in the file is executed.

    Raises:
        RunError: The file is missing, is not such a network, or uses operators that are not allowed.
    """
    if not path.is_file():
        raise RunError(f"{path} does not exist", "Name the .pt2 or .onnx file of a network.")
    try:
        graph = _graph(path)
    except Exception as error:  # an invalid file can raise any exception
        reason = _reason(error)
        raise RunError(f"{path} is not a network from torch.export.save: {reason}", CONVENTION) from error
    return NetworkFeatures(path, graph.signature, graph)


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it lacks {error}"
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _graph(path: Path) -> Graph:
    with zipfile.ZipFile(path) as archive:
        members = {info.filename.partition("/")[2]: info for info in archive.infolist()}

        def read(name: str) -> bytes:
            if (
                members[name].compress_type != zipfile.ZIP_STORED
            ):  # torch writes uncompressed members; a zip bomb is compressed
                raise ValueError(f"its member {name} is compressed")
            return archive.read(members[name])

        tensors: dict[str, Tensor] = {}
        for kind in TENSORS:
            config = json.loads(read(f"data/{kind}/model_{kind}_config.json"))["config"]
            names = {entry["path_name"] for entry in config.values()}
            contents = {name: bytearray(read(f"data/{kind}/{name}")) for name in names}  # shared by tensors
            tensors |= {name: _tensor(entry, contents[entry["path_name"]]) for name, entry in config.items()}
        return Graph(json.loads(read(PROGRAM)), tensors)


def _tensor(entry: Mapping[str, Any], content: bytearray) -> Tensor:
    """Tensor of an archive, as a view of its content.

    Raises:
        ValueError: The tensor is pickled.
        RuntimeError: The tensor is larger than its content.
    """
    meta = entry["tensor_meta"]
    if entry["use_pickle"] or meta is None:
        raise ValueError("it holds a pickled object, which sfumato does not load")
    dtype = DTYPES[meta["dtype"]]
    flat = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
    sizes, strides = ([side["as_int"] for side in meta[each]] for each in ("sizes", "strides"))
    return flat.as_strided(sizes, strides, meta["storage_offset"]["as_int"])
