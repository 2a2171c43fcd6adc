"""Networks from outside the package: any `nn.Module` that is called with (images, times, labels)."""

import inspect
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial

from torch import nn

from sfumato.errors import ConfigError
from sfumato.utils.imports import NamedCode, parse_path, settings_in

Builder = Callable[..., nn.Module]
"""A class or function that returns a network. It is called with those of `KEYWORDS` that it has as arguments."""

KEYWORDS = ("channels", "size", "classes", "columns", "augmentation")
"""`channels` of the images, their `size` (height, width), number of `classes` (0: none), number of values of each of
the `columns` of conditions (0: a number), and numbers in the description of an `augmentation`."""

BUILDERS = NamedCode("network", "--backbone")


@dataclass(frozen=True)
class CustomConfig:
    """Architecture of a network from outside the package.

    Attributes:
        architecture: import path of its class, with settings for its constructor.
        image_channels: channels of the images, in and out.
        size: (height, width) of the images.
        classes: number of classes; 0 for a network without.
        columns: number of values of each column of conditions, 0 for a number.
        augmentation: numbers in the description of an augmentation; 0 for a network without.

    Raises:
        ConfigError: `architecture` is not an import path.
    """

    architecture: str
    image_channels: int
    size: tuple[int, int]
    classes: int = 0
    columns: tuple[int, ...] = ()
    augmentation: int = 0

    def __post_init__(self) -> None:
        parse_path(self.architecture)


def register_network(network: str | Builder | nn.Module) -> str:
    """Makes a network known to this process, and returns its import path for the model's files.

    Args:
        network: an import path, whose code is run; a class or function that builds networks; or a network, of which
            copies are trained. The name of a network of the package is returned unchanged.

    Raises:
        ConfigError: the code cannot be imported, or builds no networks.
    """
    if not isinstance(network, nn.Module):
        return BUILDERS.register(network)
    kind = type(network)

    def build(**_: object) -> nn.Module:
        return deepcopy(network)

    build.__signature__ = inspect.signature(kind)  # type: ignore[attr-defined]  # `inspect.signature` returns it
    build.__name__, build.__module__ = kind.__name__, kind.__module__
    return BUILDERS.register(build)


def takes(architecture: str, keyword: str) -> bool:
    """Whether the constructor of a registered network has an argument of `KEYWORDS`.

    Raises:
        ConfigError: the network is not registered.
    """
    return keyword in inspect.signature(BUILDERS.find(architecture)).parameters


def build_custom(config: CustomConfig) -> nn.Module:
    """Builds a new network of a registered class.

    Raises:
        ConfigError: the class is not registered, or cannot be built.
    """
    path, builder = config.architecture, BUILDERS.find(config.architecture)
    values = (config.image_channels, config.size, config.classes, config.columns, config.augmentation)
    keywords = {name: value for name, value in zip(KEYWORDS, values, strict=True) if takes(path, name)}
    given = {} if isinstance(builder, partial) else settings_in(path)
    if keywords.keys() & given.keys():
        raise ConfigError(f"{path} sets {', '.join(keywords.keys() & given.keys())}", "Those follow from the images.")
    try:
        network = builder(**keywords | given)
    except Exception as error:  # custom code may raise anything
        raise ConfigError(
            f"{path} cannot be built with {', '.join(keywords) or 'no arguments'}: {type(error).__name__}: {error}",
            f"Give its other arguments defaults or settings ({path}:NAME=VALUE), or name a function that builds it.",
        ) from error
    if not isinstance(network, nn.Module):
        raise ConfigError(f"{path} built a {type(network).__name__}", "Name a class or function that builds a Module.")
    return network
