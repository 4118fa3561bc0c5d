"""What is built from the pages: by Sphinx from docs/, and by a package index from those at the root."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import masquerade_ws
from masquerade_ws import WebSocketClient
from masquerade_ws.lifecycle.transitions import TRANSITIONS
from masquerade_ws.testing import EventServer
from tests.docs.reading import error_names, text_of
from tests.support.pages import ROOT

pytestmark = pytest.mark.slow  # a build takes many seconds

DOCS = ROOT / "docs"
PAGES = {page.relative_to(DOCS).with_suffix("") for page in DOCS.rglob("*.rst") if page.parent.name != "figures"}
AT_THE_ROOT = sorted(path.name for path in ROOT.glob("*.rst"))


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sphinx", reason="the pages are built by Sphinx, of the extra docs")
    pytest.importorskip("furo", reason="the pages have the theme furo, of the extra docs")
    built = tmp_path_factory.mktemp("html")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", str(DOCS), str(built)]

    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return built


def test_the_pages_are_built_without_a_warning(html: Path) -> None:
    assert {page.relative_to(html).with_suffix("") for page in html.rglob("*.html")} >= PAGES


def test_the_reference_has_all_that_may_be_imported(html: Path) -> None:
    intersphinx = pytest.importorskip("sphinx.util.inventory", reason="the pages are built by Sphinx")
    with (html / "objects.inv").open("rb") as file:
        inventory = intersphinx.InventoryFile.load(file, "", lambda base, target: target)

    documented = {name for domain in inventory for name in inventory[domain]}

    assert {f"masquerade_ws.{name}" for name in masquerade_ws.__all__} <= documented
    for name in ("connection.Connection", "testing.EventServer", "contrib.flask.MasqueradeWS", "contrib.django.client"):
        assert f"masquerade_ws.{name}" in documented
    for owner, path in ((WebSocketClient, "masquerade_ws"), (EventServer, "masquerade_ws.testing")):
        members = {name for name in dir(owner) if not name.startswith("_")}
        assert {f"{path}.{owner.__name__}.{name}" for name in members} <= documented
    for name in ("get", "wait_for", "close", "dropped"):
        assert f"masquerade_ws.EventStream.{name}" in documented


def test_the_search_finds_pages_by_words_and_by_names(html: Path) -> None:
    index = (html / "searchindex.js").read_text(encoding="utf-8")
    found = json.loads(index[index.index("{") : index.rindex("}") + 1])

    assert {f"errors/{name}" for name in error_names()} <= {*found["docnames"]}
    terms = {*found["terms"]} | {*found["titleterms"]}
    assert {"proxi", "jitter", "duplic", "metric", "prometheus", "opentelemetri", "sentri"} <= terms  # stems of words
    assert "run_image_job" in json.dumps(found["objects"])


@pytest.mark.parametrize("width", [380, 1280])
def test_no_line_is_cut_on_any_page(width: int, html: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium)
        page = browser.new_page(viewport={"width": width, "height": 900})
        for path in sorted(html.rglob("*.html")):
            page.goto(path.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path
            assert page.evaluate(CUT) == [], path
        browser.close()


CUT = """
() => [...document.querySelectorAll("pre, .sig, article img")]
    .filter((each) => each.scrollWidth > each.clientWidth + 1 || each.getBoundingClientRect().right > innerWidth)
    .map((each) => each.innerText || each.src)
"""


def test_code_can_be_copied_without_its_prompts(html: Path) -> None:
    script = (html / "_static" / "copybutton.js").read_text(encoding="utf-8")
    assert r"\\$ |>>> |" in script


def test_the_first_page_has_what_a_newcomer_looks_for(html: Path) -> None:
    page = (html / "index.html").read_text(encoding="utf-8")
    for wanted in ('id="install"', 'href="changelog.html"', "License:", "harbour.jpg", "demo.jpg"):
        assert wanted in page


def test_the_table_of_transitions_is_shown_from_the_code() -> None:
    directive = pytest.importorskip("docs.conf", reason="the pages are built by Sphinx").Transitions

    rows = directive.rows()

    assert len(rows) == len(TRANSITIONS) + 1
    assert ("``CONNECTED`` (connected)", "``LOST``", "``WAITING`` (disconnected)") in rows


@pytest.mark.parametrize("name", AT_THE_ROOT)
def test_docutils_finds_nothing_to_complain_about(name: str) -> None:
    core = pytest.importorskip("docutils.core", reason="docutils is not installed")
    complaints = io.StringIO()
    settings = {"report_level": 2, "halt_level": 5, "warning_stream": complaints, "syntax_highlight": "none"}

    core.publish_doctree(text_of(name), settings_overrides=settings)

    assert complaints.getvalue() == ""


@pytest.mark.parametrize("name", AT_THE_ROOT)
def test_a_package_index_can_show_it(name: str) -> None:
    rst = pytest.importorskip("readme_renderer.rst", reason="readme_renderer is not installed")
    complaints = io.StringIO()

    html = rst.render(text_of(name), stream=complaints)

    assert (html is not None, complaints.getvalue()) == (True, "")
