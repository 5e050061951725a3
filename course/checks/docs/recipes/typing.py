"""The typing indicator: the page shows a name, until the message comes."""

from playwright.sync_api import Page, expect

from course.checks.docs.recipes.people import (
    HEBREW,
    close_others,
    enter,
    enter_two,
    names_stay_in_order,
    new_window,
    write,
)


def typing(host: str, window: Page) -> str:
    """Let Ann type; return what Ben's page shows. With her message, the line disappears."""
    ann, ben = enter_two(host, window)
    ann.locator("#chat-message-input").press_sequentially("hel")
    line = ben.locator("#typing")
    expect(line).not_to_be_empty()
    shown = line.inner_text()
    write(ann, "hello")
    expect(ben.locator("#chat-log")).to_contain_text("hello")
    expect(line).to_be_empty()
    expect(ann.locator("#typing")).to_be_empty()
    ben.add_init_script("window.setTimeout = () => 0")  # no name disappears
    ben.reload()
    expect(ben.locator("#connection-status")).to_have_text("Connected")
    for name in HEBREW:
        window = enter(host, new_window(ann), name)
        window.locator("#chat-message-input").press("a")
    names_stay_in_order(line, *HEBREW)
    close_others(ann)
    return shown


SCENES = {"typing": typing}
