"""The parts of a network that are compiled, each on its own."""

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

MOST_SHAPES = 64
"""Shapes for which one piece of code may be compiled anew, before PyTorch gives up and runs it eagerly."""


class Region(nn.Module):
    """A part of a network that is compiled on its own, so that parts of one shape share the code and its compilation.

    What crosses its border should be contiguous, (n, h, w, c) for features: gradients then come back in the layout in
    which their values went, and nothing is copied.
    """


def missing_compiler(device: torch.device) -> str | None:
    """What PyTorch needs to compile for a device and cannot find here; None if nothing is missing.

    Triton for CUDA, which PyTorch does not install on Windows, and a C++ compiler elsewhere.
    """
    if device.type == "cuda":
        return None if find_spec("triton") else "Triton"
    usual = {"win32": "cl", "darwin": "clang++"}.get(sys.platform, "g++")
    return None if shutil.which(os.environ.get("CXX", usual)) else "a C++ compiler"


def compile_regions(network: nn.Module, cache: Path) -> None:
    """Compiles each region of a network in place, when it is first called; for fixed shapes.

    Names, weights and copies of the network stay as they are (a copy is not compiled).

    Args:
        network: whose `Region`s are compiled.
        cache: where compiled code is kept for later processes; settled by the first call in a process.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache))
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, MOST_SHAPES)
    for module in network.modules():
        if isinstance(module, Region):
            module.compile(dynamic=False)
