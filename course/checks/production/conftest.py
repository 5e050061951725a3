"""Fixtures that the tests of faults share: stacks, a browser, a crowd in a room of its own."""

import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Browser, BrowserContext

from course.checks.browser.conftest import browser as browser
from course.checks.production.clients import Client
from course.checks.production.crowd import REPORT, Background, Crowd, rooms_with_people, row
from course.checks.production.network import Pipe, Proxy
from course.checks.production.people import NOTE_CODES, Window
from course.checks.production.prepared import prepared, sign_in
from course.core.processes import wait_until
from course.stack import HOST, Stack

rooms = count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip all tests on Windows, where no stack can run."""
    if os.name == "nt":
        for item in items:
            item.add_marker(pytest.mark.skip(reason="the stack needs Linux or macOS"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a table of how long clients felt each fault."""
    if REPORT:
        terminalreporter.section("longest silence for clients, longest waits of messages")
        head = row("", "that stayed", "that came back", "until answered", "until heard", "stored")
        for line in [head, *REPORT]:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def background() -> Iterator[Background]:
    """Run an event loop for the clients."""
    background = Background()
    yield background
    background.close()


class Site:
    """A stack with people who have signed in: Ann by a cookie, Ben in a browser."""

    def __init__(self, stack: Stack, context: BrowserContext) -> None:
        self.stack = stack
        self.url = stack.url
        self.cookie = f"sessionid={sign_in(stack, 'ann').cookies['sessionid']}"
        cookies = sign_in(stack, "ben").cookies
        context.add_cookies(
            [{"name": key, "value": value, "url": stack.url} for key, value in cookies.items()]
        )
        self.window = context.new_page()
        self.window.add_init_script(NOTE_CODES)

    def mend(self) -> None:
        """Start the parts that do not run, and wait until each worker is ready."""
        for name, part in self.stack.parts.items():
            if not part.running:
                self.stack.start(name)
        ready = lambda: all(  # noqa: E731
            requests.get(f"{url}/readyz", timeout=30).ok for url in self.stack.worker_urls
        )
        assert wait_until(ready, 30)


@pytest.fixture(scope="session")
def site(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Site]:
    """Run a stack with the arguments from the fixture's parameter."""
    with Stack(**request.param, prepared=prepared()) as stack, browser.new_context() as context:
        yield Site(stack, context)


@dataclass
class Vanished:
    """A client that is alone in its room and has lost its network; `group` is the room's group."""

    pipe: Pipe
    group: bytes
    since: float


@pytest.fixture(scope="session")
def vanished(site: Site, background: Background) -> Iterator[Vanished]:
    """Let a client's network vanish. Other tests run until the worker notices.

    These tests must leave worker2 alone: the client is connected there, past nginx.
    """
    url = site.stack.redis_urls[0]
    proxy = Proxy(HOST, site.stack.ports["worker2"])
    address = background.run(proxy.start())
    before = rooms_with_people(url)
    client = Client(
        "lonely", f"ws://{address}/ws/chat/lonely/", {"Cookie": site.cookie, "Origin": site.url}
    )
    leave = background.go(client.live())
    assert wait_until(lambda: bool(rooms_with_people(url) - before), 30)
    (group,) = rooms_with_people(url) - before
    background.run(proxy.refuse())  # otherwise the client would reconnect to its room
    (pipe,) = proxy.vanish()
    yield Vanished(pipe, group, time.monotonic())
    leave()


@pytest.fixture
def place_for_stacks(monkeypatch) -> Iterator[Path]:
    """Let stacks make their folders inside a temporary folder that no other test uses."""
    with tempfile.TemporaryDirectory() as folder:
        # For root, another user runs PostgreSQL, and must get through, as in the usual folder.
        Path(folder).chmod(0o711)
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


@pytest.fixture
def stack(site: Site) -> Stack:
    """Return the stack, after starting every part that does not run."""
    site.mend()
    return site.stack


@pytest.fixture
def crowd(stack: Stack, site: Site, background: Background) -> Crowd:
    """Return a crowd for a room where nothing has been said yet."""
    window = Window("ben", site.window)
    return Crowd(stack, background, window, site.cookie, f"room {next(rooms)}")
