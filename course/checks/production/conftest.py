"""Fixtures that the tests of faults share: stacks, a browser, a crowd in a room of its own."""

import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from course.checks.browser.conftest import browser as browser
from course.checks.production.clients import Client
from course.checks.production.crowd import TALKATIVE, Background, Crowd, rooms_with_people
from course.checks.production.network import Pipe, Proxy
from course.checks.production.people import NOTE_CODES, Window
from course.checks.production.prepared import Place, QuickStack
from course.checks.production.wire import Wire
from course.core.ports import HOST
from course.core.processes import wait_until
from course.stack.stack import Stack

rooms = count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip all tests on Windows, where no stack can run."""
    if os.name == "nt":
        for item in items:
            item.add_marker(pytest.mark.skip(reason="the stack needs Linux or macOS"))


@pytest.fixture(scope="session")
def background() -> Iterator[Background]:
    """Run an event loop for the clients."""
    background = Background()
    yield background
    background.close()


@pytest.fixture(scope="session")
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Run a stack with two Redis servers for a talkative crowd, on the parameter's server."""
    with QuickStack(server=request.param, shards=2, variables=TALKATIVE) as stack:
        yield Place(stack)


@pytest.fixture(scope="session")
def ben(place: Place, browser: Browser) -> Iterator[Page]:
    """Open a browser in which Ben has signed in."""
    with browser.new_context() as context:
        cookies = place.visitor("ben").cookies
        context.add_cookies(
            [
                {"name": key, "value": value, "url": place.stack.url}
                for key, value in cookies.items()
            ]
        )
        page = context.new_page()
        page.add_init_script(NOTE_CODES)
        yield page


@pytest.fixture(scope="session")
def lone_stack(request: pytest.FixtureRequest) -> Iterator[Wire]:
    """Run a stack with one worker and the usual limits, on the parameter's server."""
    import resource  # not on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 4096:  # for two thousand connections
        resource.setrlimit(resource.RLIMIT_NOFILE, (4096, hard))
    with QuickStack(workers=1, server=request.param) as stack:
        yield Wire(stack)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def lone(lone_stack: Wire) -> Iterator[Wire]:
    """Return the stack with one worker, and check the logs after the test."""
    with lone_stack.quiet():
        yield lone_stack


@dataclass
class Vanished:
    """A client that is alone in its room and has lost its network; `group` is the room's group."""

    pipe: Pipe
    group: bytes
    since: float


@pytest.fixture(scope="session")
def vanished(place: Place, background: Background) -> Iterator[Vanished]:
    """Let a client's network vanish. Other tests run until the worker notices.

    These tests must leave worker2 alone: the client is connected there, past nginx.
    """
    proxy = Proxy(HOST, place.stack.ports["worker2"])
    address = background.run(proxy.start())
    before = rooms_with_people(*place.stack.redis_urls)
    client = Client("lonely", f"ws://{address}/ws/chat/lonely/", place.headers())
    leave = background.go(client.live())
    assert wait_until(lambda: bool(rooms_with_people(*place.stack.redis_urls) - before), 30)
    (group,) = rooms_with_people(*place.stack.redis_urls) - before
    background.run(proxy.refuse())  # otherwise the client would reconnect to its room
    (pipe,) = proxy.vanish()
    yield Vanished(pipe, group, time.monotonic())
    leave()


@pytest.fixture
def place_for_stacks(monkeypatch, tmp_path: Path) -> Iterator[Path]:
    """Let stacks make their folders inside an empty temporary folder, whose name has a space.

    It is made after `tmp_path`, or pytest would make its own folder there.
    """
    with tempfile.TemporaryDirectory(prefix="my コース ") as folder:
        # For root, another user runs PostgreSQL, and must get through, as in the usual folder.
        Path(folder).chmod(0o711)
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


@pytest.fixture
def stack(place: Place) -> Stack:
    """Return the stack, after starting every part that does not run."""
    place.mend()
    return place.stack


@pytest.fixture
def crowd(stack: Stack, place: Place, ben: Page, background: Background) -> Crowd:
    """Return a crowd for a room where nothing has been said yet."""
    window = Window("ben", ben)
    return Crowd(place, background, window, f"room {next(rooms)}")
