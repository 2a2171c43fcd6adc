"""Features of your own network: a class or function that returns an `nn.Module`, or an import path of one."""

import sys
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from torch import Tensor, nn

from sfumato.errors import RunError
from sfumato.metrics.features.network import CONVENTION, NetworkFeatures, content_digest
from sfumato.utils.files import tensors_digest
from sfumato.utils.imports import NamedCode, settings_in

FeatureNetwork = Callable[..., nn.Module] | nn.Module
"""Class or function that returns a network, or the network."""

PLAIN_TYPES = (bool, int, float, complex, str, bytes, Path, torch.dtype, torch.device, type(None))
"""Types of values that are identified by their `repr`."""

HELD_BY_MODULES = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")
"""Attributes of an `nn.Module` that hold its tensors and modules, which are identified one by one."""

EXTRACTORS = NamedCode("feature network", "--features (sfumato eval) or --eval-features (sfumato train)")
"""Feature networks that were registered in this process."""


def register_features(name: str) -> str:
    """Imports the code of a feature network if `name` is an import path, and returns `name`.

    Raises:
        ConfigError: The code cannot be imported.
    """
    return EXTRACTORS.register(name)


def custom_features(given: str | FeatureNetwork) -> NetworkFeatures:
    """Features of a network, in evaluation mode. Random weights are initialised with seed 0.

    Args:
        given: Network, class or function; or an import path, which must be registered.

    Raises:
        ConfigError: The import path is not registered.
        RunError: The network cannot be built.
    """
    settings = settings_in(given) if isinstance(given, str) else {}
    builder = EXTRACTORS.find(given) if isinstance(given, str) else given
    code = builder.func if isinstance(builder, partial) else builder
    code = type(code) if isinstance(code, nn.Module) else code
    name = getattr(code, "__name__", type(code).__name__).strip("<>")
    source = given if isinstance(given, str) else f"{code.__module__}:{name}"
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = deepcopy(builder) if isinstance(builder, nn.Module) else builder(**settings)
    except Exception as error:  # custom code can raise any exception
        problem = f"{source} cannot be built: {type(error).__name__}: {error}"
        raise RunError(problem, "Give its arguments as settings, such as nets.py:Net:weights=FILE.") from error
    if not isinstance(network, nn.Module):
        raise RunError(f"{source} returned a {type(network).__name__} instead of an nn.Module", CONVENTION)
    network.eval()

    def program(images: Tensor) -> object:
        return network.to(images.device)(images)

    arguments = (settings, builder.args, builder.keywords) if isinstance(builder, partial) else settings
    return NetworkFeatures(f"{name}-{_digest(network, code, arguments)}", source, program)


def _digest(network: nn.Module, code: Any, arguments: object) -> str:  # noqa: ANN401 (a class or function)
    """Digest of the tensors, attributes and source files of a network, and of the arguments that it was built with.

    Networks of equal digest must have equal outputs. The digest is random for lambdas, local functions and classes,
    code without a file, as in a notebook, and networks with hooks or with attributes that are functions or objects.
    """
    facts, origins, names = [repr(arguments)], {code.__module__}, {getattr(code, "__qualname__", "")}
    tensors = dict(network.named_parameters()) | dict(network.named_buffers())
    is_identified = True
    for path, module in network.named_modules():
        attributes = {key: value for key, value in vars(module).items() if key not in HELD_BY_MODULES}
        tensors |= {f"{path}.{key}": value for key, value in attributes.items() if isinstance(value, Tensor)}
        others = {key: value for key, value in attributes.items() if not isinstance(value, Tensor)}
        is_identified &= _is_plain(others)
        facts.append(f"{path} {type(module).__qualname__} {others}")
        origins.add(type(module).__module__)
        names.add(type(module).__qualname__)
    files = [getattr(sys.modules.get(origin), "__file__", None) for origin in sorted(origins)]
    if not is_identified or not all(files) or any("<" in name for name in names):
        return uuid4().hex[:8]
    facts += [content_digest(Path(file)) for file in files if file]
    return tensors_digest(repr(facts), {name: tensor.detach() for name, tensor in tensors.items()})[:8]


def _is_plain(value: object) -> bool:
    """Whether a value is plain, or a container of plain values."""
    if isinstance(value, dict):
        return all(map(_is_plain, value.items()))
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return isinstance(value, PLAIN_TYPES)
