"""The commands and snippets of the README and of the pages for users run as printed, and links exist."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from sfumato import cli

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *(ROOT / f"docs/{name}.md" for name in ("sampling", "training", "evaluation", "reproducing")),
]
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
PARSED_ONLY = "<!-- parsed, not run"

BLOCK = re.compile(r"(?P<remark><!--[^>]*-->\n)?```(?P<language>\w+)\n(?P<body>.*?)```", re.DOTALL)
CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(((?!http)[^)#\s]*)(?:#([^)\s]+))?\)")
ANCHOR = re.compile(r'<a id="([^"]+)">')
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def commands(run: bool) -> list[list[str]]:
    """The `sfumato` commands of the console blocks that are run, or that are only parsed."""
    bodies = [
        match["body"]
        for match in BLOCK.finditer(TEXT)
        if match["language"] == "console" and (match["remark"] or "").startswith(PARSED_ONLY) != run
    ]
    lines = [line.removeprefix("$ ") for body in bodies for line in body.splitlines() if line.startswith("$ ")]
    return [shlex.split(line)[1:] for line in lines if line.startswith("sfumato ")]


def snippets() -> list[str]:
    return [match["body"] for match in BLOCK.finditer(TEXT) if match["language"] == "python"]


def links() -> list[tuple[Path, str, str]]:
    """Page, file and anchor of each link in the documentation; a link without a file is to its own page."""
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [(page, *link) for page in pages for link in LINK.findall(CODE.sub("", page.read_text(encoding="utf-8")))]


def anchors(page: Path) -> set[str]:
    """Anchors of a page: explicit ones, and those that GitHub and MyST give to headings."""
    text = page.read_text(encoding="utf-8")
    headings = HEADING.findall(re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE))
    slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return slugs | set(ANCHOR.findall(text))


@pytest.mark.slow
def test_commands_and_snippets_run_as_printed(tmp_path: Path) -> None:
    for arguments in commands(run=True):
        subprocess.run([sys.executable, "-m", "sfumato", *arguments], cwd=tmp_path, check=True)
    for snippet in snippets():
        subprocess.run([sys.executable, "-W", "error", "-c", snippet], cwd=tmp_path, check=True)
    made = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png")}
    assert {"samples/digits/grid.png", "pictures/reverse.png", "pictures/loss.png", "sevens.png"} <= made


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("arguments", commands(run=False), ids=shlex.join)
def test_commands_that_are_not_run_can_be_parsed(arguments: list[str]) -> None:
    assert cli.parse(arguments)


def test_every_link_exists() -> None:
    assert [(page.name, file) for page, file, _ in links() if file and not (page.parent / file).is_file()] == []


def test_every_linked_anchor_exists() -> None:
    linked = [(page, page.parent / file if file else page, anchor) for page, file, anchor in links() if anchor]
    assert [(page.name, to.name, anchor) for page, to, anchor in linked if anchor not in anchors(to)] == []


def test_the_readme_has_at_most_150_lines() -> None:
    assert len(PAGES[0].read_text(encoding="utf-8").splitlines()) <= 150
