"""People with names on the pages of a recipe: each has a window of their own."""

from playwright.sync_api import Locator, Page, expect

from course.checks.browser.pages import sign_up

# Names in Hebrew, which is written from right to left, in the order in which a list has them.
HEBREW = ("אבי", "בתיה")
# Sorts names by their places in an element.
LEFT_TO_RIGHT = """
(line, names) => {
    const place = (name) => {
        const texts = document.createTreeWalker(line, NodeFilter.SHOW_TEXT);
        while (!texts.nextNode().data.includes(name));
        const range = document.createRange();
        const start = texts.currentNode.data.indexOf(name);
        range.setStart(texts.currentNode, start);
        range.setEnd(texts.currentNode, start + name.length);
        return range.getBoundingClientRect().x;
    };
    return names.toSorted((one, other) => place(one) - place(other));
}
"""


def enter(host: str, window: Page, name: str, room: str = "lobby") -> Page:
    """Sign up, enter a room, and wait until its socket is open; return the window."""
    window.goto(f"http://{host}/accounts/signup/")
    sign_up(window, name)
    window.goto(f"http://{host}/chat/{room}/")
    expect(window.locator("#connection-status")).to_have_text("Connected")
    return window


def new_window(beside: Page) -> Page:
    """Return a private window beside this one."""
    browser = beside.context.browser
    assert browser
    return browser.new_context().new_page()


def close_others(window: Page) -> None:
    """Close all private windows beside this one."""
    browser = window.context.browser
    assert browser
    for context in browser.contexts:
        if context != window.context:
            context.close()


def enter_two(host: str, window: Page) -> tuple[Page, Page]:
    """Let Ann enter the lobby in this window, and Ben in a private window; return both."""
    return enter(host, window, "ann"), enter(host, new_window(window), "ben")


def names_stay_in_order(line: Locator, *names: str) -> None:
    """Check that the names in a line stand from left to right, whatever their letters are."""
    expect(line).to_contain_text(", ".join(names))
    assert line.evaluate(LEFT_TO_RIGHT, [*names]) == [*names]


def write(window: Page, message: str) -> None:
    """Write a line, and press Enter."""
    window.fill("#chat-message-input", message)
    window.press("#chat-message-input", "Enter")
