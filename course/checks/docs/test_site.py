"""The book as a web site: `make docs`, with a real browser."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from course.book.build import docs
from course.book.source import DOCS
from course.checks.browser.test_looks import CONTRASTS, ENOUGH

OVERFLOW = "() => document.documentElement.scrollWidth > innerWidth"
GROUND = "() => getComputedStyle(document.body).backgroundColor"
# Of each diagram that is shown: its file, and its width in the letters of the prose.
DIAGRAMS = """
() => [...document.querySelectorAll(".diagram img")].filter(image => image.checkVisibility())
    .map(image => [image.src.split("/").at(-1), image.width / parseFloat(
        getComputedStyle(document.body).fontSize)])
"""
# The listings whose lines have up to so many characters, and are cut by their frame.
CUT = """
most => [...document.querySelectorAll("pre")]
    .filter(code => code.textContent.split("\\n").every(line => line.length <= most))
    .filter(code => code.scrollWidth > code.clientWidth).map(code => code.textContent)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the site; every warning is an error, as are a broken link and an old listing."""
    folder = tmp_path_factory.mktemp("book") / "site"
    assert docs(is_check=True, site=folder) == 0
    return folder


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Return a page of a window whose requests to other hosts fail the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 720})
    asked = []
    context.on("request", lambda request: asked.append(request.url))
    yield context.new_page()
    context.close()
    assert [url for url in asked if not url.startswith("file:")] == []


def names(site: Path) -> list[str]:
    """Return the names of the pages that a person wrote."""
    return [file.relative_to(DOCS).with_suffix(".html").as_posix() for file in PAGES]


PAGES = [file for file in DOCS.rglob("*.md") if "examples" not in file.parts]


@pytest.mark.parametrize("width", [1280, 390], ids=["projector", "phone"])
def test_no_page_is_wider_than_its_window(site, page, width):
    """Long code scrolls inside its own frame."""
    page.set_viewport_size({"width": width, "height": 800})
    for name in names(site):
        page.goto((site / name).as_uri())
        assert not page.evaluate(OVERFLOW), name


def test_a_projector_shows_whole_lines(site, page):
    """A class sees each line of 88 characters, and on paper every line: nobody scrolls there."""
    for name in names(site):
        page.goto((site / name).as_uri())
        assert page.evaluate(CUT, 88) == [], name
    page.set_viewport_size({"width": 718, "height": 1000})  # A4 with its margins
    page.emulate_media(media="print")
    for name in names(site):
        page.goto((site / name).as_uri())
        assert page.evaluate(CUT, 10_000) == [], name


@pytest.mark.parametrize("width", [1280, 390], ids=["projector", "phone"])
def test_a_diagram_has_letters_as_large_as_the_prose(site, page, width):
    """Mermaid writes letters of 16 pixels. A diagram that were scaled down would be too small."""
    page.set_viewport_size({"width": width, "height": 800})
    found = []
    for name in names(site):
        page.goto((site / name).as_uri())
        found += page.evaluate(DIAGRAMS)
    assert found
    for name, letters in found:
        drawing = (site / "_images" / name).read_text("utf-8")
        assert letters == pytest.approx(float(drawing.split('viewBox="')[1].split()[2]) / 16, 0.01)
        assert not re.search(r"[^ -]-</tspan>", drawing), f"{name} breaks a word"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_have_contrast(site, page, scheme):
    """Code, new and deleted lines and all other text can be read from the back of a room."""
    page.emulate_media(color_scheme=scheme)
    low = {}
    for name in names(site):
        page.goto((site / name).as_uri())
        found = page.evaluate(CONTRASTS)
        low |= {(name, text): ratio for text, ratio in found.items() if ratio < ENOUGH}
    assert low == {}


def test_an_error_is_found_by_its_text(site, page):
    """A reader pastes what the terminal said into the search."""
    page.goto((site / "search.html").as_uri() + "?q=ASGI_APPLICATION")
    expect(page.locator("ul.search li").first).to_be_visible()


def test_dark_and_light(site, page):
    """The book follows the browser's choice, with pictures and diagrams; a button changes it."""
    page.goto((site / "01-echo.html").as_uri())
    grounds = []
    for scheme, shown in (("light", "only-light"), ("dark", "only-dark")):
        page.emulate_media(color_scheme=scheme)
        for image in (".diagram img", "img[src$='.png']"):
            expect(page.locator(f"{image}.{shown}").first).to_be_visible()
            expect(page.locator(f"{image}:not(.{shown})").first).to_be_hidden()
        grounds.append(page.evaluate(GROUND))
    assert grounds[0] != grounds[1]
    page.get_by_role("button", name=re.compile("theme", re.IGNORECASE)).first.click()


def test_the_keyboard_turns_the_pages(site, page):
    """The right arrow leads to the next page, and the left arrow back."""
    page.goto((site / "index.html").as_uri())
    page.keyboard.press("ArrowRight")
    page.wait_for_url(lambda url: not url.endswith("index.html"))
    page.keyboard.press("ArrowLeft")
    page.wait_for_url("**/index.html")


def test_the_keyboard_shows_where_it_is(site, page):
    """Each link, button and input that Tab reaches has a ring."""
    page.goto((site / "01-echo.html").as_uri())
    for _ in range(30):
        page.keyboard.press("Tab")
        style = "element => getComputedStyle(element).outlineStyle"
        assert page.locator(":focus").evaluate(style) != "none", page.locator(":focus").inner_text()


def test_a_printed_page_has_no_menus(site, page):
    """On paper there is the text alone."""
    page.goto((site / "01-echo.html").as_uri())
    page.set_viewport_size({"width": 718, "height": 1000})  # A4 with its margins
    page.emulate_media(media="print")
    expect(page.get_by_role("search").first).not_to_be_in_viewport()
    expect(page.get_by_role("heading", level=1)).to_be_visible()
