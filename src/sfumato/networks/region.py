"""Regional compilation: the blocks of a network are compiled separately."""

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

MAX_SHAPES = 64
"""Maximum number of shapes for which a region is compiled; further shapes run uncompiled."""


class Region(nn.Module):
    """A block of a network that is compiled separately, so that blocks of the same shape are compiled once.

    Inputs and outputs should be contiguous, (n, h, w, c) for features. Gradients then have the same layout, and nothing
    is copied.
    """


def missing_compiler(device: torch.device) -> str | None:
    """Name of the compiler that PyTorch needs for a device, if it is not installed; otherwise None.

    Triton for CUDA (PyTorch does not install Triton on Windows); a C++ compiler for other devices.
    """
    if device.type == "cuda":
        return None if find_spec("triton") else "Triton"
    usual = {"win32": "cl", "darwin": "clang++"}.get(sys.platform, "g++")
    return None if shutil.which(os.environ.get("CXX", usual)) else "a C++ compiler"


def compile_regions(network: nn.Module, cache: Path) -> None:
    """Marks each region of a network for compilation at its first call, in place and for fixed shapes.

    Names and weights do not change. Copies of the network are not compiled.

    Args:
        network: network with `Region` modules.
        cache: folder for compiled code; ignored after the first call in a process, or if TORCHINDUCTOR_CACHE_DIR is
            set.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache))
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, MAX_SHAPES)
    for module in network.modules():
        if isinstance(module, Region):
            module.compile(dynamic=False)
