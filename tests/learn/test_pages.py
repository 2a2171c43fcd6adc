"""Pages of the course: form, equal code and pictures in both languages, quoted lines, and the table of formulas."""

import re
import subprocess
import sys
from pathlib import Path

import lessons
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
NAMES = lessons.lessons()
FORMULAS = [*(f"formula-{number}" for number in range(1, 12)), "algorithm-1", "algorithm-2", "appendix"]
PROGRAMS = ("ddpm.py", "ddpm_condition.py")
EXERCISE = {"en": "\n## Exercise\n", "zh": "\n## 练习\n"}
MAX_LINES = 160
MAX_BYTES, MAX_WIDTH = 150_000, 800  # of a picture

ANCHOR = re.compile(r'<a id="([^"]+)"></a>')
QUOTED = re.compile(r"^```py\n(.*?)^```$", re.DOTALL | re.MULTILINE)
TARGET = re.compile(r"\]\(([^)\s]+)\)")
ROW = re.compile(r"^\|[^|]+\| \[[^]]+\]\((\w+\.md)#([\w-]+)\) \| `([\w./]+)`: `(.+)` \| `([\w./:]+)` \|$", re.MULTILINE)

each_lesson = pytest.mark.parametrize("name", NAMES)
each_language = pytest.mark.parametrize("language", lessons.LANGUAGES)


def formula_rows(language: str) -> list[tuple[str, str, str, str, str]]:
    """Page, anchor, file, line of code and test of each row of the table in the index."""
    return ROW.findall(lessons.page("index", language))


@each_language
def test_the_index_lists_every_page(language: str) -> None:
    assert {path.stem for path in (lessons.COURSE / language).glob("*.md")} == {"index", *NAMES}


@pytest.mark.parametrize("name", ["index", *NAMES])
def test_the_languages_differ_only_in_their_words(name: str) -> None:
    english, chinese = lessons.page(name, "en"), lessons.page(name, "zh")
    for pattern in (lessons.CODE, QUOTED, ANCHOR, TARGET):
        assert pattern.findall(chinese) == pattern.findall(english)


@each_language
@each_lesson
def test_a_lesson_has_formula_picture_and_checked_exercise(name: str, language: str) -> None:
    text = lessons.page(name, language)
    *_, answer = lessons.CODE.findall(text.partition(EXERCISE[language])[2])
    assert "assert " in answer
    assert lessons.PICTURE.search(text)
    assert text.count("$$") >= 2
    assert len(text.splitlines()) <= MAX_LINES


@each_language
def test_lessons_link_to_their_neighbours(language: str) -> None:
    for before, name, after in zip([None, *NAMES], NAMES, [*NAMES[1:], None], strict=False):
        last_line = lessons.page(name, language).rstrip().splitlines()[-1]
        linked = [target for target in TARGET.findall(last_line) if target != "index.md"]
        assert linked == [f"{neighbour}.md" for neighbour in (before, after) if neighbour]


@each_lesson
def test_quoted_lines_are_in_the_programs(name: str) -> None:
    programs = [(ROOT / "examples" / program).read_text(encoding="utf-8") for program in PROGRAMS]
    lines = {line.strip() for program in programs for line in program.splitlines()} | {"..."}
    quoted = [line.strip() for block in QUOTED.findall(lessons.page(name)) for line in block.splitlines()]
    assert [line for line in quoted if line not in lines] == []


def test_every_picture_is_shown_and_small() -> None:
    shown = {picture for name in NAMES for picture in lessons.PICTURE.findall(lessons.page(name))}
    files = {path.name: path for path in (lessons.COURSE / "images").iterdir()}
    assert set(files) == shown
    assert [name for name, path in files.items() if path.stat().st_size > MAX_BYTES] == []
    for path in files.values():
        with Image.open(path) as picture:
            assert picture.width <= MAX_WIDTH, path


def test_the_table_has_every_formula_of_the_article() -> None:
    assert [anchor for _, anchor, *_ in formula_rows("en")] == FORMULAS
    assert formula_rows("zh") == formula_rows("en")


@pytest.mark.parametrize(
    ("page", "anchor", "file", "line", "test"), formula_rows("en"), ids=[anchor for _, anchor, *_ in formula_rows("en")]
)
def test_a_formula_has_anchor_line_and_test(page: str, anchor: str, file: str, line: str, test: str) -> None:
    assert ANCHOR.findall(lessons.page(page.removesuffix(".md"))).count(anchor) == 1
    folders = [ROOT / "examples", ROOT / "src/sfumato", ROOT / "docs/learn/en"]
    source = next(folder / file for folder in folders if (folder / file).is_file())
    text = source.read_text(encoding="utf-8")
    assert line in ("".join([*lessons.CODE.findall(text), *QUOTED.findall(text)]) if source.suffix == ".md" else text)
    path, _, function = test.partition("::")
    assert f"\ndef {function}(" in (ROOT / path).read_text(encoding="utf-8")


def test_unknown_lessons_are_rejected() -> None:
    command = [sys.executable, lessons.__file__, "pictures", "--only", "forward", "nope"]
    outcome = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert outcome.returncode == 2
    assert outcome.stderr == f"Unknown lessons: nope. The lessons are: {', '.join(NAMES)}.\n"


def test_the_help_shows_each_example_on_a_line() -> None:
    command = [sys.executable, lessons.__file__, "--help"]
    lines = subprocess.run(command, capture_output=True, encoding="utf-8", check=True).stdout.splitlines()
    examples = ("notebooks --folder notebooks", "pictures --only forward reverse")
    assert {f"python docs/learn/lessons.py {example}" for example in examples} <= {line.strip() for line in lines}


@pytest.mark.slow
def test_the_tests_of_the_formulas_are_collected() -> None:
    tests = {test for *_, test in formula_rows("en")}
    subprocess.run([sys.executable, "-m", "pytest", "--collect-only", "-q", *sorted(tests)], cwd=ROOT, check=True)
