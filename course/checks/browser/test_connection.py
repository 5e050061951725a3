"""The page always shows the state of its connection, also when the connection is lost."""

import re
from collections.abc import Callable

from playwright.sync_api import Page, Route, expect

from course.checks.browser.pages import (
    HAS_VALUE,
    expect_closed,
    expect_count,
    expect_lines,
    expect_open,
    page_path,
    say,
    socket_path,
    status,
    wait_for,
    write,
)
from course.checks.browser.sites import Site, steps

Join = Callable[..., Page]


@steps()
def test_the_page_says_that_it_is_connecting_then_connected(site: Site, room: str, new_window):
    """From the first moment to the open socket, the page shows the state of the connection."""
    page = new_window("ann")
    scripts: list[Route] = []
    page.route("**/chat.js", lambda route: scripts.append(route))
    page.goto(site.url + page_path(site, room), wait_until="commit")
    expect(status(page)).to_have_text("Connecting…")
    expect(status(page)).to_be_visible()
    scripts[0].continue_()
    expect_open(page)
    page.unroute_all()  # later tests use this page


@steps()
def test_a_line_is_answered(join: Join):
    """A line that is sent with Enter or with the button comes back to its sender.

    After a click on the button, the next message needs no click into the input. A message of only
    spaces is answered with a sentence, and the next one is sent.
    """
    page = join()
    say(page, "hello")
    expect_lines(page, "hello")
    wait_for(page, HAS_VALUE, "")
    write(page, "hello again")
    page.locator("#chat-message-submit").click()
    expect_lines(page, "hello", "hello again")
    page.keyboard.type("and on")
    page.keyboard.press("Enter")
    expect_lines(page, "hello", "hello again", "and on")
    say(page, "   ")
    said = ["hello", "hello again", "and on", "The message is empty."]
    expect_lines(page, *said)
    expect_count(page, "#chat-log p.error", 1)
    say(page, "better")
    expect_lines(page, *said, "better")


@steps(last=4)
def test_the_server_dies_and_comes_back(site: Site, join: Join, complaints: list[str]):
    """The page says that the server is gone and keeps the typed text; a reload connects again.

    From step 3, earlier messages are still there; from step 5, the page connects by itself.
    """
    page = join()
    say(page, "before")
    expect_lines(page, "before")
    write(page, "half a thought")
    site.kill()
    try:
        expect_closed(page)
        page.keyboard.press("Enter")
        wait_for(page, HAS_VALUE, "half a thought")
        expect_lines(page, "before")
    finally:
        site.start()
    complaints.clear()
    page.reload()
    expect_open(page)
    say(page, "after")
    expect_lines(page, *["before"] * site.remembers, "after")


@steps()
def test_a_reload_and_a_closed_tab_are_disconnects(site: Site, room: str, join: Join):
    """In both cases the server gets the browser's close code 1001 at once, and logs it."""
    gone = f"disconnect {socket_path(site, room)} 1001"

    page = join()
    before = site.logged(gone)
    page.reload()
    assert site.has_logged(gone, before + 1), site.log.read_text()
    expect_open(page)
    page.close()
    assert site.has_logged(gone, before + 2), site.log.read_text()


@steps()
def test_the_socket_follows_the_page_to_https(site: Site, room: str, new_window):
    """A page from https opens a wss: socket to the same host; a page from http opens ws:."""
    page = new_window("ann").context.new_page()  # `clean` closes this page
    asked = []
    page.route_web_socket(re.compile("/ws/"), lambda route: asked.append(route.url))

    def from_site(route: Route) -> None:
        """Play the server that ends TLS in front of the site."""
        url = route.request.url.replace("https://chat.example", site.url)
        cookies = "; ".join(f"{c['name']}={c['value']}" for c in page.context.cookies(site.url))
        route.fulfill(response=route.fetch(url=url, headers={"Cookie": cookies}))

    page.route("https://chat.example/**", from_site)
    page.goto(site.url + page_path(site, room))
    expect_open(page)
    page.goto(f"https://chat.example{page_path(site, room)}")
    expect_open(page)
    path = socket_path(site, room)
    assert [url.partition("?")[0] for url in asked] == [
        f"ws://{site.host}{path}",
        f"wss://chat.example{path}",
    ]
