"""The gallery's page, as a person in front of a browser meets it: with the keyboard, by ear, on a small screen."""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("flask", reason="needs flask")
from masquerade_ws.cli.demo import picture, studio
from masquerade_ws.cli.demo.gateway import Gateway
from masquerade_ws.testing import EventServer
from tests.support.gallery import Gallery
from tests.support.raw_server import until
from tests.support.web_server import free_port

HAS_PLAYWRIGHT = importlib.util.find_spec("playwright") is not None
if HAS_PLAYWRIGHT:
    from playwright.sync_api import Browser, BrowserContext, Error, Locator, Page, expect, sync_playwright

pytestmark = [
    pytest.mark.slow,  # a browser takes seconds for a page
    pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium"),
    pytest.mark.skipif(not HAS_PLAYWRIGHT, reason="needs playwright"),
]

LIMIT = 30.0  # seconds
QUIET = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
]
HOSTILE = '<img src=x onerror="window.harmed=1"><script>window.harmed=1</script>\'"&lt;'


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=LIMIT * 1000)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def complaints() -> list[str]:
    """What the browser holds against the pages: errors, and violations of the policy."""
    return []


@pytest.fixture
def context(browser: Browser, complaints: list[str]) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1000, "height": 800}, reduced_motion="reduce")
    context.set_default_timeout(LIMIT * 1000)
    context.on("weberror", lambda error: complaints.append(str(error.error)))
    context.on("dialog", lambda dialog: complaints.append(dialog.message) or dialog.dismiss())
    context.on(
        "console",
        lambda message: complaints.append(message.text) if "Content Security Policy" in message.text else None,
    )
    yield context
    context.close()
    assert complaints == []


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for module in (picture, studio):
        monkeypatch.setattr(module, "SIZE", 48)
    return tmp_path / "images"


@pytest.fixture
def image_url(images: Path) -> str:
    images.mkdir()
    path = images / "a.png"
    path.write_bytes(picture.png(*picture.paint("a picture")))
    return path.as_uri()


@pytest.fixture
def gallery(server: EventServer, images: Path) -> Iterator[Gallery]:
    with Gallery(server.url, images) as gallery:
        yield gallery


@pytest.fixture
def page(context: BrowserContext, gallery: Gallery) -> Page:
    return visit(context, gallery)


def visit(context: BrowserContext, gallery: Gallery) -> Page:
    page = context.new_page()
    page.goto(gallery.url)
    expect(page.locator("#connection")).to_have_text("Connected")
    return page


def order(page: Page, prompt: str) -> Locator:
    """Type a prompt as the keyboard does, and return the card of its picture."""
    page.keyboard.insert_text(prompt)
    page.keyboard.press("Enter")
    return page.get_by_role("listitem").filter(has=page.get_by_role("heading", level=3)).first


def taken(server: EventServer) -> str:
    """Return the id of the next job that the gateway is asked for."""
    job_id: str = server.expect("image.generate", LIMIT)["payload"]["job_id"]
    return job_id


def tell(server: EventServer, job_id: str, kind: str, **payload: Any) -> None:
    server.emit(f"image.generation.{kind}", {"job_id": job_id, **payload})


def is_loaded(card: Locator) -> bool:
    return bool(card.get_by_role("img").evaluate("image => image.decode().then(() => image.naturalWidth > 0)"))


def test_a_picture_is_asked_for_watched_and_seen_with_the_keyboard_alone(
    page: Page, server: EventServer, image_url: str
) -> None:
    prompt = page.get_by_role("textbox", name="Describe a picture")
    expect(prompt).to_be_focused()
    page.keyboard.type("a harbour")
    page.keyboard.press("Enter")
    expect(prompt).to_be_focused()
    expect(prompt).to_have_value("")

    job_id = taken(server)
    progress = page.get_by_role("progressbar", name="Progress of a harbour")
    expect(progress).not_to_have_attribute("value", re.compile(""))
    tell(server, job_id, "started", user_id="demo")
    expect(progress).to_have_attribute("value", "0")
    tell(server, job_id, "progress", progress=40, stage="sketching")
    expect(progress).to_have_attribute("value", "40")
    expect(page.get_by_text("Painting: sketching", exact=True)).to_be_visible()

    tell(server, job_id, "completed", image_url=image_url)
    card = page.get_by_role("listitem").filter(has_text="a harbour")
    expect(card.get_by_role("img", name="Picture of a harbour")).to_be_visible()
    assert is_loaded(card)
    expect(progress).to_be_hidden()
    for name in ("Paint", "Picture of a harbour"):
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name=name).or_(page.get_by_role("link", name=name))).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url("**/pictures/a.png")
    page.go_back()
    expect(page.get_by_role("img", name="Picture of a harbour")).to_be_visible()


def test_a_screen_reader_is_told_what_matters(page: Page, server: EventServer, image_url: str) -> None:
    news, connection = page.get_by_role("status").last, page.get_by_role("status").first
    order(page, "a harbour")
    job_id = taken(server)
    for kind, payload, text in [
        ("started", {}, "Painting: a harbour"),
        ("failed", {"error": "no blue"}, "Failed: no blue: a harbour"),
        ("completed", {"image_url": image_url}, "Ready: a harbour"),
    ]:
        tell(server, job_id, kind, **payload)
        expect(news).to_have_text(text)
    server.stop()
    expect(connection).to_have_text("Reconnecting…")


def test_roles_and_names_tell_what_is_what(page: Page, server: EventServer) -> None:
    expect(page.locator("body")).to_match_aria_snapshot(
        """
        - banner:
          - paragraph: Masquerade
          - status: Connected
        - main:
          - heading "What shall we paint?" [level=1]
          - textbox "Describe a picture"
          - button "Paint"
          - paragraph: A few words will do, 300 characters at most.
          - region "The walls are still bare":
            - heading "The walls are still bare" [level=2]
            - list:
              - listitem:
                - button "a lighthouse in the rain"
          - status
        """
    )
    page.get_by_role("button", name="a lighthouse in the rain").press("Enter")
    expect(page.get_by_role("textbox")).to_be_focused()
    page.keyboard.press("Enter")
    tell(server, taken(server), "failed", error="no blue", retry_allowed=True)
    order(page, "a market by night")
    tell(server, taken(server), "progress", progress=30, stage="sketching")
    expect(page.get_by_role("region")).to_match_aria_snapshot(
        """
        - region "Your pictures":
          - heading "Your pictures" [level=2]
          - list:
            - listitem:
              - heading "a market by night" [level=3]
              - progressbar "Progress of a market by night"
              - paragraph: "Painting: sketching"
            - listitem:
              - heading "a lighthouse in the rain" [level=3]
              - paragraph: "Failed: no blue"
              - button "Try again"
        """
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_to_complain_of(scheme: str, page: Page, server: EventServer, image_url: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python").Axe()
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")

    def check() -> None:
        results = axe.run(page)
        assert results.response["passes"]
        assert results.violations_count == 0, results.generate_report()

    check()
    for kind, payload in [
        ("progress", {"progress": 40, "stage": "sketching"}),
        ("completed", {"image_url": image_url}),
        ("failed", {"error": "no blue", "retry_allowed": True}),
    ]:
        card = order(page, kind)
        tell(server, taken(server), kind, **payload)
        expect(card).to_have_attribute("data-phase", {"progress": "painting", "completed": "done"}.get(kind, kind))
    check()
    server.stop()
    expect(page.locator("#connection")).to_have_text("Reconnecting…")
    check()


def test_a_job_that_failed_is_tried_again(page: Page, server: EventServer, image_url: str) -> None:
    card = order(page, "a harbour")
    job_id = taken(server)
    tell(server, job_id, "failed", error="the painter ran out of blue", retry_allowed=True)
    expect(card.get_by_text("Failed: the painter ran out of blue", exact=True)).to_be_visible()
    expect(card.get_by_role("progressbar")).to_be_hidden()

    again = card.get_by_role("button", name="Try again")
    expect(again).to_have_accessible_description("a harbour")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(again).to_be_focused()
    page.keyboard.press("Enter")
    expect(card.get_by_role("heading", name="a harbour")).to_be_focused()
    assert taken(server) == job_id
    tell(server, job_id, "completed", image_url=image_url)
    expect(card.get_by_text("Ready", exact=True)).to_be_visible()
    assert is_loaded(card)


def test_a_job_that_must_not_be_tried_again_has_no_button(page: Page, server: EventServer) -> None:
    card = order(page, "a harbour")
    tell(server, taken(server), "failed", error="not allowed")
    expect(card.get_by_text("Failed: not allowed", exact=True)).to_be_visible()
    expect(card.get_by_role("button")).to_be_hidden()


def test_a_picture_that_cannot_be_loaded_is_a_failure(page: Page, server: EventServer, images: Path) -> None:
    card = order(page, "a harbour")
    tell(server, taken(server), "completed", image_url=(images / "gone.png").as_uri())
    expect(card.get_by_text("Failed: the picture cannot be loaded", exact=True)).to_be_visible()
    expect(card.get_by_role("button", name="Try again")).to_be_visible()


def test_hostile_texts_are_shown_as_texts(page: Page, server: EventServer) -> None:
    card = order(page, HOSTILE)
    expect(card.get_by_role("heading")).to_have_text(HOSTILE)
    job_id = taken(server)
    for kind, payload, text in [
        ("progress", {"progress": 10, "stage": HOSTILE}, f"Painting: {HOSTILE}"),
        ("failed", {"error": HOSTILE}, f"Failed: {HOSTILE}"),
        (
            "completed",
            {"image_url": "javascript:window.harmed=1"},
            "Failed: this page does not show pictures from javascript:window.harmed=1",
        ),
        (
            "completed",
            {"image_url": f"data:text/html,{HOSTILE}"},
            f"Failed: this page does not show pictures from data:text/html,{HOSTILE}",
        ),
    ]:
        tell(server, job_id, kind, **payload)
        expect(card.locator(".note")).to_have_text(text)
    page.reload()
    expect(card.locator(".note")).to_have_text(text)
    assert page.locator("body script, [src='x']").count() == 0
    assert page.evaluate("[...document.links].every(link => link.getAttribute('href') === null)")
    assert page.evaluate("window.harmed") is None


def test_the_policy_stops_what_would_get_through(browser: Browser, gallery: Gallery) -> None:
    with browser.new_context() as context:
        page = visit(context, gallery)
        with pytest.raises(Error, match="requires 'TrustedHTML'"):
            page.evaluate("text => { document.querySelector('h1').innerHTML = text }", HOSTILE)
        with page.expect_console_message(lambda message: "connect-src 'self'" in message.text):
            page.evaluate("fetch('http://localhost:1/').catch(() => {})")


def test_a_prompt_ends_where_its_length_does(page: Page, server: EventServer) -> None:
    for prompt in ("", "   "):
        page.keyboard.insert_text(prompt)
        page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="The walls are still bare")).to_be_visible()
    page.get_by_role("textbox").clear()
    order(page, "x" * 400)
    assert server.expect("image.generate", LIMIT)["payload"]["prompt"] == "x" * 300


def test_a_restart_of_the_gateway_is_seen_and_survived(context: BrowserContext, images: Path) -> None:
    port = free_port()
    url = f"ws://localhost:{port}/ws"
    with Gallery(url, images) as gallery:
        with Gateway(images, port=port, step=600):
            page = visit(context, gallery)
            first = order(page, "a harbour")
            expect(first.locator(".note")).to_have_text("Painting")
        expect(page.locator("#connection")).to_have_text("Reconnecting…")
        order(page, "a garden")
        expect(page.get_by_text("Waiting for the gateway…", exact=True)).to_be_visible()
        with Gateway(images, port=port, step=0.01):
            expect(page.locator("#connection")).to_have_text("Connected")
            for prompt in ("a harbour", "a garden"):
                card = page.get_by_role("listitem").filter(has_text=prompt)
                expect(card.locator(".note")).to_have_text("Ready")
                assert is_loaded(card)


def test_a_stream_that_ends_begins_anew_and_nothing_is_missed(context: BrowserContext, images: Path) -> None:
    with Gateway(images, step=0.01) as gateway, Gallery(gateway.url, images) as gallery:
        page = visit(context, gallery)
        page.evaluate(
            "window.told = [];"
            " new MutationObserver(() => told.push(document.getElementById('connection').textContent))"
            ".observe(document.getElementById('connection'), {childList: true})"
        )
        for prompt in ("a harbour", "a garden"):
            gallery.disconnect()
            card = order(page, prompt)
            expect(card.locator(".note")).to_have_text("Ready")
            assert is_loaded(card)
        assert page.evaluate("told")[:2] == ["Reconnecting…", "Connected"]


def test_an_error_of_a_proxy_in_between_is_outlived(page: Page, gallery: Gallery) -> None:
    page.route("**/events/*", lambda route: route.fulfill(status=502))
    with page.expect_response(lambda response: response.status == 502):
        gallery.disconnect()
    expect(page.locator("#connection")).to_have_text("Reconnecting…")
    page.unroute("**/events/*")
    expect(page.locator("#connection")).to_have_text("Connected")


def test_tabs_see_their_own_jobs_and_a_closed_one_holds_no_thread(
    context: BrowserContext, gallery: Gallery, server: EventServer, image_url: str
) -> None:
    pages = [visit(context, gallery) for _ in range(3)]
    jobs = []
    for number, page in enumerate(pages):
        order(page, f"picture {number}")
        jobs.append(taken(server))
    assert len(gallery.streams()) >= 3
    pages.pop(0).close()
    until(lambda: len(gallery.streams()) == 2)
    for job_id in reversed(jobs):
        tell(server, job_id, "completed", image_url=image_url)
    for number, page in enumerate(pages, 1):
        expect(page.get_by_role("heading", level=3)).to_have_text([f"picture {number}"])
        expect(page.get_by_text("Ready", exact=True)).to_be_visible()


def test_a_hidden_tab_holds_no_thread_and_catches_up_when_seen_again(context: BrowserContext, images: Path) -> None:
    with Gateway(images, step=0.01) as gateway, Gallery(gateway.url, images) as gallery:
        page = visit(context, gallery)
        hide = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true});"
        changed = "document.dispatchEvent(new Event('visibilitychange'))"
        page.evaluate(hide % "true" + changed)
        until(lambda: not gallery.streams())
        card = order(page, "a harbour")
        expect(card.locator(".note")).to_have_text("Waiting for a free painter…")
        page.evaluate(hide % "false" + changed)
        expect(card.locator(".note")).to_have_text("Ready")


def test_a_reload_keeps_the_pictures(page: Page, server: EventServer, image_url: str) -> None:
    order(page, "a harbour")
    tell(server, taken(server), "completed", image_url=image_url)
    expect(page.get_by_text("Ready", exact=True)).to_be_visible()
    under_way = order(page, "a garden")
    job_id = taken(server)
    tell(server, job_id, "started")
    expect(under_way.locator(".note")).to_have_text("Painting")
    page.reload()
    expect(page.get_by_role("heading", level=3)).to_have_text(["a garden", "a harbour"])
    expect(page.locator("#connection")).to_have_text("Connected")
    tell(server, job_id, "completed", image_url=image_url)
    expect(page.get_by_text("Ready", exact=True)).to_have_count(2)


@pytest.mark.parametrize(("width", "font"), [(320, "100%"), (640, "200%")], ids=["a small screen", "large text"])
def test_nothing_has_to_be_scrolled_sideways(
    width: int, font: str, page: Page, server: EventServer, image_url: str
) -> None:
    page.set_viewport_size({"width": width, "height": 600})
    page.evaluate("size => { document.documentElement.style.fontSize = size }", font)
    order(page, "W" * 300)
    tell(server, taken(server), "failed", error="W" * 300, retry_allowed=True)
    card = order(page, "a harbour")
    tell(server, taken(server), "completed", image_url=image_url)
    expect(card.get_by_text("Ready", exact=True)).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    texts = page.locator("h1, h2:visible, h3, .note, #hint")
    assert texts.evaluate_all("texts => texts.every(text => text.scrollWidth <= text.clientWidth)")
    for element in page.get_by_role("button").or_(page.get_by_role("textbox")).all():
        box = element.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width


def test_it_moves_and_darkens_as_the_person_likes(page: Page) -> None:
    order(page, "a harbour")
    colours = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        colours.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert colours == ["rgb(247, 245, 251)", "rgb(21, 17, 31)"]
    assert page.evaluate("document.getAnimations().length") == 0
    page.emulate_media(reduced_motion="no-preference")
    assert page.evaluate("document.getAnimations().length") > 0
