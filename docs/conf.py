"""Configuration of the documentation site: `make docs`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import sfumato

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
python_maximum_signature_line_length = 88
suppress_warnings = ["misc.highlighting_failure", "myst.header"]


def with_links_of_the_site(app: Sphinx, name: object, text: list[str]) -> None:
    """Replaces links to CONTRIBUTING.md by links to its page."""
    del app, name
    text[0] = text[0].replace("](../CONTRIBUTING.md)", "](contributing.md)")


def with_links_from_docs(app: Sphinx, path: Path, page: str, text: list[str]) -> None:
    """Replaces links of a page of the repository's root, which a page of the site includes."""
    del app, path, page
    text[0] = text[0].replace("](docs/", "](").replace("](examples/", "](../examples/")
    text[0] = text[0].replace("](CONTRIBUTING.md)", "](contributing.md)")


def without_substitutions(app: Sphinx, kind: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Quotes the bars of docstrings: |x| is a substitution in reStructuredText."""
    del app, kind, name, thing, options
    lines[:] = [line.replace("|", r"\|") for line in lines]


def setup(app: Sphinx) -> None:
    """Connects the functions above."""
    app.connect("source-read", with_links_of_the_site)
    app.connect("include-read", with_links_from_docs)
    app.connect("autodoc-process-docstring", without_substitutions)
