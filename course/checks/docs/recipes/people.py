"""People with names on the pages of a recipe: each has a window of their own."""

from playwright.sync_api import Page, expect

from course.checks.browser.pages import sign_up


def enter(host: str, window: Page, name: str, room: str = "lobby") -> Page:
    """Sign up, enter a room, and wait until its socket is open; return the window."""
    window.goto(f"http://{host}/accounts/signup/")
    sign_up(window, name)
    window.goto(f"http://{host}/chat/{room}/")
    expect(window.locator("#connection-status")).to_have_text("Connected")
    return window


def enter_two(host: str, window: Page) -> tuple[Page, Page]:
    """Let Ann enter the lobby in this window, and Ben in a private window; return both."""
    browser = window.context.browser
    assert browser
    return enter(host, window, "ann"), enter(host, browser.new_context().new_page(), "ben")


def write(window: Page, message: str) -> None:
    """Write a line, and press Enter."""
    window.fill("#chat-message-input", message)
    window.press("#chat-message-input", "Enter")
