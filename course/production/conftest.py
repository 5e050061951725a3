"""What the tests of faults share: stacks, a browser, and a crowd in a room of its own."""

import os
import re
from collections.abc import Iterator
from itertools import count

import pytest
import requests
from playwright.sync_api import Browser, BrowserContext

from course.browser.conftest import browser as browser
from course.processes import wait_until
from course.production.clients import NOTE_CODES, Window
from course.production.crowd import REPORT, Background, Crowd, row
from course.stack import Stack

ADD_PEOPLE = """
from django.contrib.auth.models import User
for name in ["ann", "ben", "cat"]:
    User.objects.create_user(name, password={password!r})
"""
rooms = count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip everything where no stack can be."""
    if os.name == "nt":
        for item in items:
            item.add_marker(pytest.mark.skip(reason="the stack needs Linux or macOS"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show how long each fault was felt."""
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
        stack.manage("shell", "-v0", "-c", ADD_PEOPLE.format(password=stack.password))
        session = requests.Session()
        url = f"{stack.url}/accounts/login/"
        page = session.get(url, timeout=10).text
        form = {"username": "ann", "password": stack.password}
        form["csrfmiddlewaretoken"] = page.partition('csrfmiddlewaretoken" value="')[2][:64]
        assert session.post(url, data=form, timeout=10).url == f"{stack.url}/chat/"
        self.cookie = f"sessionid={session.cookies['sessionid']}"
        window = context.new_page()
        window.add_init_script(NOTE_CODES)
        window.goto(url)
        window.get_by_label("Username").fill("ben")
        window.get_by_label("Password").fill(stack.password)
        window.get_by_role("button", name=re.compile("Sign in")).click()
        window.wait_for_url(f"{stack.url}/chat/")
        self.window = window

    def mend(self) -> None:
        """Start what does not run, and wait until each worker is ready."""
        for name, part in self.stack.parts.items():
            if not part.running:
                self.stack.start(name)
        ready = lambda: all(  # noqa: E731
            requests.get(f"{url}/readyz", timeout=10).ok for url in self.stack.worker_urls
        )
        assert wait_until(ready, 15)


@pytest.fixture(scope="session")
def site(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Site]:
    """Run a stack; its parameter has the arguments for it."""
    with Stack(**request.param) as stack, browser.new_context() as context:
        yield Site(stack, context)


@pytest.fixture
def stack(site: Site) -> Stack:
    """Return the stack, every part of which runs."""
    site.mend()
    return site.stack


@pytest.fixture
def crowd(stack: Stack, site: Site, background: Background) -> Crowd:
    """Return a crowd for a room where nothing has been said yet."""
    window = Window("ben", site.window)
    return Crowd(stack, background, window, site.cookie, f"room {next(rooms)}")
