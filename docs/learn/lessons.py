"""The lessons of the course as Jupyter notebooks, and their pictures.

Write the notebooks of both languages:

    python docs/learn/lessons.py notebooks --folder notebooks

Draw the pictures of lessons again:

    python docs/learn/lessons.py pictures --only forward reverse
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import tyro
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

COURSE = Path(__file__).parent
LANGUAGES = ("en", "zh")
INSTALL = "# Without sfumato: %pip install -e PATH, with the path of a clone of its repository."
KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}

CODE = re.compile(r"^```python\n(.*?)^```$\n?", re.DOTALL | re.MULTILINE)
PICTURE = re.compile(r"!\[[^\]]*\]\(\.\./images/([\w.-]+)\)\n?")
LINK = re.compile(r"\[([^\]]*)\]\((?!http|#)([^)#]+?)(#[^)]*)?\)")
ANSWER = re.compile(r"<details><summary>(.*?)</summary>")


def lessons() -> list[str]:
    """Names of the lessons, in the order of their first links in the index."""
    return list(dict.fromkeys(re.findall(r"\]\((\w+)\.md", page("index"))))


def page(name: str, language: str = "en") -> str:
    """Markdown text of a page."""
    return (COURSE / language / f"{name}.md").read_text(encoding="utf-8")


def notebook(text: str) -> NotebookNode:
    """Converts the Markdown text of a lesson to a notebook; each python block is a cell."""
    cells = [new_code_cell(INSTALL)]
    for index, part in enumerate(CODE.split(text)):
        if index % 2:
            cells.append(new_code_cell(part.rstrip()))
            continue
        for name in PICTURE.findall(part):
            if f'savefig("{name}"' not in cells[-1].source:  # Jupyter shows the figures of Matplotlib
                cells[-1].source += f'\n\nfrom IPython.display import Image\n\nImage("{name}")'
        if words := notebook_text(part):
            cells.append(new_markdown_cell(words))
    for index, cell in enumerate(cells):
        cell.id = f"cell-{index}"
    return new_notebook(cells=cells, metadata=KERNEL)


def notebook_text(text: str) -> str:
    """Text of a lesson without pictures and folded answers; only links to lessons and to the web remain."""

    def link(match: re.Match[str]) -> str:
        name = match[2].removesuffix(".md")
        return f"[{match[1]}]({name}.ipynb{match[3] or ''})" if name in lessons() else match[1]

    return LINK.sub(link, ANSWER.sub(r"**\1**", PICTURE.sub("", text)).replace("</details>", "")).strip()


def write_notebooks(folder: Path) -> None:
    """Writes the notebooks of both languages.

    Args:
        folder: folder that receives the folders en and zh
    """
    for language in LANGUAGES:
        (folder / language).mkdir(parents=True, exist_ok=True)
        for name in lessons():
            nbformat.write(notebook(page(name, language)), folder / language / f"{name}.ipynb")


def draw_pictures(only: tuple[str, ...] = (), folder: Path = Path("runs/learn")) -> None:
    """Runs lessons in the order of the course and copies their pictures to docs/learn/images.

    Args:
        only: names of the lessons; none: all
        folder: folder in which the lessons run; models trained there by an earlier call are used again
    """
    if unknown := [name for name in only if name not in lessons()]:
        print(f"Unknown lessons: {', '.join(unknown)}. The lessons are: {', '.join(lessons())}.", file=sys.stderr)
        sys.exit(2)
    folder.mkdir(parents=True, exist_ok=True)
    for name in only or lessons():
        text = page(name)
        (folder / f"{name}.py").write_text("\n".join(CODE.findall(text)), encoding="utf-8")
        subprocess.run([sys.executable, f"{name}.py"], cwd=folder, check=True, env={**os.environ, "MPLBACKEND": "Agg"})
        for picture in PICTURE.findall(text):
            shutil.copy(folder / picture, COURSE / "images")


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({"notebooks": write_notebooks, "pictures": draw_pictures}, description=__doc__)
