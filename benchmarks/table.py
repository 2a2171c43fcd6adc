"""What benchmarks print: where they ran, and their rows as a markdown table."""

import platform
from collections.abc import Sequence
from typing import Any

import torch


def environment(device: torch.device) -> str:
    """Hardware and versions."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    return f"{name}, PyTorch {torch.__version__}, Python {platform.python_version()}"


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """A table with a column for each key, in the order in which keys first appear."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    lines = [[str(row.get(key, "")) for key in keys] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (keys, ["---"] * len(keys), *lines))
