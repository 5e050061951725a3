"""Presence: who is here, in three tabs of one person, and after the end of a server."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import Popen

from playwright.sync_api import Locator, Page, expect

from course.checks.browser.pages import sign_in
from course.checks.docs.recipes.people import (
    HEBREW,
    close_others,
    enter,
    enter_two,
    names_stay_in_order,
    new_window,
)
from course.checks.warm import start_module
from course.core.ports import answers, free_port
from course.core.processes import INTERRUPT, clean_environment, stop, wait_until

SECONDS = 30  # longer than a start takes on a busy machine
# Changes to the reader's files: shorter times.
SOON = {
    "chat/presence.py": ("timedelta(seconds=90)", "timedelta(seconds=6)"),
    "chat/static/chat/chat.js": ("(sayHere, 20_000)", "(sayHere, 500)"),
}


@contextmanager
def server(*options: str, port: int = 0) -> Iterator[tuple[str, Popen[bytes]]]:
    """Run one more server of the reader's; yield its host and its process."""
    port = port or free_port()
    command = ["manage", "runserver", *options, f"127.0.0.1:{port}"]
    log = Path("..", f"{port}.log")
    process = start_module(command, log, Path(), clean_environment())
    try:
        assert wait_until(lambda: answers(port), SECONDS), log.read_text("utf-8")
        yield f"127.0.0.1:{port}", process
    finally:
        stop(process)


@contextmanager
def changed(changes: dict[str, tuple[str, str]]) -> Iterator[None]:
    """Change some files for the servers that start now, and for their pages."""
    before = {Path(name): Path(name).read_text("utf-8") for name in changes}
    for name, (old, new) in changes.items():
        assert old in before[Path(name)]
        Path(name).write_text(before[Path(name)].replace(old, new), "utf-8")
    try:
        yield
    finally:
        for file, text in before.items():
            file.write_text(text, "utf-8")


def here(window: Page) -> Locator:
    """Return the line with the names of the people in the room."""
    return window.locator("#here")


def come(host: str, window: Page, name: str, room: str = "lobby") -> Page:
    """Sign in, enter a room, and wait until the page shows this name; return the window."""
    window.goto(f"http://{host}/accounts/login/?next=/chat/{room}/")
    sign_in(window, name)
    expect(here(window)).to_contain_text(name)
    return window


def tabs(host: str, window: Page) -> str:
    """Let Ann open three tabs, and Ben look at both pages; with Ann's last tab, her name goes."""
    ann, ben = enter_two(host, window)
    for _ in range(2):
        ann.context.new_page().goto(ann.url)
    for tab in [*ann.context.pages, ben]:
        expect(here(tab)).to_have_text("here: ann, ben")
    first_page = ben.context.new_page()
    first_page.goto(f"http://{host}/chat/")
    shown = f"{here(ben).inner_text()}\n{first_page.locator('#online').inner_text()}"
    for tab in ann.context.pages[1:]:
        tab.close()
    ann.goto("about:blank")
    expect(here(ben)).to_have_text("here: ben")
    for name in HEBREW:
        enter(host, new_window(ann), name)
    names_stay_in_order(here(ben), *HEBREW)
    first_page.reload()
    names_stay_in_order(first_page.locator("#online"), *HEBREW)
    close_others(ann)
    return shown


def interrupt(process: Popen[bytes]) -> None:
    """End a server as Ctrl-C does."""
    process.send_signal(INTERRUPT)
    process.wait(SECONDS)


def left_behind(host: str, ann: Page, room: str, end: Callable[[], None]) -> str:
    """Let both enter a room, end their server, and close Ann's page; return what Ben's shows."""
    ben = new_window(ann)
    for page, name in [(ann, "ann"), (ben, "ben")]:
        come(host, page, name, room)
    end()
    for page in [ann, ben]:
        expect(page.locator("#connection-status")).to_contain_text("Closed")
        expect(here(page)).to_be_empty()
    ann.goto("about:blank")
    assert wait_until(lambda: answers(int(host.rpartition(":")[2])), SECONDS)
    ben.reload()
    expect(here(ben)).not_to_be_empty()
    shown = here(ben).inner_text()
    ben.context.close()
    return shown


def saved(_: str, window: Page) -> str:
    """Save a file, so that the server starts again; return what Ben's page shows."""
    with server() as (host, _process):
        return left_behind(host, window, "lobby", Path("chat", "views.py").touch)


def interrupted(_: str, window: Page) -> str:
    """End the server with Ctrl-C, and start it again; return what Ben's page shows."""
    port = free_port()
    with ExitStack() as stack:
        # Without a reloader, this process is the server, which gets the signal of Ctrl-C.
        host, process = stack.enter_context(server("--noreload", port=port))

        def end() -> None:
            interrupt(process)
            stack.enter_context(server(port=port))

        return left_behind(host, window, "garden", end)


def gone(host: str, window: Page) -> str:
    """End the server of Ann's page; return what Ben's page shows before, and after a while."""
    with ExitStack() as stack:
        stack.enter_context(changed(SOON))
        first, _ = stack.enter_context(server("--noreload"))
        second, process = stack.enter_context(server("--noreload"))
        ben = come(first, new_window(window), "ben")
        expect(here(ben)).to_have_text("here: ben", timeout=1000 * SECONDS)
        come(second, window, "ann")
        expect(here(ben)).to_have_text("here: ann, ben")
        interrupt(process)
        expect(here(ben)).to_have_text("here: ben", timeout=1000 * SECONDS)
        ben.context.close()
    return "here: ann, ben\nhere: ben"


SCENES = {"tabs": tabs, "saved": saved, "interrupted": interrupted, "gone": gone}
