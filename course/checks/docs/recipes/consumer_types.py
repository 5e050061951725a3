"""Three kinds of consumers: what a JSON consumer answers to frames that break the rules."""

from collections.abc import Callable

from playwright.sync_api import Page, expect

from course.checks.docs.reader import type_into_console


def send(frame: str) -> Callable[[str, Page], str]:
    """Return a scene: the reader types the page's lines into the console, with another frame."""

    def scene(host: str, page: Page) -> str:
        page.goto(f"http://{host}/")
        expect(page.locator("#connection-status")).to_have_text("Connected")
        with page.expect_console_message() as said:
            type_into_console(
                page, "recipes/consumer_types.md", "nonsense", **{'"nonsense"': frame}
            )
        return said.value.text

    return scene


SCENES = {
    "nonsense": send('"nonsense"'),
    "binary": send('new Blob(["hi"])'),
    "binary again": send('new Blob(["hi"])'),
}
