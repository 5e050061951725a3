"""Messages are plain text, half a word is never sent, and the keyboard is enough."""

import pytest
from playwright.sync_api import Page

from course.checks.browser.pages import (
    HAS_VALUE,
    IS_FOCUSED,
    LINES,
    expect_count,
    expect_lines,
    say,
    wait_for,
)
from course.checks.browser.sites import Site, steps

MARKUP = "<img src=x onerror=alert(1)>"
# Two common mistakes: both handlers listen for Enter, which also confirms a composition.
KEY_HANDLERS = [
    "input.onkeyup = event => { if (event.keyCode === 13) button.click(); }",
    "input.onkeydown = event => { if (event.key === 'Enter') button.click(); }",
]
LISTEN = """
() => {
    const input = document.querySelector("#chat-message-input");
    window.heard = [];
    for (const type of ["keydown", "compositionstart", "compositionend", "keyup"])
        input.addEventListener(type, event => window.heard.push(
            type.startsWith("key") ? `${type} ${event.keyCode} ${event.isComposing}` : type));
}
"""
FOCUS = "() => document.querySelector('#chat-message-input').focus()"
FOCUSED = """
() => {
    const element = document.activeElement;
    const outline = getComputedStyle(element);
    return [
        element.id || element.textContent.trim(),
        element.matches(":focus-visible") && outline.outlineStyle === "solid"
            ? parseFloat(outline.outlineWidth) : 0,
    ];
}
"""


def compose(page: Page, reading: str, word: str) -> None:
    """Write with an input method, and confirm its word with Enter.

    The events are those of Chromium on macOS. The keydown has code 229, "the input method has it".
    The keyup has code 13, after the composition has ended.
    """
    browser = page.context.new_cdp_session(page)
    end = len(reading)
    composition = {"text": reading, "selectionStart": end, "selectionEnd": end}
    key = {"key": "Enter", "code": "Enter"}
    browser.send("Input.imeSetComposition", composition)
    browser.send(
        "Input.dispatchKeyEvent", {"type": "rawKeyDown", "windowsVirtualKeyCode": 229, **key}
    )
    browser.send("Input.insertText", {"text": word})
    browser.send("Input.dispatchKeyEvent", {"type": "keyUp", "windowsVirtualKeyCode": 13, **key})


@steps()
def test_markup_is_shown_as_text(site: Site, join):
    """The browser makes no element of a message's markup, and runs nothing in the message."""
    page = join()
    asked = []

    def note(request) -> None:
        asked.append(request.url)

    page.on("request", note)
    say(page, MARKUP)
    expect_lines(page, MARKUP)
    if site.remembers:
        expect_count(page, "p.sending", 0)  # else step 5 asks before the reload
        page.reload()
        expect_lines(page, MARKUP)
    expect_count(page, "[role=log] img", 0)
    say(page, "harmless")
    expect_lines(page, MARKUP, "harmless")
    page.remove_listener("request", note)  # later tests use this page
    assert [url for url in asked if url.endswith("/x")] == []


@steps()
def test_a_composition_is_not_sent(join):
    """Enter that confirms a word of a Japanese input method leaves the word in the input.

    The next Enter sends the message once, as the first line of the log.
    """
    page = join()
    page.evaluate(LISTEN)
    page.evaluate(FOCUS)
    compose(page, "にほんご", "日本語")
    assert page.evaluate("window.heard") == [
        "compositionstart",
        "keydown 229 true",
        "compositionend",
        "keyup 13 false",
    ]
    wait_for(page, HAS_VALUE, "日本語")
    page.keyboard.press("End")
    page.keyboard.type("です")
    page.keyboard.press("Enter")
    expect_lines(page, "日本語です")


@steps(last=1)
@pytest.mark.parametrize("handler", KEY_HANDLERS, ids=["keyup", "keydown"])
def test_a_key_handler_would_send_it(handler: str, join):
    """The test above can fail: with a key handler, the page sends half a sentence."""
    page = join()
    page.evaluate(
        "handler => new Function('input', 'button', handler)"
        "(document.querySelector('#chat-message-input'),"
        " document.querySelector('#chat-message-submit'))",
        handler,
    )
    page.evaluate(FOCUS)
    compose(page, "にほんご", "日本語")
    expect_count(page, LINES, 1)


@steps()
def test_the_keyboard_is_enough(site: Site, join):
    """The input has the focus at once; Tab visits all controls in order, with a visible focus."""
    page = join()
    wait_for(page, IS_FOCUSED, "chat-message-input")
    page.keyboard.type("no mouse")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect_lines(page, "no mouse")

    order = ["chat-log", "chat-message-input", "chat-message-submit"]
    order += ["Other rooms"] * site.has_rooms
    order = ["Sign out"] * site.knows_people + order
    page.evaluate(FOCUS)
    for _ in range(order.index("chat-message-input")):
        page.keyboard.press("Shift+Tab")
    seen = []
    for _ in order:
        seen.append(page.evaluate(FOCUSED))
        page.keyboard.press("Tab")
    assert [name for name, _ in seen] == order
    assert [name for name, width in seen if width < 2] == []
