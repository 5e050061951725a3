"""The look of the pages: readable in light and dark, and nothing is hidden or too wide."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from course.checks.browser.pages import (
    LINES,
    UNSENT,
    expect_count,
    expect_lines,
    expect_reconnecting,
    expect_unsent,
    log_of,
    say,
    wait_for,
    write,
)
from course.checks.browser.sites import DAPHNE, Site, sites, steps
from course.checks.browser.wires import Network

ENOUGH = 4.5  # contrast of text: WCAG 2, success criterion 1.4.3
CONVERSATION = [
    ("ann", "Good morning! Has everybody read chapter three?"),
    ("ben", "On the train, twice. 日本語の章もありますか?"),
    ("ann", "Not yet: shall we write it together, and ask the others to read it before Friday?"),
    ("ben", "Gladly. After lunch?"),
]
ALONE = [("ann", text) for text in ("Hello?", "Is anybody there?", "日本語も話せますか?")]
FORMS = {
    "light": ("light", {"width": 1280, "height": 800}),
    "dark": ("dark", {"width": 1280, "height": 800}),
    "phone": ("light", {"width": 390, "height": 844}),
}
# The contrast of each piece of text with its background, by the colours that the page has.
CONTRASTS = """
() => {
    const context = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    function mix(colours) {
        context.clearRect(0, 0, 1, 1);
        for (const colour of colours) {
            context.fillStyle = colour;
            context.fillRect(0, 0, 1, 1);
        }
        return [...context.getImageData(0, 0, 1, 1).data];
    }
    function luminance(pixel) {
        const [r, g, b] = pixel.slice(0, 3).map(value => value / 255).map(
            value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    }
    const grounds = new Map([[null, []]]), known = new Map();  // a page repeats few colours
    function groundsOf(element) {
        if (!grounds.has(element)) grounds.set(element, [
            ...groundsOf(element.parentElement), getComputedStyle(element).backgroundColor]);
        return grounds.get(element);
    }
    function contrast(element, colour) {
        const behind = groundsOf(element), key = [...behind, colour].join();
        if (!known.has(key)) known.set(key, compare(behind, colour));
        return known.get(key);
    }
    function compare(behind, colour) {
        if (mix(behind)[3] !== 255) return 0;
        const both = [luminance(mix(behind)), luminance(mix([...behind, colour]))];
        return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
    }
    const found = {};
    for (const element of document.body.querySelectorAll("*")) {
        const texts = [...element.childNodes].filter(node => node.nodeType === Node.TEXT_NODE);
        const written = element.value || texts.map(node => node.data).join("");
        if (!written.trim() || !element.checkVisibility()) continue;
        const name = element.id || `${element.localName} ${element.className}`.trim();
        const value = contrast(element, getComputedStyle(element).color);
        found[name] = Math.min(value, found[name] ?? value);  // the worst of equal names
        const before = getComputedStyle(element, "::before");
        if (before.content !== "none")
            found[`${name} ${element.dataset.state} sign`] = contrast(element, before.color);
    }
    return found;
}
"""
TOO_WIDE = """
() => [...document.querySelectorAll("body, body *")].filter(element => {
    const box = element.getBoundingClientRect();
    return box.left < 0 || box.right > innerWidth + 0.5;
}).map(element => element.outerHTML.slice(0, 80))
"""
# The inputs without a label, for a person who hears the page.
UNNAMED = """
() => [...document.querySelectorAll("input:not([type=hidden])")].filter(input => !(
    input.labels.length && [...input.labels].every(label => label.textContent.trim())
)).map(input => input.outerHTML)
"""
LAST_LINE_IS_SEEN = """
() => {
    const log = document.querySelector("#chat-log");
    const end = log.lastElementChild.getBoundingClientRect().bottom;
    return end <= log.getBoundingClientRect().bottom;
}
"""
# The elements of a line and the requested characters of its text, from left to right.
PLACES = """
([selector, characters]) => {
    const line = [...document.querySelectorAll(selector)].at(-1);
    const words = (line.querySelector("bdi") ?? line).firstChild;
    const places = {};
    for (const element of line.querySelectorAll("time, b"))
        places[element.localName] = element.getBoundingClientRect().x;
    if (line.lastChild !== words && line.lastChild.nodeType === Node.TEXT_NODE) {
        const range = document.createRange();
        range.selectNode(line.lastChild);
        places[line.lastChild.data.trim()] = range.getBoundingClientRect().x;
    }
    for (const character of characters) {
        const range = document.createRange();
        range.setStart(words, words.data.indexOf(character));
        range.setEnd(words, words.data.indexOf(character) + 1);
        places[character] = range.getBoundingClientRect().x;
    }
    return Object.keys(places).sort((one, other) => places[one] - places[other]);
}
"""
# Set the same times of day in each run, so that a picture changes only when its page does.
SET_TIMES = """
() => document.querySelectorAll("time").forEach((time, n) => { time.textContent = `09:4${n}`; })
"""
SET_STATE = "state => { document.querySelector('#connection-status').dataset.state = state; }"
# Fill in the page's form with letters that cannot be right, and send it.
SEND_WRONG = """
() => {
    const form = document.querySelector("form.page");
    for (const input of form.querySelectorAll("input:not([type=hidden])")) input.value = "a";
    form.requestSubmit();
}
"""


@pytest.fixture
def look(site: Site) -> Callable[[Page, str], None]:
    """Return a function that looks at a page: light, dark, and on a phone.

    Nothing may be too wide, and all text, links, buttons, states and errors must have a contrast of
    4.5. A screen reader learns the page's title and language, and what each input is for. If
    `COURSE_PICTURES` names a folder, pictures go there.
    """
    folder = os.environ.get("COURSE_PICTURES")

    def look(page: Page, what: str) -> None:
        expect_count(page, "main:not([role])", 1)
        assert page.evaluate(UNNAMED) == []
        assert page.title() not in ("", " · Django Channels")
        assert page.evaluate("document.documentElement.lang") == "en"
        for form, (scheme, size) in FORMS.items():
            page.emulate_media(color_scheme=scheme)
            if page.viewport_size != size:
                page.set_viewport_size(size)
            assert page.evaluate(TOO_WIDE) == [], f"{what}, {form}"
            found = page.evaluate(CONTRASTS)
            assert len(found) >= 3
            low = {name: round(ratio, 2) for name, ratio in found.items() if ratio < ENOUGH}
            assert low == {}, f"{what}, {form}"
            if folder:
                if form != "phone":  # a page of the book is narrower than a projector
                    page.set_viewport_size({"width": 860, "height": 560})
                page.evaluate(SET_TIMES)
                picture = Path(folder) / f"{site.step.label}-{what}-{form}.png"
                page.screenshot(path=picture, animations="disabled", caret="hide")

    return look


@steps()
def test_all_pages_can_be_read(site: Site, join, look, complaints: list[str]):
    """Look at all that a person can come to see, from a short conversation to wrong forms.

    A screen reader is told of new messages, and of a new state of the connection.
    """
    room = "book club"
    page = join("ann", room=room)
    expect(log_of(page)).to_have_attribute("aria-label", "Messages")
    expect(page.get_by_role("status")).to_have_text("Connected")
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    pages = {"ann": page, "ben": join("ben", room=room) if site.has_rooms else page}
    conversation = CONVERSATION if site.has_rooms else ALONE
    for number, (who, message) in enumerate(conversation, 1):
        say(pages[who], message)
        expect_count(page, LINES, number)
    said = [message for _, message in conversation]
    expect_lines(page, *said)
    look(page, "conversation")
    say(page, "   ")
    expect_lines(page, *said, "empty")
    write(page, "being written")
    look(page, "error")
    for state in ("connecting", "closed"):
        page.evaluate(SET_STATE, state)
        look(page, state)
    if site.has_rooms:
        page.goto(f"{site.url}/chat/?room=a/b")
        look(page, "rooms")
    for name in ["signup", "login"] * site.knows_people:
        page.goto(f"{site.url}/accounts/{name}/")
        page.evaluate(SEND_WRONG)
        wait_for(page, "() => document.querySelector('.errorlist')")
        look(page, name)
    complaints[:] = [complaint for complaint in complaints if "404" not in complaint]


@sites(DAPHNE)
def test_messages_on_their_way(wire: Callable, look):
    """Look at a page without a network: two messages wait, and one was refused.

    A message from right to left keeps its own order.
    """
    page = wire(Network).page
    write(page, "Good morning!")
    page.evaluate("document.querySelector('#chat-message-input').value += '\\ud800'")
    page.keyboard.press("Enter")
    expect_lines(page, "Not sent: The message has a character that cannot be stored.")
    say(page, "Good morning!")
    expect_lines(page, "Not sent", "ann Good morning!")
    page.context.set_offline(True)
    try:
        expect_reconnecting(page, "No network. ")
        say(page, "Has everybody read chapter three, which is about networks that come and go?")
        say(page, "100 שלום!")
        expect(page.get_by_text("100 שלום! sending…")).to_be_visible()
        assert page.evaluate(PLACES, [UNSENT, "1ש!"]) == ["!", "ש", "1", "sending…"]
        look(page, "trouble")
        for _ in range(5):
            say(page, "w" * 300)
        expect_fits_small_screen(page)
    finally:
        page.context.set_offline(False)
    expect_unsent(page)
    expect_count(page, "#chat-log p.message", 8)


def expect_fits_small_screen(page: Page) -> None:
    """Check that nothing needs sideways scrolling, and that a person can read and write."""
    for width in (390, 320):
        page.set_viewport_size({"width": width, "height": 640})
        assert page.evaluate(TOO_WIDE) == []
        log = page.locator("#chat-log").bounding_box()
        assert log["height"] >= 90
        button = page.locator("#chat-message-submit").bounding_box()
        assert button["y"] + button["height"] <= 640, "the button is below the screen"


@steps()
def test_nothing_sticks_out_on_a_phone(site: Site, join):
    """A long word, user name or room name on a small screen needs no sideways scrolling."""
    page = join("ann-with-a-very-long-name-" + "x" * 50, room="n" * 49 + "語")
    say(page, "w" * 300)
    expect_lines(page, "w" * 300)
    expect_fits_small_screen(page)
    say(page, "   ")
    expect_lines(page, "w" * 300, "empty")
    wait_for(page, LAST_LINE_IS_SEEN)


@steps()
def test_hebrew_stands_in_its_place(site: Site, join):
    """Time and name stand before the message; right-to-left text keeps its own order."""
    page = join("דוד")
    before = ["time"] * site.remembers + ["b"] * site.knows_people
    say(page, "100 שלום!")
    expect_lines(page, "100 שלום!")
    if site.has_rooms:
        assert page.evaluate(PLACES, [LINES, "1ש!"]) == [*before, "!", "ש", "1"]
    else:  # the server's word Echo comes first, so the line runs from left to right
        assert page.evaluate(PLACES, [LINES, "E1ש!"]) == ["E", "1", "ש", "!"]
    say(page, "hello!")
    expect_lines(page, "100 שלום!", "hello!")
    assert page.evaluate(PLACES, [LINES, "h!"]) == [*before, "h", "!"]
