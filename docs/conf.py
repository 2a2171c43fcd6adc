"""Configuration of the documentation site: `make docs`."""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.search.en import SearchEnglish
from sphinx.transforms import SphinxTransform

import sfumato

sys.path.append(str(Path(__file__).parent / "learn"))
import lessons

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "sfumato"
version = release = sfumato.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
default_role = "code"  # docstrings quote code with single backticks
html_theme = "furo"
html_title = f"sfumato {version}"
myst_heading_anchors = 3
myst_enable_extensions = ["dollarmath"]
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
mathjax_path = "tex-svg.js"  # one file with all glyphs: the site loads nothing from other hosts
html_css_files = ["site.css"]
mathjax = Path(find_spec("sphinx-mathjax-offline").origin).parent / "static" / "mathjax"
html_static_path = ["site.css", str(mathjax / mathjax_path)]
python_maximum_signature_line_length = 88
suppress_warnings = ["misc.highlighting_failure", "myst.header"]


def with_links_of_the_site(app: Sphinx, name: object, text: list[str]) -> None:
    """Replaces links to CONTRIBUTING.md and to the README by links to their pages."""
    del app, name
    text[0] = text[0].replace("](../CONTRIBUTING.md)", "](contributing.md)")
    text[0] = text[0].replace("](../../../README.md)", "](../../index.md)")


def with_links_from_docs(app: Sphinx, path: Path, page: str, text: list[str]) -> None:
    """Replaces links of a page of the repository's root, which a page of the site includes."""
    del app, path, page
    text[0] = text[0].replace("](docs/", "](").replace("](examples/", "](../examples/")
    text[0] = text[0].replace("](CONTRIBUTING.md)", "](contributing.md)")


def without_substitutions(app: Sphinx, kind: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Quotes the bars of docstrings: |x| is a substitution in reStructuredText."""
    del app, kind, name, thing, options
    lines[:] = [line.replace("|", r"\|") for line in lines]


def with_course_links(app: Sphinx, name: str, text: list[str]) -> None:
    """Adds the language switch and the notebook to a page of the course, and the lessons to its index."""
    del app
    folder, _, page = name.rpartition("/")
    languages = {"learn/en": "English", "learn/zh": "中文"}
    if folder not in languages:
        return
    links = [words if other == folder else f"[{words}](/{other}/{page}.md)" for other, words in languages.items()]
    if page == "index":
        text[0] += "\n```{toctree}\n:hidden:\n\n" + "\n".join(lessons.lessons()) + "\n```\n"
    else:
        links.append(f'<a href="{page}.ipynb" download>Notebook</a>')
    text[0] = re.sub(r"^(# .*)", rf"\1\n\n{' · '.join(links)}", text[0], count=1)


def write_notebooks(app: Sphinx, error: Exception | None) -> None:
    """Writes the notebooks beside the lessons."""
    if error is None:
        lessons.write_notebooks(Path(app.outdir) / "learn")


def in_language_of_page(app: Sphinx, name: str, template: str, context: dict[str, Any], tree: object) -> None:
    """Sets the attribute `lang` of the Chinese pages."""
    del app, template, tree
    if name.startswith("learn/zh/"):
        context["language"] = "zh"


class Anchors(SphinxTransform):
    """Makes `<a id="name"></a>` known to MyST as the target of links."""

    default_priority = 800  # before MyST resolves links

    def apply(self, **options: object) -> None:
        """Adds the anchors to those of the headings."""
        del options
        for node in self.document.findall(nodes.raw):
            if match := re.fullmatch(r'<a id="([\w-]+)">', node.astext()):
                self.document.myst_slugs[match[1]] = (node.line, match[1], match[1])


class Search(SearchEnglish):
    """English search that also finds Chinese words of two characters."""

    def split(self, input: str) -> list[str]:
        """Words, and the pairs of neighbouring Chinese characters."""
        runs = re.findall(r"[\u4e00-\u9fff]{3,}", input)
        return super().split(input) + [run[start : start + 2] for run in runs for start in range(len(run) - 1)]


def setup(app: Sphinx) -> None:
    """Connects the functions and classes above."""
    app.connect("source-read", with_links_of_the_site)
    app.connect("source-read", with_course_links)
    app.connect("include-read", with_links_from_docs)
    app.connect("autodoc-process-docstring", without_substitutions)
    app.connect("html-page-context", in_language_of_page)
    app.connect("build-finished", write_notebooks)
    app.add_transform(Anchors)
    app.add_search_language(Search)
