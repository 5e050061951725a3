"""The tests share one browser, each step's site, and windows on it."""

import itertools
import os
import re
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Error,
    Page,
    Playwright,
    expect,
    sync_playwright,
)

from course.checks.browser.pages import expect_open, page_path
from course.checks.browser.sites import PASSWORD, Site
from course.checks.browser.wires import Wire
from course.core.processes import interrupt_on_signals

PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = [
    "--headless",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    # Use one process for all pages: a new process for each page would cost more than the page.
    "--renderer-process-limit=1",
    # Use one frame for the pages that a window shows one after another: with RenderDocument,
    # Chromium makes a new frame for each page, which is a fifth of the page's cost.
    "--disable-features=IsolateOrigins,site-per-process,RenderDocument",
    "--disable-site-isolation-trials",
    # The names of other sites. Requests to these names never leave this machine.
    "--host-resolver-rules=MAP *.example 127.0.0.1",
]
INSTALL = ".venv/bin/python -m playwright install chromium"
MILLISECONDS = 10_000  # longer than any page takes
AN_HOUR = 3_600_000  # milliseconds
NUMBERS = itertools.count(1)  # for the names of rooms
VIEWPORT = {"width": 800, "height": 600}  # a larger page takes longer to draw
# Forget what pages stored. Tell whether the browser still prefers dark colours, and whether the
# page would ask before a person leaves it.
FORGET = """
() => {
    try { localStorage.clear(); sessionStorage.clear() } catch {}
    const wasDark = matchMedia("(prefers-color-scheme: dark)").matches;
    return [wasDark, document.querySelector("p.sending") !== null];
}
"""


def launch(playwright: Playwright) -> Browser:
    """Start Chromium: the one on PATH, else Playwright's own; skip the tests without one."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    # Chromium's sandbox refuses to work for root.
    sandbox = hasattr(os, "geteuid") and os.geteuid() != 0
    try:
        return playwright.chromium.launch(
            executable_path=program, chromium_sandbox=sandbox, args=FLAGS
        )
    except Error as error:
        if program or "Executable doesn't exist" not in error.message:
            raise
        pytest.skip(f"There is no Chromium or Chrome here. Run: {INSTALL}")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Start the browser, once for all tests."""
    interrupt_on_signals()
    expect.set_options(timeout=MILLISECONDS)
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        # Ctrl-C also ends the browser, which may be gone by now.
        with suppress(Error):
            browser.close()


@pytest.fixture(scope="session")
def sites(
    browser: Browser, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Site]]]:
    """Start the sites that the tests need, in the order in which they need them."""
    parameters = [getattr(test, "callspec", None) for test in request.session.items]
    wanted = [found.params["site"] for found in parameters if found and "site" in found.params]
    folder = tmp_path_factory.mktemp("sites")
    sites = [Site(edition, folder / edition.label) for edition in dict.fromkeys(wanted)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        started = {site.edition.label: pool.submit(site.prepare) for site in sites}
        try:
            yield started
        finally:
            pool.shutdown(cancel_futures=True)
            for site in sites:
                site.kill()


@pytest.fixture
def site(request: pytest.FixtureRequest, sites: dict[str, Future[Site]]) -> Site:
    """Return the running site of the step that the test is for."""
    return sites[request.param.label].result()


@pytest.fixture
def room() -> str:
    """Return the name of a room where nothing has been said yet."""
    return f"room-{next(NUMBERS)}"


def watch(context: BrowserContext, complaints: list[str]) -> None:
    """Note each complaint of the browser about these windows."""

    # The console also tells of each answer that is an error, and of each request that failed.
    def note_message(message):
        # The browser warns if a test takes the focus before the page's autofocus does.
        if message.type in ("error", "warning") and "Autofocus" not in message.text:
            complaints.append(f"{message.text} {message.location['url']}")

    context.on("console", note_message)
    context.on("weberror", lambda error: complaints.append(str(error.error)))

    def dismiss(dialog):
        complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    context.on("dialog", dismiss)


@pytest.fixture(scope="session")
def complaints() -> list[str]:
    """Return the browser's complaints; a test that expects complaints clears the list."""
    return []


@pytest.fixture(scope="session")
def spare_contexts() -> list[BrowserContext]:
    """Return the clean contexts of earlier tests: browsers with cookies of their own."""
    return []


def clean(context: BrowserContext) -> None:
    """Make a used context as good as new: one window, of the first size, nothing stored.

    The window still shows its last page: an empty page in between would cost the browser as much as
    the page of a room.
    """
    page, *others = context.pages or [context.new_page()]
    for other in others:
        other.close()
    was_dark, asks = page.evaluate(FORGET)
    if asks:
        page.close()
        page = context.new_page()
    if page.viewport_size != VIEWPORT:
        page.set_viewport_size(VIEWPORT)
    if was_dark:
        page.emulate_media(color_scheme="null")
    context.clear_cookies()


@pytest.fixture
def new_context(
    browser: Browser, complaints: list[str], spare_contexts: list[BrowserContext]
) -> Iterator[Callable[[], BrowserContext]]:
    """Return a function that makes a browser with cookies of its own, and one window.

    After the test, no console may have a complaint, and no request may have failed.
    """
    complaints.clear()
    used = []

    def new_context() -> BrowserContext:
        if spare_contexts:
            context = spare_contexts.pop()
        else:
            context = browser.new_context(locale="en-GB", timezone_id="UTC", viewport=VIEWPORT)
            context.set_default_timeout(MILLISECONDS)
            watch(context, complaints)
            context.new_page()
        used.append(context)
        return context

    yield new_context
    found = list(complaints)
    for context in used:
        with suppress(Error):
            clean(context)
            spare_contexts.append(context)
    assert found == []


@pytest.fixture
def lost_connections(new_context: Callable, complaints: list[str]) -> Iterator[None]:
    """Remove complaints about lost connections, before `new_context` checks the list."""
    yield
    lost = re.compile(r"WebSocket connection to|WebSocket is closed before")
    complaints[:] = [text for text in complaints if not lost.match(text)]


def sign_up_unseen(site: Site, context: BrowserContext, who: str) -> list:
    """Sign somebody up without a page, for tests of other things; return the cookies."""
    url = f"{site.url}/accounts/signup/"
    context.request.get(url)
    token = next(c["value"] for c in context.cookies() if c["name"] == "csrftoken")
    form = {"csrfmiddlewaretoken": token, "username": who}
    form |= {"password1": PASSWORD, "password2": PASSWORD}
    answer = context.request.post(url, form=form)
    assert answer.url == f"{site.url}/chat/", answer.text()
    return context.cookies()


@pytest.fixture
def new_window(site: Site, new_context: Callable) -> Callable[..., Page]:
    """Return a function that opens a person's window, signed in if the step has accounts.

    Each window is a browser of its own: two calls of `new_window("ann")` are Ann on two devices,
    with one session. `None` is a stranger.
    """

    def new_window(who: str | None = None) -> Page:
        context = new_context()
        (page,) = context.pages
        if who and site.knows_people:
            if who not in site.sessions:
                site.sessions[who] = sign_up_unseen(site, context, who)
            context.add_cookies(site.sessions[who])
        return page

    return new_window


@pytest.fixture
def join(site: Site, room: str, new_window: Callable) -> Callable[..., Page]:
    """Return a function that opens a window in a room, and waits until it is connected."""

    def join(who: str = "ann", room: str = room) -> Page:
        page = new_window(who)
        page.goto(site.url + page_path(site, room))
        expect_open(page)
        return page

    return join


@pytest.fixture
def wire(
    site: Site, room: str, new_window: Callable, lost_connections: None
) -> Callable[[type[Wire]], Wire]:
    """Return a function that opens a window of Ann in a room, and controls its sockets."""

    def wire(kind: type[Wire]) -> Wire:
        made = kind(new_window("ann").context.new_page())  # `clean` closes this page
        made.page.goto(site.url + page_path(site, room))
        assert made.accept(1) == "as=ann"
        return made

    return wire


@pytest.fixture
def stop_clock(new_context: Callable) -> Iterator[Callable[[Page], None]]:
    """Return a function that stops a page's clock: only `page.clock.run_for` lets time pass.

    Wait for such a page with `expect`, which has a clock of its own.
    """
    stopped = []

    def stop_clock(page: Page) -> None:
        stopped.append(page)
        page.clock.install(time=0)
        page.clock.pause_at(AN_HOUR)

    yield stop_clock
    for page in stopped:
        # Nothing starts the clock again, and later pages of the context would share the clock.
        page.context.close()
