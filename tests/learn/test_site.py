"""The documentation site: builds without warnings, is complete in both languages, and needs no network."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import lessons
import pytest

pytestmark = pytest.mark.slow
bs4 = pytest.importorskip("bs4", reason="Sphinx and furo are not installed: pip install -e '.[docs]'")
pytest.importorskip("furo", reason="Sphinx and furo are not installed: pip install -e '.[docs]'")

DOCS = Path(__file__).parents[2] / "docs"
PAGES = [f"{language}/{name}" for language in lessons.LANGUAGES for name in ("index", *lessons.lessons())]
LOADED = re.compile(r'<(?:script|link|img|iframe|source|video|object)\b[^>]*\s(?:src|href|data)="([^"]+)"')
STRICT_MATHJAX = """<meta charset="utf-8">
<script>MathJax = {tex: {packages: {"[-]": ["noundefined", "noerrors"]}}}</script>
<script src="_static/tex-svg.js"></script>
"""
each_page = pytest.mark.parametrize("page", PAGES)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    subprocess.run([sys.executable, "-m", "sphinx", "--fail-on-warning", "--quiet", DOCS, folder], check=True)
    return folder


def parsed(path: Path) -> "bs4.BeautifulSoup":
    return bs4.BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@each_page
def test_every_link_of_a_page_exists(site: Path, page: str) -> None:
    path = site / "learn" / f"{page}.html"
    for link in parsed(path).select("article [href], article [src]"):
        target, _, anchor = unquote(link.get("href") or link["src"]).partition("#")
        if target.startswith("http"):
            continue
        linked = (path.parent / target).resolve() if target else path
        assert linked.is_file(), target
        if anchor and linked.suffix == ".html":
            assert parsed(linked).find(id=anchor), (target, anchor)


@each_page
def test_a_page_has_its_language_switch_and_notebook(site: Path, page: str) -> None:
    language, name = page.split("/")
    content = parsed(site / "learn" / f"{page}.html")
    assert content.html["lang"] == language
    first = [link["href"] for link in content.article.p.find_all("a")]
    other = "zh" if language == "en" else "en"
    assert first == [f"../{other}/{name}.html"] + [f"{name}.ipynb"] * (name != "index")


@each_page
def test_formulas_are_marked_for_mathjax(site: Path, page: str) -> None:
    article = parsed(site / "learn" / f"{page}.html").article
    assert page.endswith("/index") or article.select("div.math")
    for element in article.select(".math, pre, code"):
        element.extract()
    assert "$" not in article.get_text()


def test_nothing_is_loaded_from_other_hosts(site: Path) -> None:
    loaded = {file for path in site.rglob("*.html") for file in LOADED.findall(path.read_text(encoding="utf-8"))}
    assert any(file.partition("?")[0].endswith("_static/tex-svg.js") for file in loaded)
    assert [file for file in loaded if re.match("(https?:)?//", file)] == []
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert not re.search(r"(url\(|@import)\s*[\"']?(https?:)?//", styles)


def test_chinese_words_of_two_characters_are_found(site: Path) -> None:
    index = (site / "searchindex.js").read_text(encoding="utf-8").removeprefix("Search.setIndex(").removesuffix(")")
    assert json.loads(index)["terms"].keys() >= {"公式", "训练"}


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_a_browser_renders_every_formula_without_network(site: Path) -> None:
    pages = [path for path in site.rglob("*.html") if 'class="math ' in path.read_text(encoding="utf-8")]
    formulas = [formula for page in pages for formula in parsed(page).select("span.math, div.math")]
    page = site / "formulas.html"
    page.write_text(STRICT_MATHJAX + "\n".join(map(str, formulas)), encoding="utf-8")
    browser = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--host-resolver-rules=MAP * 0.0.0.0"]
    command = [*browser, "--virtual-time-budget=60000", "--dump-dom", page.as_uri()]
    dom = subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout
    assert len(formulas) > 0
    assert dom.count("<mjx-container") == len(formulas)
    assert re.findall(r'data-mjx-error="([^"]*)"', dom) == []
