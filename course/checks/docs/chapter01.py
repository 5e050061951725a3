"""Chapter 1: what its reader does with the page, and its scenes."""

from collections.abc import Callable

from playwright.sync_api import Page, expect
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect


def write_hello(page: Page) -> None:
    """Open the page of chapter 1, and write a line."""
    status = page.locator("#connection-status")
    if status.count():
        expect(status).not_to_have_text("Connecting…")
    page.fill("#chat-message-input", "hello")
    page.press("#chat-message-input", "Enter")


def send(frame: str) -> Callable[[str, Page], str]:
    """Return a scene: a second socket sends a frame, from the browser's console."""

    def scene(host: str, page: Page) -> str:
        page.goto(f"http://{host}/")
        return page.evaluate(
            f"""() => new Promise((resolve) => {{
                const other = new WebSocket("ws://{host}/ws/echo/");
                other.onclose = (event) => resolve(`closed ${{event.code}}`);
                other.onmessage = (event) => resolve(event.data);
                other.onopen = () => other.send({frame});
            }})"""
        )

    return scene


def stranger(host: str, page: Page) -> str:
    """Run the reader's script, which comes from another website."""
    try:
        connect(f"ws://{host}/ws/echo/", origin="https://evil.example").close()
        return "The socket is open."
    except InvalidStatus as error:
        return f"The server said {error.response.status_code}"


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


SCENES = {
    "any-origin": stranger,
    "stranger": stranger,
    "open": open_page,
    "no-accept": status,
    "obvious": send('"null"'),
    "obvious binary": send('new Blob(["hi"])'),
    "better": send('"null"'),
}
