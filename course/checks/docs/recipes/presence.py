"""Presence: who is here, in three tabs of one person, and after a server was killed."""

import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from subprocess import Popen

from playwright.sync_api import Locator, Page, expect

from course.checks.browser.pages import sign_in
from course.checks.docs.recipes.people import enter_two
from course.core.ports import answers, free_port
from course.core.processes import INTERRUPT, clean_environment, start_job, stop, wait_until

KILL = signal.SIGTERM if os.name == "nt" else signal.SIGKILL  # Windows knows no other
SECONDS = 30  # longer than a start takes on a busy machine
# What the page says, in seconds or milliseconds, and shorter times for a test.
TIMES = {
    "chat/presence.py": ("timedelta(seconds=90)", "timedelta(seconds=6)"),
    "chat/static/chat/chat.js": ("(sayHere, 20_000)", "(sayHere, 500)"),
}


@contextmanager
def server() -> Iterator[tuple[str, Popen[bytes]]]:
    """Run one more server of the reader's; yield its host and its process."""
    port = free_port()
    command = [sys.executable, "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"]
    log = Path("..", f"{port}.log")
    process = start_job(command, log, Path(), clean_environment())
    try:
        assert wait_until(lambda: answers(port), SECONDS), log.read_text("utf-8")
        yield f"127.0.0.1:{port}", process
    finally:
        stop(process)


@contextmanager
def shorter_times() -> Iterator[None]:
    """Let the servers that start now, and their pages, wait for a shorter time."""
    before = {Path(name): Path(name).read_text("utf-8") for name in TIMES}
    for name, (long, short) in TIMES.items():
        assert long in before[Path(name)]
        Path(name).write_text(before[Path(name)].replace(long, short), "utf-8")
    try:
        yield
    finally:
        for file, text in before.items():
            file.write_text(text, "utf-8")


def here(window: Page) -> Locator:
    """Return the line with the names of the people in the room."""
    return window.locator("#here")


def come(host: str, window: Page, name: str) -> Page:
    """Enter the lobby, signed in, and wait until the page shows this name; return the window."""
    window.goto(f"http://{host}/accounts/login/?next=/chat/lobby/")
    sign_in(window, name)
    expect(here(window)).to_contain_text(name)
    return window


def ben_of(ann: Page) -> Page:
    """Return a private window beside Ann's."""
    browser = ann.context.browser
    assert browser
    return browser.new_context().new_page()


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
    ben.context.close()
    return shown


def forever(kill: int) -> Callable[[str, Page], str]:
    """Return a scene: the server of Ann's page ends, and Ben's page is loaded again."""

    def scene(host: str, window: Page) -> str:
        with closing(sqlite3.connect("db.sqlite3")) as database, database:
            database.execute("DELETE FROM chat_presence")
        ben = come(host, ben_of(window), "ben")
        expect(here(ben)).to_have_text("here: ben")
        with server() as (other, process):
            come(other, window, "ann")
            expect(here(window)).to_have_text("here: ann, ben")
            process.send_signal(kill)
            process.wait(SECONDS)
        expect(window.locator("#connection-status")).to_contain_text("Closed")
        expect(here(window)).to_be_empty()
        window.goto("about:blank")
        ben.reload()
        expect(here(ben)).not_to_be_empty()
        shown = here(ben).inner_text()
        ben.context.close()
        return shown

    return scene


def gone(host: str, window: Page) -> str:
    """Kill the server of Ann's page; return what Ben's page shows before, and after a while."""
    with ExitStack() as stack:
        stack.enter_context(shorter_times())
        first, _ = stack.enter_context(server())
        second, process = stack.enter_context(server())
        ben = come(first, ben_of(window), "ben")
        expect(here(ben)).to_have_text("here: ben")
        come(second, window, "ann")
        expect(here(ben)).to_have_text("here: ann, ben")
        process.kill()
        process.wait()
        expect(here(ben)).to_have_text("here: ben")
        ben.context.close()
    return "here: ann, ben\nhere: ben"


SCENES = {"tabs": tabs, "killed": forever(KILL), "interrupted": forever(INTERRUPT), "gone": gone}
