"""The book as a web site: `make docs`, with a real browser."""

import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from course.book.build import docs
from course.book.source import DOCS
from course.checks.browser.test_looks import CONTRASTS, ENOUGH

GROUND = "() => getComputedStyle(document.body).backgroundColor"
PROJECTOR = {"width": 1280, "height": 720}
TABLET = {"width": 800, "height": 1000}
PHONE = {"width": 390, "height": 800}
A4 = {"width": 718, "height": 1000}  # with its margins
FORMS = {"projector": PROJECTOR, "tablet": TABLET, "phone": PHONE, "paper": A4}
# A person who scrolls through a page would see this. Of each shown diagram: its file, and its width
# in the letters of the prose. "sign" stands for the sign of a heading's address.
LOOK = """
() => {
    function* all(selector) {
        for (const element of document.querySelectorAll(selector))
            if (element.checkVisibility()) yield element;
    }
    const texts = (found) => found.map(element => element.textContent);
    const isCut = element => element.scrollWidth > element.clientWidth;
    function isAlone(sign) {
        const words = document.createRange();
        words.setStart(sign.parentElement, 0);
        words.setEndBefore(sign);
        return sign.getBoundingClientRect().top >= words.getBoundingClientRect().bottom;
    }
    return {
        isWide: document.documentElement.scrollWidth > innerWidth,
        cut: texts([...all("pre")].filter(isCut)),
        cutTables: texts([...all(".table-wrapper")].filter(isCut)),
        signsAlone: texts([...all(".headerlink")].filter(isAlone).map(sign => sign.parentElement)),
        // A link above the page would be at the end of each sheet of paper.
        menus: texts([...all("[role=search], .skip-to-content, .theme-toggle")].filter(element =>
            element.getBoundingClientRect().right > 0)),
        diagrams: [...all(".diagram img")].map(image => [image.src.split("/").at(-1),
            image.width / parseFloat(getComputedStyle(document.body).fontSize)]),
    };
}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the site; every warning is an error, as are a broken link and an old listing."""
    folder = tmp_path_factory.mktemp("book") / "site"
    assert docs(is_check=True, site=folder) == 0
    return folder


@contextmanager
def window(browser: Browser) -> Iterator[Page]:
    """Open a window in which a request to another host is an error."""
    context = browser.new_context(viewport=PROJECTOR)
    asked = []
    context.on("request", lambda request: asked.append(request.url))
    yield context.new_page()
    context.close()
    assert [url for url in asked if not url.startswith("file:")] == []


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Return a page of a window of its own."""
    with window(browser) as page:
        yield page


@pytest.fixture(scope="module")
def looks(site: Path, browser: Browser) -> dict[str, dict[str, Any]]:
    """Visit each page once, because a visit costs more than all looks: they are what is tested."""
    found = defaultdict(dict)
    with window(browser) as page:
        for name in names(site):
            page.emulate_media(media="screen")
            page.set_viewport_size(PROJECTOR)
            page.goto((site / name).as_uri())
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=scheme)
                found[scheme][name] = page.evaluate(CONTRASTS)
            page.emulate_media(color_scheme="light")
            for form, size in FORMS.items():
                page.emulate_media(media="print" if form == "paper" else "screen")
                page.set_viewport_size(size)
                found[form][name] = page.evaluate(LOOK)
    return found


def names(site: Path) -> list[str]:
    """Return the names of the pages that a person wrote."""
    return [file.relative_to(DOCS).with_suffix(".html").as_posix() for file in PAGES]


PAGES = [file for file in DOCS.rglob("*.md") if "examples" not in file.parts]


@pytest.mark.parametrize("form", ["projector", "tablet", "phone"])
def test_no_page_is_wider_than_its_window(looks, form):
    """Long code scrolls inside its own frame. The sign beside a heading has no line of its own."""
    assert [name for name, look in looks[form].items() if look["isWide"]] == []
    assert [look["signsAlone"] for look in looks[form].values() if look["signsAlone"]] == []


def test_a_projector_shows_whole_lines(looks):
    """A class sees each line of 88 characters, and on paper every line: nobody scrolls there."""
    for form, most in ("projector", 88), ("paper", 10_000):
        for name, look in looks[form].items():
            assert look["cutTables"] == [], f"{name}, {form}"
            for code in look["cut"]:
                assert max(map(len, code.split("\n"))) > most, f"{name}, {form}"


@pytest.mark.parametrize("form", ["projector", "phone"])
def test_a_diagram_has_letters_as_large_as_the_prose(site, looks, form):
    """Mermaid writes letters of 16 pixels. A diagram that were scaled down would be too small."""
    found = [diagram for look in looks[form].values() for diagram in look["diagrams"]]
    assert found
    for name, letters in found:
        drawing = (site / "_images" / name).read_text("utf-8")
        assert letters == pytest.approx(float(drawing.split('viewBox="')[1].split()[2]) / 16, 0.01)
        assert not re.search(r"[^ -]-</tspan>", drawing), f"{name} breaks a word"
        assert "paint-order:stroke" in drawing, f"{name}: lines cross the text"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_have_contrast(looks, scheme):
    """Code, new and deleted lines and all other text can be read from the back of a room."""
    low = {}
    for name, found in looks[scheme].items():
        assert len(found) >= 10
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
    """Each link, button and input that Tab reaches has a ring and is in the window, menus too."""
    walks = [(PROJECTOR, "Tab", 30), (PROJECTOR, "Shift+Tab", 3), (PHONE, "Tab", 8)]
    for size, key, times in walks:
        page.set_viewport_size(size)
        page.goto((site / "01-echo.html").as_uri())
        for _ in range(times):
            page.keyboard.press(key)
            expect(page.locator(":focus")).to_be_in_viewport()
            style = "element => getComputedStyle(element).outlineStyle"
            assert page.locator(":focus").evaluate(style) != "none", page.locator(":focus")


def test_a_printed_page_has_no_menus(looks):
    """On paper there is the text alone."""
    assert all(look["menus"] for look in looks["projector"].values())
    assert {name: look["menus"] for name, look in looks["paper"].items() if look["menus"]} == {}
