"""Chapter 1: what its reader does with the page, and its scenes."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from course.checks.docs.reader import type_into_console


def write_hello(page: Page) -> None:
    """Open the page of chapter 1, and write a line."""
    status = page.locator("#connection-status")
    if status.count():
        expect(status).not_to_have_text("Connecting…")
    page.fill("#chat-message-input", "hello")
    page.press("#chat-message-input", "Enter")


def send(frame: str) -> Callable[[str, Page], str]:
    """Return a scene: the reader types the chapter's script, with another frame."""

    def scene(host: str, page: Page) -> str:
        page.goto(f"http://{host}/")
        with page.expect_console_message() as said:
            type_into_console(page, "01-echo.md", "obvious", **{'"null"': frame})
        return said.value.text

    return scene


def send_two(host: str, page: Page) -> str:
    """Send a bad frame with the chapter's script, and then a good one on the same connection."""
    error = send('"null"')(host, page)
    with page.expect_console_message() as said:
        page.evaluate("""other.send('{"message": "hi"}')""")
    return f"{error}\n{said.value.text}"


def stranger(host: str, page: Page) -> str:
    """Run the reader's script, which comes from another website."""
    code = Path("stranger.py").read_text("utf-8").replace("127.0.0.1:8000", host)
    return subprocess.check_output([sys.executable, "-c", code], text=True)


def status(host: str, page: Page) -> str:
    """Open the page, and wait until it says that the connection is closed."""
    page.goto(f"http://{host}/")
    closed = page.locator("#connection-status")
    expect(closed).to_contain_text("Closed")
    return closed.inner_text()


def open_page(host: str, page: Page) -> str:
    """Open the page, and wait until it is connected."""
    page.goto(f"http://{host}/")
    expect(page.locator("#connection-status")).to_have_text("Connected")
    return ""


def hello(host: str, page: Page) -> str:
    """Write a line, and wait for the answer."""
    open_page(host, page)
    write_hello(page)
    answer = page.locator("#chat-log p")
    expect(answer).to_have_count(1)
    return answer.inner_text()


SCENES = {
    "any-origin": stranger,
    "stranger": stranger,
    "open": open_page,
    "no-accept": status,
    "obvious": send('"null"'),
    "obvious binary": send('new Blob(["hi"])'),
    "async": hello,
    "json": hello,
    "json nonsense": send('"nonsense"'),
    "scope": open_page,
    "better": send_two,
}
