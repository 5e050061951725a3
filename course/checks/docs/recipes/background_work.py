"""Work in the background: awaited, in a task, in a thread; its failure, and its end."""

from pathlib import Path

from playwright.sync_api import Page, expect

from course.checks.docs.recipes.people import write
from course.core.processes import wait_until

SECONDS = 30  # longer than the work takes on a busy machine
LOG = Path("..", "server.log")  # what the server's terminal shows
PERCENT = [f"Work: {percent} %" for percent in (25, 50, 75, 100)]
# Both frames leave the page together, so the server has the line before a part of the work is done.
START_AND_WRITE = """
() => {
    document.querySelector("#work-start").click();
    document.querySelector("#chat-message-input").value = "hello";
    document.querySelector("#chat-form").requestSubmit();
}
"""
TWO_CLICKS = """
() => {
    document.querySelector("#work-start").click();
    document.querySelector("#work-start").click();
}
"""


def enter(host: str, page: Page) -> Page:
    """Enter the lobby, and wait until the socket is open; return the page."""
    page.goto(f"http://{host}/chat/lobby/")
    expect(page.locator("#connection-status")).to_have_text("Connected")
    return page


def terminal_shows(text: str) -> bool:
    """Wait until the server's terminal shows a text; return False if it never does."""
    return wait_until(lambda: text in LOG.read_text("utf-8"), SECONDS)


def shown(page: Page, *lines: str) -> str:
    """Wait until the log shows these lines and no others; return the log's text."""
    expect(page.locator("#chat-log p")).to_have_text(list(lines), timeout=1000 * SECONDS)
    return page.locator("#chat-log").inner_text()


def awaited(host: str, page: Page) -> str:
    """Start the work, and write: the line comes after the work."""
    enter(host, page).evaluate(START_AND_WRITE)
    return shown(page, *PERCENT, "hello")


def task(host: str, page: Page) -> str:
    """Start the work, and write: the line comes first."""
    enter(host, page).evaluate(START_AND_WRITE)
    return shown(page, "hello", *PERCENT)


def twice(host: str, page: Page) -> str:
    """Click twice; the page gets a sentence."""
    enter(host, page).evaluate(TWO_CLICKS)
    line = page.locator("#chat-log p").first
    expect(line).to_have_text("Your work is still running.")
    return line.inner_text()


def blocking(host: str, page: Page) -> str:
    """Start the work in one tab, write in another, and open a third: all have to wait."""
    enter(host, page)
    other = enter(host, page.context.new_page())
    page.click("#work-start")
    assert terminal_shows("work starts")
    write(other, "hello")
    third = enter(host, page.context.new_page())
    assert "work ends" in LOG.read_text("utf-8")
    text = shown(other, "hello")
    for tab in (other, third):
        tab.close()
    return text


def thread(host: str, page: Page) -> str:
    """Start the work in one tab, and write in another: the line does not wait."""
    enter(host, page)
    other = enter(host, page.context.new_page())
    page.click("#work-start")
    assert terminal_shows("work starts")
    write(other, "hello")
    text = shown(other, "hello")
    assert "work ends" not in LOG.read_text("utf-8")
    other.close()
    return text


def fails(host: str, page: Page) -> str:
    """Start work whose third part fails; nobody is told, and the socket stays open."""
    enter(host, page).click("#work-start")
    shown(page, *PERCENT[:2])
    write(page, "hello")
    text = shown(page, *PERCENT[:2], "hello")
    expect(page.locator("#connection-status")).to_have_text("Connected")
    assert "The disk is full." not in LOG.read_text("utf-8")
    return text


def aloud(host: str, page: Page) -> str:
    """Start work whose third part fails; the page and the terminal show the failure."""
    enter(host, page).click("#work-start")
    return shown(page, *PERCENT[:2], "The work has failed. Start it again.")


def outlives(host: str, page: Page) -> str:
    """Start the work, and leave the page: the work goes on."""
    enter(host, page).click("#work-start")
    assert terminal_shows("work starts")
    page.goto("about:blank")
    assert terminal_shows("work ends")
    lines = LOG.read_text("utf-8").splitlines()
    assert lines.index("disconnect /ws/chat/lobby/ 1001") < lines.index("work ends")
    return ""


def cancelled(host: str, page: Page) -> str:
    """Start the work, and leave the page: the work ends."""
    enter(host, page).click("#work-start")
    assert terminal_shows("work starts")
    page.goto("about:blank")
    assert terminal_shows("work is cancelled")
    assert "work ends" not in LOG.read_text("utf-8")
    return ""


def crash(host: str, page: Page) -> str:
    """Start the work, and end the consumer with a line: the work goes on."""
    enter(host, page).evaluate(START_AND_WRITE)
    status = page.locator("#connection-status")
    expect(status).to_contain_text("Closed", timeout=1000 * SECONDS)
    assert terminal_shows("work ends")
    assert "disconnect" not in LOG.read_text("utf-8")
    return status.inner_text()


SCENES = {
    "awaited": awaited,
    "task": task,
    "twice": twice,
    "blocking": blocking,
    "thread": thread,
    "fails": fails,
    "aloud": aloud,
    "outlives": outlives,
    "cancelled": cancelled,
    "crash": crash,
}
