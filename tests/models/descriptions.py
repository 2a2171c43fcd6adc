"""Outputs of models, and changes of their config.json."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from sfumato.diffusion.denoiser import PreconditionedDenoiser

Change = Callable[[dict[str, Any]], object]


def outputs(model: PreconditionedDenoiser) -> torch.Tensor:
    """What a model says of fixed inputs."""
    x = torch.linspace(-1, 1, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8)
    with torch.no_grad():
        said: torch.Tensor = model(x, torch.tensor([0.2, 0.9], dtype=torch.float64), torch.tensor([0, 1]))
    return said


def put(name: str, value: object) -> Change:
    """Puts a tensor or field."""

    def change(content: dict[str, Any]) -> None:
        *tables, last = name.split("/")
        for table in tables:
            content = content[table]
        content[last] = value

    return change


def delete(name: str) -> Change:
    """Takes a tensor or field away."""
    return lambda content: content.pop(name)
