"""Functions and classes from outside the package, by import path. Files name them; only a person can import them.

An import path that is read from a file is never imported. It is looked up among those that a person named in this
process, in Python or on the command line.
"""

import importlib
import importlib.util
import re
import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any
from zlib import crc32

from sfumato.errors import ConfigError

PATH = re.compile(
    r"(?P<place>(?:[A-Za-z]:)?[^:]+):(?P<name>[A-Za-z_]\w*)(?::(?P<settings>\w+=[\w.:+/\\-]*(?:,\w+=[\w.:+/\\-]*)*))?"
)
"""package.module:Name or file.py:Name, with settings as file.py:Name:width=64,dropout=0.1."""


def is_import_path(text: str) -> bool:
    """Whether a name has the form of an import path rather than of a part of the package, such as `ddim:eta=0.5`."""
    return PATH.fullmatch(text) is not None


def parse_path(path: str) -> re.Match[str]:
    """The groups `place`, `name` and `settings` of an import path.

    Raises:
        ConfigError: it is malformed.
    """
    match = PATH.fullmatch(path)
    if match is None:
        raise ConfigError(
            f"{path!r} is not an import path", "Write package.module:Name or path/file.py:Name, such as nets.py:MyNet."
        )
    return match


def settings_in(path: str) -> dict[str, Any]:
    """The settings in an import path: numbers, true, false and words."""
    pairs = [setting.partition("=") for setting in (parse_path(path)["settings"] or "").split(",") if setting]
    return {name: _value(value) for name, _, value in pairs}


class NamedCode:
    """The functions and classes of one kind that a person named in this process, by their own names.

    Args:
        kind: for error messages, such as "network".
        flag: of the command line that names one, such as "--backbone".
    """

    def __init__(self, kind: str, flag: str) -> None:
        self.kind, self.flag = kind, flag
        self.named: dict[str, Callable[..., Any]] = {}
        self.settings: dict[str, dict[str, Any]] = {}
        self.by_path: set[str] = set()

    def register(self, given: str | Callable[..., Any]) -> str:
        """Makes a function or class known to this process.

        Args:
            given: itself, or its import path, whose code is then run.

        Returns:
            The import path that files will hold.

        Raises:
            ConfigError: the import path is malformed, or cannot be imported.
        """
        if isinstance(given, str):
            match = parse_path(given)
            known = self.named.get(match["name"])
            if known is None or not _is_from(known, match["place"]):
                self.named[match["name"]] = _imported(match["place"], match["name"])
            self.settings[match["name"]] = settings_in(given)
            self.by_path.add(match["name"])
            return given
        if not callable(given):
            raise ConfigError(f"the {self.kind} is {given!r}", "Give a class, a function, or an import path.")
        origin = _origin(given)
        name, module = getattr(origin, "__name__", type(origin).__name__).strip("<>"), origin.__module__
        self.named[name] = given
        self.settings[name] = dict(given.keywords) if isinstance(given, partial) else {}
        self.by_path.discard(name)
        script = getattr(sys.modules["__main__"], "__file__", None)
        return f"{script if script and module == '__main__' else module}:{name}"

    def find(self, path: str) -> Callable[..., Any]:
        """The function or class that an import path means, if a person named it in this process.

        Raises:
            ConfigError: nobody did, or the path has settings that nobody gave.
        """
        name, quoted = parse_path(path)["name"], shlex.quote(path)
        if name not in self.named:
            raise ConfigError(
                f"the {self.kind} is {path}, whose code is not part of sfumato",
                f"Read that code first, since it will run: then add {self.flag} {quoted}, or pass it in Python.",
            )
        if settings_in(path) != self.settings[name] and (settings_in(path) or name in self.by_path):
            raise ConfigError(
                f"the {self.kind} is {path}, and other settings were given",
                f"Give these if you trust them: {self.flag} {quoted}, or a functools.partial in Python.",
            )
        return self.named[name]


def _value(text: str) -> int | float | bool | str:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _origin(given: Callable[..., Any]) -> Callable[..., Any]:
    """The function or class itself, or that of a functools.partial."""
    return given.func if isinstance(given, partial) else given


def _is_from(known: Callable[..., Any], place: str) -> bool:
    """Whether a function or class came from this file or module."""
    module = _origin(known).__module__
    if not place.endswith(".py"):
        return module == place
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is not None and Path(file).resolve() == Path(place).resolve()


def _imported(place: str, name: str) -> Callable[..., Any]:
    """The function or class from a file or module, whose code is run."""
    try:
        module = _run_file(Path(place)) if place.endswith(".py") else _import_module(place)
    except Exception as error:  # whatever the code there raises
        raise ConfigError(
            f"{place} cannot be imported: {type(error).__name__}: {error}",
            "Name a Python file (path/file.py:Name), or a module that Python finds from here (package.module:Name).",
        ) from error
    found = getattr(module, name, None)
    if not callable(found):
        raise ConfigError(f"{place} has no function or class {name}", "Name one that it defines.")
    return found  # type: ignore[no-any-return]  # of a module that nobody checks


def _import_module(name: str) -> ModuleType:
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # last, so that no file here hides an installed module
    return importlib.import_module(name)


def _run_file(path: Path) -> ModuleType:
    name = f"_sfumato_{path.stem}_{crc32(str(path.resolve()).encode()):08x}"  # files of one name are other modules
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(f"there is no Python file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    folder = str(path.resolve().parent)
    sys.path.append(folder)  # for the modules beside it, as `python file.py` finds them
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.path[len(sys.path) - 1 - sys.path[::-1].index(folder)]
    return module
