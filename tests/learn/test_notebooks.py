"""The notebooks of the lessons: conversion, and execution in the order of the course."""

from pathlib import Path

import lessons
import nbformat
import pytest

TEXT = """# Title

A [lesson](NAME.md#formula-7), a [page](../../sampling.md), the [paper](https://arxiv.org/abs/2006.11239).

```python
figure.savefig("figure.png", dpi=100)
sf.save_grid(images, "grid.png")
```

![a figure](../images/figure.png)
![a grid](../images/grid.png)

```py
not = run
```

<details><summary>Answer</summary>

Yes.

```python
assert True
```

</details>
"""


def test_a_page_becomes_a_notebook() -> None:
    name = lessons.lessons()[0]
    notebook = lessons.notebook(TEXT.replace("NAME", name))
    nbformat.validate(notebook)
    install, title, code, quoted, answer = notebook.cells
    assert "%pip install" in install.source
    assert f"A [lesson]({name}.ipynb#formula-7), a page, the [paper](https://arxiv.org/abs/2006.11239)." in title.source
    assert code.source.endswith('Image("grid.png")')
    assert 'Image("figure.png")' not in code.source
    assert quoted.source == "```py\nnot = run\n```\n\n**Answer**\n\nYes."
    assert answer.source == "assert True"


@pytest.mark.parametrize("language", lessons.LANGUAGES)
@pytest.mark.parametrize("name", lessons.lessons())
def test_all_code_and_no_picture_of_the_page_is_in_the_notebook(name: str, language: str) -> None:
    page = lessons.page(name, language)
    cells = lessons.notebook(page).cells
    words = "".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert "../" not in words
    assert "<details>" not in words
    codes = [cell.source for cell in cells if cell.cell_type == "code"][1:]
    assert all(code.startswith(block.rstrip()) for code, block in zip(codes, lessons.CODE.findall(page), strict=True))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which all lessons run, so that later ones use the models of earlier ones."""
    return tmp_path_factory.mktemp("course")


@pytest.mark.slow
@pytest.mark.parametrize("name", lessons.lessons())
def test_the_notebook_runs_and_writes_its_pictures(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = pytest.importorskip("nbclient", reason="nbclient is not installed: pip install -e '.[dev]'")
    monkeypatch.delenv("MPLBACKEND")  # Jupyter's own, which shows figures
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
    for picture in folder.glob("*.png"):
        picture.unlink()
    page = lessons.page(name)
    resources = {"metadata": {"path": str(folder)}}
    notebook = client.NotebookClient(lessons.notebook(page), timeout=900, resources=resources).execute()
    pictures = lessons.PICTURE.findall(page)
    assert {picture.name for picture in folder.glob("*.png")} == set(pictures)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= len(pictures)
