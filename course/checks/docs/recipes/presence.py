"""Presence: who is here, in three tabs of one person, and after a server was killed."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import Popen

from playwright.sync_api import Locator, Page, expect

from course.checks.browser.pages import sign_in
from course.checks.docs.recipes.people import enter_two
from course.core.ports import answers, free_port
from course.core.processes import INTERRUPT, clean_environment, start_job, stop, wait_until
from course.stack.programs import find_programs
from course.stack.services import redis

SECONDS = 30  # longer than a start takes on a busy machine
# Changes to the reader's files: shorter times, and a layer for several processes whose pages do not
# ask for an hour.
SOON = {
    "chat/presence.py": ("timedelta(seconds=90)", "timedelta(seconds=6)"),
    "chat/static/chat/chat.js": ("(sayHere, 20_000)", "(sayHere, 500)"),
}
WITH_REDIS = {
    "chat/static/chat/chat.js": ("(sayHere, 20_000)", "(sayHere, 3_600_000)"),
    "config/settings.py": (
        '"channels.layers.InMemoryChannelLayer"',
        '"channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": {"hosts": [REDIS]}',
    ),
}


@contextmanager
def server(*options: str) -> Iterator[tuple[str, Popen[bytes]]]:
    """Run one more server of the reader's; yield its host and its process."""
    port = free_port()
    command = [sys.executable, "manage.py", "runserver", *options, f"127.0.0.1:{port}"]
    log = Path("..", f"{port}.log")
    process = start_job(command, log, Path(), clean_environment())
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


def kill(process: Popen[bytes]) -> None:
    """End a server without a warning; on Windows, there is no other way."""
    process.kill()
    process.wait()


def interrupt(process: Popen[bytes]) -> None:
    """End a server as Ctrl-C does."""
    process.send_signal(INTERRUPT)
    process.wait(SECONDS)


def save_a_file(process: Popen[bytes]) -> None:
    """Save a file that the server has loaded: its process ends, and another takes its place."""
    Path("chat", "views.py").touch()


def forever(
    end: Callable[[Popen[bytes]], None], room: str, *options: str
) -> Callable[[str, Page], str]:
    """Return a scene: the server of Ann's page ends, and Ben's page is loaded again."""

    def scene(host: str, window: Page) -> str:
        ben = come(host, ben_of(window), "ben", room)
        expect(here(ben)).to_have_text("here: ben")
        with server(*options) as (other, process):
            window.goto(f"http://{other}/chat/{room}/")  # Ann is still signed in
            expect(here(window)).to_have_text("here: ann, ben")
            end(process)
            expect(window.locator("#connection-status")).to_contain_text("Closed")
            if process.poll() is None:  # let it start anew before it is stopped
                assert wait_until(lambda: answers(int(other.rpartition(":")[2])), SECONDS)
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
        stack.enter_context(changed(SOON))
        first, _ = stack.enter_context(server("--noreload"))
        second, process = stack.enter_context(server("--noreload"))
        ben = come(first, ben_of(window), "ben")
        expect(here(ben)).to_have_text("here: ben", timeout=1000 * SECONDS)
        come(second, window, "ann")
        expect(here(ben)).to_have_text("here: ann, ben")
        kill(process)
        expect(here(ben)).to_have_text("here: ben", timeout=1000 * SECONDS)
        ben.context.close()
    return "here: ann, ben\nhere: ben"


def at_once(_: str, window: Page) -> str:
    """Let Ann come to another process; return what Ben's page shows without a sign of life."""
    port = free_port()
    layer = redis("redis", find_programs(Path(sys.executable))["redis"], Path(), port, '""')
    address = f'"redis://127.0.0.1:{port}"'
    changes = {
        name: (old, new.replace("REDIS", address)) for name, (old, new) in WITH_REDIS.items()
    }
    with ExitStack() as stack:
        layer.start()
        stack.callback(layer.stop)
        stack.enter_context(changed(changes))
        first, _process = stack.enter_context(server("--noreload"))
        second, _process = stack.enter_context(server("--noreload"))
        ben = come(first, ben_of(window), "ben", "cellar")
        expect(here(ben)).to_have_text("here: ben")
        come(second, window, "ann", "cellar")
        expect(here(ben)).to_have_text("here: ann, ben")
        shown = here(ben).inner_text()
        ben.context.close()
    return shown


SCENES = {
    "tabs": tabs,
    "killed": forever(kill, "lobby", "--noreload"),
    "interrupted": forever(interrupt, "garden", "--noreload"),
    "saved": forever(save_a_file, "kitchen"),
    "gone": gone,
    "redis": at_once,
}
