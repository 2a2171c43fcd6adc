"""Networks that torch.export wrote (.pt2)."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass

from sfumato.errors import RunError
from sfumato.metrics.features.network import CONVENTION, NetworkFeatures, Side, Signature

LOUD = ("torch.export", "torch.export.pt2_archive._package")
"""Loggers that print a traceback for a file they cannot read."""


def exported_network(path: Path) -> NetworkFeatures:
    """The features of a network that `torch.export.save` wrote.

    Like every program, it should be run only where its author is trusted.

    Raises:
        RunError: The file is missing, or holds something else.
    """
    program = _loaded(path)
    return NetworkFeatures(path, _signature(program), _OnDevice(program))


def _loaded(path: Path) -> ExportedProgram:
    if not path.is_file():
        raise RunError(f"{path} is not there", "Name the .pt2 or .onnx file of a network.")
    reason = "it is no archive"
    if zipfile.is_zipfile(path):
        try:
            with _quiet():
                return torch.export.load(path)
        except Exception as error:  # the reader meets foreign files with whatever its code runs into
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    raise RunError(f"{path} is not a network that torch.export.save wrote: {reason}", CONVENTION)


@contextmanager
def _quiet() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in LOUD]
    were = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, was in zip(loggers, were, strict=True):
            logger.disabled = was


def _signature(program: ExportedProgram) -> Signature:
    signature = program.graph_signature
    inputs = [node for node in program.graph.nodes if node.op == "placeholder" and node.name in signature.user_inputs]
    nodes = {node.name: node for node in program.graph.nodes}
    outputs = [nodes[name] for name in signature.user_outputs if name in nodes]
    return Signature(_shape(inputs[0]) if len(inputs) == 1 else (), [_shape(node) for node in outputs])


def _shape(node: torch.fx.Node) -> Sequence[Side]:
    value: Any = node.meta.get("val")
    return [side if isinstance(side, int) else None for side in value.shape] if isinstance(value, Tensor) else ()


class _OnDevice:
    """A program that follows its input from device to device."""

    def __init__(self, program: ExportedProgram) -> None:
        self._program = program
        self._device: torch.device | None = None

    def __call__(self, images: Tensor) -> Sequence[Tensor]:
        if images.device != self._device:
            self._program = move_to_device_pass(self._program, str(images.device))
            self._module = self._program.module()
            self._device = images.device
        found = self._module(images)
        return [found] if isinstance(found, Tensor) else list(found)
