"""Notifications: what a page shows when the admin saves, fails to save, and when a person calls."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, expect

from course.checks.browser.sites import PASSWORD
from course.checks.docs.recipes.people import enter
from course.core.processes import wait_until

SECONDS = 30  # longer than a page takes on a busy machine
LOG = Path("..", "server.log")  # what the server's terminal shows
LINES = "#notifications p"


def sockets() -> int:
    """Return how many sockets for notifications the server has accepted so far."""
    return LOG.read_text("utf-8").count("WebSocket CONNECT /ws/notifications/")


@contextmanager
def one_more_socket() -> Iterator[None]:
    """Wait until the page that is opened meanwhile gets notifications."""
    before = sockets()
    yield
    assert wait_until(lambda: sockets() > before, SECONDS)


def new_window(page: Page) -> Page:
    """Return a page that shares no cookies with this one."""
    assert page.context.browser
    return page.context.browser.new_context().new_page()


def announce(host: str, window: Page, text: str) -> Page:
    """Add an announcement in the admin, in a window of its own; return the window."""
    root = new_window(window)
    root.goto(f"http://{host}/admin/login/?next=/admin/chat/announcement/add/")
    root.fill("#id_username", "root")
    root.fill("#id_password", PASSWORD)
    root.click("[type=submit]")
    root.fill("#id_text", text)
    root.click("[name=_save]")
    return root


def lie(host: str, ben: Page) -> str:
    """Let the admin fail to save; return what Ben's page and the list of the admin show."""
    enter(host, ben, "ben")
    with one_more_socket():
        ben.goto(f"http://{host}/chat/")
    root = announce(host, ben, "We close at six.")
    expect(root.locator("h1")).to_contain_text("RuntimeError")
    root.goto(f"http://{host}/admin/chat/announcement/")
    expect(ben.locator(LINES)).to_be_visible()
    shown = f"{ben.locator(LINES).inner_text()}\n{root.locator('.paginator').inner_text()}"
    root.context.close()
    return shown


def told(host: str, ben: Page) -> str:
    """Let the admin save; return what Ben's page shows."""
    with one_more_socket():
        ben.goto(f"http://{host}/chat/")
    root = announce(host, ben, "<b>We close at six.</b>")
    expect(ben.locator(LINES)).to_be_visible()
    root.context.close()
    return ben.locator(LINES).inner_text()


def called(host: str, ben: Page) -> str:
    """Let Ann call everybody, and Ben sign out in another tab; return what Ben's page shows."""
    with one_more_socket():
        ben.goto(f"http://{host}/chat/lobby/")
    ann = enter(host, new_window(ben), "ann", "kitchen")
    ann.click("text=Call everybody")
    expect(ben.locator(LINES)).to_have_count(1)
    tab = ben.context.new_page()
    tab.goto(f"http://{host}/chat/")
    tab.click("text=Sign out")
    expect(ben.locator(LINES)).to_have_count(2)
    tab.close()
    ann.context.close()
    return "\n".join(ben.locator(LINES).all_inner_texts())


SCENES = {"lie": lie, "told": told, "called": called}
