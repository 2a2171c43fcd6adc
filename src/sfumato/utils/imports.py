"""Functions and classes from outside the package, by import path.

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

from sfumato.errors import ConfigError, RunError

PATH = re.compile(r"(?P<place>(?:[A-Za-z]:)?[^:]+):(?P<name>[A-Za-z_]\w*)(?::(?P<settings>\w+=[^,]*(?:,\w+=[^,]*)*))?")
"""package.module:Name or file.py:Name, with settings as file.py:Name:width=64,dropout=0.1. Values have no commas."""


def require_packages(use: str, extra: str, *packages: str) -> None:
    """Raises `RunError` unless all packages are installed.

    Args:
        use: what needs the packages, for the error message, such as "the export to ONNX".
        extra: extra of sfumato that installs them.
        packages: names for `import`.
    """
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise RunError(
                f"{use} needs {error.name or package}, which is not installed",
                f"Install it with: pip install 'sfumato[{extra}]'.",
            ) from error


def is_import_path(text: str) -> bool:
    """Whether a name has the form of an import path rather than of a part of the package, such as `ddim:eta=0.5`."""
    return PATH.fullmatch(text) is not None


def parse_path(path: str) -> re.Match[str]:
    """The groups `place`, `name` and `settings` of an import path, or `ConfigError` if it is malformed."""
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


def is_same_code(one: str, other: str) -> bool:
    """Whether two import paths are spellings of the same file or module, name and settings. Imports nothing.

    A relative path of a file is the end of its absolute path and of the name of its module.

    >>> is_same_code("./nets.py:Net", "nets.py:Net"), is_same_code("a/nets.py:Net", "a.nets:Net")
    (True, True)
    """
    if not (is_import_path(one) and is_import_path(other)):
        return one == other
    places = []
    for path in (one, other):
        place = parse_path(path)["place"]
        file = Path(place).resolve() if ".." in place else Path(place)
        places.append(file.with_suffix("").parts if place.endswith(".py") else tuple(place.split(".")))
    shared = min(map(len, places))
    is_same_place = places[0][-shared:] == places[1][-shared:]
    is_same_name = parse_path(one)["name"] == parse_path(other)["name"]
    return is_same_place and is_same_name and settings_in(one) == settings_in(other)


class NamedCode:
    """The functions and classes of one kind that a person named in this process, by import paths without settings."""

    def __init__(self, kind: str, flag: str) -> None:
        self.kind, self.flag = kind, flag
        self.named: dict[str, tuple[Callable[..., Any], list[dict[str, Any]]]] = {}
        """Each function or class, and the settings with which files may name it."""

    def register(self, given: str | Callable[..., Any]) -> str:
        """Makes a function or class known to this process.

        Args:
            given: a function or class, or its import path, whose code is run unless it is registered already, as one
                of a script or a notebook is. Other names are returned unchanged.

        Returns:
            The import path for files.

        Raises:
            ConfigError: the code cannot be imported, or is not callable.
        """
        if isinstance(given, str):
            match = PATH.fullmatch(given)
            if match is not None:
                known = self.named.get(_located(given))
                code, allowed = known or (_imported(match["place"], match["name"]), [])
                self._add(_located(given), code, [*allowed, settings_in(given)])
            return given
        if not callable(given):
            raise ConfigError(f"the {self.kind} is {given!r}", "Give a class, a function, or an import path.")
        origin, settings = (given.func, given.keywords) if isinstance(given, partial) else (given, {})
        name, module = getattr(origin, "__name__", type(origin).__name__).strip("<>"), origin.__module__
        script = getattr(sys.modules["__main__"], "__file__", None)
        path = f"{script if script and module == '__main__' else module}:{name}"
        self._add(_located(path), given, [{}, settings])
        return path

    def add_spelling(self, path: str, registered: str) -> None:
        """Makes a registered function or class known by another import path too, such as that of another computer."""
        self._add(_located(path), *self.named[_located(registered)])

    def _add(self, path: str, code: Callable[..., Any], allowed_settings: list[dict[str, Any]]) -> None:
        self.named.pop(path, None)  # so that the last one registered is the last one in the dictionary
        self.named[path] = code, allowed_settings

    def find(self, path: str) -> Callable[..., Any]:
        """The function or class of an import path that was registered in this process.

        Raises:
            ConfigError: it was not registered, or with other settings.
        """
        match, located, quoted = parse_path(path), _located(path), shlex.quote(path)
        spelled = f"{match['place']}:{match['name']}"
        same = [known for known in reversed(self.named) if known == located or is_same_code(known, spelled)]
        if not same:
            raise ConfigError(
                f"the {self.kind} is {path}, whose code is not part of sfumato",
                f"Read that code first, since it will run: then add {self.flag} {quoted}, or pass it in Python.",
            )
        for known in sorted(same, key=lambda known: known != located):  # this file first, then the last one
            code, allowed_settings = self.named[known]
            if settings_in(path) in allowed_settings:
                return code
        raise ConfigError(
            f"the {self.kind} is {path}, and other settings were given",
            f"Give these if you trust them: {self.flag} {quoted}, or a functools.partial in Python.",
        )


def _located(path: str) -> str:
    """An import path without settings, and with the absolute path of a file."""
    match = parse_path(path)
    place = str(Path(match["place"]).resolve()) if match["place"].endswith(".py") else match["place"]
    return f"{place}:{match['name']}"


def _value(text: str) -> int | float | bool | str:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _imported(place: str, name: str) -> Callable[..., Any]:
    """The function or class from a file or module, whose code is run if it was not imported before."""
    try:
        if place.endswith(".py"):
            module = _run_file(Path(place))
        else:
            if str(Path.cwd()) not in sys.path:
                sys.path.append(str(Path.cwd()))  # last, so that no file here hides an installed module
            module = importlib.import_module(place)
    except Exception as error:  # whatever the code there raises
        raise ConfigError(
            f"{place} cannot be imported: {type(error).__name__}: {error}",
            "Name a Python file (path/file.py:Name), or a module that Python finds from here (package.module:Name).",
        ) from error
    found = getattr(module, name, None)
    if not callable(found):
        raise ConfigError(f"{place} has no function or class {name}", "Name one that it defines.")
    return found  # type: ignore[no-any-return]  # of a module that nobody checks


def _run_file(path: Path) -> ModuleType:
    name = f"_sfumato_{path.stem}_{crc32(str(path.resolve()).encode()):08x}"  # files of one name are other modules
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(f"there is no Python file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    folder = str(path.resolve().parent)
    sys.path.append(folder)  # for the modules beside it, as `python file.py` finds them
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        del sys.path[len(sys.path) - 1 - sys.path[::-1].index(folder)]
    return module
