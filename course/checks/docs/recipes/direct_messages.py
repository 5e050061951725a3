"""Direct messages: a third person must not get them."""

from playwright.sync_api import Page, expect

from course.checks.browser.pages import sign_in
from course.checks.docs.recipes.people import enter, enter_two, write


def tell(window: Page, to: str, message: str) -> None:
    """Write a direct message."""
    window.fill("#to-input", to)
    write(window, message)


def overheard(host: str, window: Page) -> str:
    """Let Ann write to Ben; return what the page of Cat shows."""
    ann, ben = enter_two(host, window)
    assert window.context.browser
    cat = enter(host, window.context.browser.new_context().new_page(), "cat")
    tell(ann, "ben", "the key is under the mat")
    for page in [ben, cat]:
        expect(page.locator("#chat-log")).to_contain_text("the key is under the mat")
    shown = cat.locator("#chat-log").inner_text()
    ben.context.close()
    cat.context.close()
    return shown


def direct(host: str, ann: Page) -> str:
    """Let Ann write to Ben, who is in another room, and to nobody; return what both pages show."""
    browser = ann.context.browser
    assert browser
    ben = browser.new_context().new_page()
    ben.goto(f"http://{host}/accounts/login/?next=/chat/kitchen/")
    sign_in(ben, "ben")  # both have signed up in the scene before
    ann.goto(f"http://{host}/chat/lobby/")
    for page in [ann, ben]:
        expect(page.locator("#connection-status")).to_have_text("Connected")
    tell(ann, "ben", "the key is under the mat")
    for page in [ann, ben]:
        expect(page.locator("#chat-log")).to_contain_text("ann to ben the key is under the mat")
    tell(ann, "bne", "the key is under the mat")
    expect(ann.locator("#chat-log .error")).to_be_visible()
    shown = f"{ben.locator('#chat-log').inner_text()}\n{ann.locator('#chat-log').inner_text()}"
    ben.context.close()
    return shown


SCENES = {"overheard": overheard, "direct": direct}
