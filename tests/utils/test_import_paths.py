"""Import paths: which code a path names, and that only `register` runs it."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sfumato.errors import ConfigError, RunError
from sfumato.utils.imports import NamedCode, is_import_path, is_same_code, parse_path, require_packages, settings_in

COUNTED = """
from pathlib import Path
with Path(__file__).with_suffix(".runs").open("a") as file:
    file.write("run ")
class Net:
    home = __file__
class Other: ...
"""
"""A file that records each time it is run."""


@pytest.fixture
def code() -> NamedCode:
    return NamedCode("network", "--backbone")


@pytest.fixture(autouse=True)
def _same_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forgets the modules that a test imports, and the folders in which it looks for them."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    yield
    for name in set(sys.modules) - before:
        if name.startswith(("_sfumato_", "door")):
            del sys.modules[name]


def written(folder: Path, text: str = COUNTED, name: str = "doornet.py") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


def runs(file: Path) -> int:
    counter = file.with_suffix(".runs")
    return counter.read_text().count("run") if counter.exists() else 0


@pytest.mark.parametrize(
    ("path", "place", "name", "settings"),
    [
        ("nets.py:Net", "nets.py", "Net", {}),
        ("a/b c/nets.py:Net", "a/b c/nets.py", "Net", {}),
        ("package.module:_Net2", "package.module", "_Net2", {}),
        (r"C:\nets\my.py:Net", r"C:\nets\my.py", "Net", {}),
        (r"C:nets\my.py:Net", r"C:nets\my.py", "Net", {}),
        ("C:/nets/my.py:Net:width=8", "C:/nets/my.py", "Net", {"width": 8}),
        ("nets.py:Net:width=64,dropout=0.1", "nets.py", "Net", {"width": 64, "dropout": 0.1}),
        ("nets.py:Net:rate=1e-3,deep=true,wide=false", "nets.py", "Net", {"rate": 1e-3, "deep": True, "wide": False}),
        ("nets.py:Net:kind=a:b,shift=-2", "nets.py", "Net", {"kind": "a:b", "shift": -2}),
        ("nets.py:Net:weights=/a b/~x@(1)=2.pt,n=1", "nets.py", "Net", {"weights": "/a b/~x@(1)=2.pt", "n": 1}),
    ],
)
def test_a_path_has_a_place_a_name_and_settings(path: str, place: str, name: str, settings: dict[str, Any]) -> None:
    assert is_import_path(path)
    assert (parse_path(path)["place"], parse_path(path)["name"]) == (place, name)
    assert settings_in(path) == settings
    assert [type(value) for value in settings_in(path).values()] == [type(value) for value in settings.values()]


@pytest.mark.parametrize(
    "text",
    ["unet", "", ":", ":Net", "nets.py", "nets.py:", "nets.py:2Net", "ddim:eta=0.5", "ddim:eta=0.5 @(~)", r"C:\my.py"],
)
def test_other_names_are_no_import_paths(text: str, code: NamedCode) -> None:
    assert not is_import_path(text)
    assert (code.register(text), code.named) == (text, {})
    with pytest.raises(ConfigError, match=r"is not an import path\. Write package\.module:Name or path/file\.py:Name"):
        code.find(text)


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("nets.py:Net", "./nets.py:Net", True),
        ("nets.py:Net", "nets:Net", True),
        ("a/nets.py:Net", "a.nets:Net", True),
        ("nets.py:Net", f"{Path.cwd()}/nets.py:Net", True),
        ("../nets.py:Net", f"{Path.cwd().parent}/nets.py:Net", True),
        ("nets.py:Net:width=3", "./nets.py:Net:width=3", True),
        ("unet", "unet", True),
        ("unet", "convnet", False),
        ("nets.py:unet", "unet", False),
        ("nets.py:Net", "nets.py:Other", False),
        ("nets.py:Net", "others.py:Net", False),
        ("a/nets.py:Net", "b/nets.py:Net", False),
        ("a/nets.py:Net", "b.nets:Net", False),
        ("nets.py:Net", "nets.py:Net:width=3", False),
    ],
)
def test_spellings_of_a_path_are_the_same_code(one: str, other: str, is_same: bool) -> None:
    assert is_same_code(one, other) is is_same_code(other, one) is is_same


def test_a_file_can_import_the_modules_of_its_folder(code: NamedCode, tmp_path: Path) -> None:
    written(tmp_path / "nets", "width = 7\n", "doorneighbour.py")
    file = written(tmp_path / "nets", "from doorneighbour import width\ndef build():\n    return width\n")
    before = sys.path.copy()
    assert code.register(f"{file}:build:deep=true") == f"{file}:build:deep=true"
    assert code.find(f"{file}:build:deep=true")() == 7
    assert sys.path == before


def test_a_dataclass_in_a_file_is_defined(code: NamedCode, tmp_path: Path) -> None:
    text = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n    b: int = 3\n"
    )
    file = written(tmp_path, text)
    code.register(f"{file}:A")
    assert code.find(f"{file}:A")().b == 3


def test_modules_in_the_current_folder_hide_no_installed_one(
    code: NamedCode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "doorpackage", "def build():\n    return 'mine'\n", "nets.py")
    written(tmp_path, "raise RuntimeError\n", "colorsys.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    code.register("doorpackage.nets:build")
    assert code.find("doorpackage.nets:build")() == "mine"
    code.register("colorsys:rgb_to_hsv")
    assert code.find("colorsys:rgb_to_hsv")(1, 1, 1) == (0, 0, 1)


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("def build(:\n", "build", r"doornet\.py cannot be imported: SyntaxError: .*Name a Python file \(path/file"),
        ("import doormissing\n", "build", r"cannot be imported: ModuleNotFoundError: No module named 'doormissing'"),
        ("1 / 0\n", "build", r"cannot be imported: ZeroDivisionError: division by zero\. Name a Python file"),
        ("width = 3\n", "build", r"doornet\.py has no function or class build\. Name one that it defines"),
        ("width = 3\n", "width", r"doornet\.py has no function or class width\. Name one that it defines"),
    ],
)
def test_an_invalid_file_is_rejected_with_the_reason(
    text: str, name: str, message: str, code: NamedCode, tmp_path: Path
) -> None:
    file = written(tmp_path, text)
    before = sys.path.copy()
    with pytest.raises(ConfigError, match=message):
        code.register(f"{file}:{name}")
    assert (code.named, sys.path) == ({}, before)


@pytest.mark.parametrize("place", ["doormissing.py", r"C:\nets\my.py", "doormissing", "doormissing.nets"])
def test_a_missing_file_or_module_is_rejected(place: str, code: NamedCode) -> None:
    with pytest.raises(ConfigError, match=r"cannot be imported: (File|Module)NotFoundError: .*Name a Python file"):
        code.register(f"{place}:Net")


def test_only_register_runs_code(code: NamedCode, tmp_path: Path) -> None:
    file = written(tmp_path)
    path = f"{file}:Net:width=3"
    assert is_import_path(path)
    assert settings_in(path) == {"width": 3}
    with pytest.raises(ConfigError, match=r"whose code is not part of sfumato\. Read that code first") as raised:
        code.find(path)
    assert f"add --backbone {path}, or pass it in Python" in str(raised.value)
    assert runs(file) == 0
    code.register(path)
    assert runs(file) == 1


def test_a_name_registered_for_one_kind_is_unknown_to_another(code: NamedCode, tmp_path: Path) -> None:
    path = f"{written(tmp_path)}:Net"
    code.register(path)
    with pytest.raises(ConfigError, match=r"the loss is .*add --loss "):
        NamedCode("loss", "--loss").find(path)


def test_a_file_that_is_registered_again_is_not_run_again(
    code: NamedCode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path)
    code.register(f"{file}:Net")
    first = code.find(f"{file}:Net")
    monkeypatch.chdir(tmp_path)
    for path in (f"{file}:Net", f"{file}:Net:width=3", "doornet.py:Net", "./doornet.py:Net"):
        code.register(path)
        assert code.find(path) is first
    assert runs(file) == 1


def test_a_class_imported_in_python_is_the_one_of_its_module(
    code: NamedCode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    import doornet  # type: ignore[import-not-found]

    assert code.register(doornet.Net) == "doornet:Net"
    code.register("doornet:Net")
    assert (code.find("doornet:Net"), runs(file)) == (doornet.Net, 1)


@pytest.mark.parametrize("names", [("one.py", "other.py"), ("one.py", "one.py")], ids=["stems differ", "same stem"])
def test_a_class_of_the_same_name_in_another_file_is_separate(
    names: tuple[str, str], code: NamedCode, tmp_path: Path
) -> None:
    files = [written(tmp_path / folder, name=name) for folder, name in zip("ab", names, strict=True)]
    code.register(f"{files[0]}:Net")
    code.register(f"{files[1]}:Other")
    for file in (files[1], files[0], files[1]):
        code.register(f"{file}:Net")
        assert vars(code.find(f"{file}:Net"))["home"] == str(file)


def test_code_is_found_only_by_spellings_of_its_own_place(
    code: NamedCode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [written(tmp_path), *(written(tmp_path / folder) for folder in "ab")]
    monkeypatch.chdir(tmp_path)
    for path in ("doornet.py:Net", "a/doornet.py:Net:width=3", "b/doornet.py:Net"):
        code.register(path)
    spellings = ("doornet.py:Net", "./a/doornet.py:Net:width=3", f"{files[2]}:Net")
    assert [vars(code.find(path))["home"] for path in spellings] == [str(file) for file in files]
    for other in ("elsewhere/other.py:Net", "c/doornet.py:Net", "__main__:Net"):
        with pytest.raises(ConfigError, match="not part of sfumato"):
            code.find(other)
    with pytest.raises(ConfigError, match="other settings were given"):
        code.find("b/doornet.py:Net:width=3")


def test_a_path_of_another_computer_is_added_as_a_spelling(code: NamedCode, tmp_path: Path) -> None:
    path = f"{written(tmp_path)}:Net:width=3"
    code.register(path)
    code.add_spelling("there/nets.py:Net:width=5", path)
    assert code.find("there/nets.py:Net:width=3") is code.find(path)
    with pytest.raises(ConfigError, match="other settings were given"):
        code.find("there/nets.py:Net:width=5")


def built(width: int = 1) -> int:
    return width


class Answer:
    """Objects that can be called."""

    def __call__(self) -> int:
        """A number."""
        return 3


@pytest.mark.parametrize(
    ("given", "name", "result"),
    [
        (built, "built", 1),
        (functools.partial(built, width=5), "built", 5),
        (functools.partial(functools.partial(built), width=6), "built", 6),
        (lambda: 9, "lambda", 9),
        (Answer(), "Answer", 3),
    ],
    ids=["function", "partial", "partial of partial", "lambda", "object"],
)
def test_functions_partials_lambdas_and_objects_have_a_path(
    given: Callable[[], int], name: str, result: int, code: NamedCode
) -> None:
    path = code.register(given)
    assert path == f"{__name__}:{name}"
    assert code.find(path)() == result


SCRIPT = """
import sys
from sfumato.utils.imports import NamedCode

class Net: ...

code = NamedCode("network", "--backbone")
path = code.register(Net)
assert code.find(path) is Net, path
code.register(sys.argv[1] + ":Net")
assert code.find(path) is Net
assert code.find(sys.argv[1] + ":Net") is not Net
print(path)
"""


def test_a_class_of_a_script_is_named_by_its_file(tmp_path: Path) -> None:
    script, other = written(tmp_path, SCRIPT, "script.py"), written(tmp_path)
    done = subprocess.run([sys.executable, "script.py", other], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{script}:Net"
    code = NamedCode("network", "--backbone")
    with pytest.raises(ConfigError, match="not part of sfumato"):
        code.find(f"{script}:Net")


def test_installed_packages_are_no_error() -> None:
    require_packages("a test", "none", "torch", "numpy")


def test_the_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if it is not the package itself but one that it imports."""
    (tmp_path / "door_wall.py").write_text("import door_that_is_missing", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("door_that_is_missing", "door_wall"):
        with pytest.raises(RunError) as error:
            require_packages("a house", "stone", "torch", name)
        assert error.value.problem == "a house needs door_that_is_missing, which is not installed"
        assert error.value.remedy == "Install it with: pip install 'sfumato[stone]'."
