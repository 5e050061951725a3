"""Close codes that a browser's `onclose` gets, and tokens and origins in a real browser."""

from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from playwright.sync_api import Page

from course.checks.browser.pages import ask_for_token, page_path, socket_path, try_socket
from course.checks.browser.sites import Site, steps

SIGNED_OUT = 4001
REFUSED = 1006  # the browser's close code for a socket that never opened


def socket_url(site: Site, room: str, token: str | None = None) -> str:
    """Return the URL of a room's socket, with a token or without."""
    query = "" if token is None else f"?token={token}"
    return f"ws://{site.host}{socket_path(site, room)}{query}"


def tampered(token: str) -> str:
    """Return the token with another first character."""
    return ("A" if token[0] != "A" else "B") + token[1:]


class ForeignPage(BaseHTTPRequestHandler):
    """A page of a foreign web site."""

    def do_GET(self) -> None:
        """Answer each path with the same empty page."""
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!DOCTYPE html><link rel=icon href=data:,><title>Not ours</title>")

    def log_message(self, *arguments) -> None:
        """Keep quiet."""


@pytest.fixture(scope="module")
def foreign_port() -> Iterator[int]:
    """Serve a foreign web site on a port of 127.0.0.1, under any name."""
    with ThreadingHTTPServer(("127.0.0.1", 0), ForeignPage) as server:
        Thread(target=partial(server.serve_forever, poll_interval=0.02)).start()
        yield server.server_port
        server.shutdown()


@steps(first=4)
def test_a_token_opens_one_socket(site: Site, room: str, new_window: Callable[..., Page]):
    """A token opens one socket for its user, without a session.

    With neither of the two, and with a bad token, the browser gets the close code 4001. The cookie
    is never a fallback for a bad token: Ann's own browser gets the same code.
    """
    ann, stranger = new_window("ann"), new_window()
    ann.goto(f"{site.url}/chat/")
    stranger.goto(f"{site.url}/accounts/login/")
    assert try_socket(stranger, socket_url(site, room)) == SIGNED_OUT
    token, fresh = ask_for_token(ann), ask_for_token(ann)
    assert try_socket(stranger, socket_url(site, room, token))["username"] == "ann"
    # The steps have their own tests for every kind of bad token.
    for bad in (token, tampered(fresh)):
        for page in (stranger, ann):
            assert try_socket(page, socket_url(site, room, bad)) == SIGNED_OUT
    # The changed copy has not used up the original token.
    assert try_socket(stranger, socket_url(site, room, fresh))["username"] == "ann"


@steps(first=4)
def test_a_deactivated_user_is_told_4001(site: Site, room: str, new_window: Callable[..., Page]):
    """An inactive user gets in neither with a session nor with a token."""
    page = new_window("dora")
    page.goto(f"{site.url}/chat/")
    token = ask_for_token(page)
    assert try_socket(page, socket_url(site, room))["username"] == "dora"
    site.deactivate("dora")
    assert try_socket(page, socket_url(site, room)) == SIGNED_OUT
    assert try_socket(page, socket_url(site, room, token)) == SIGNED_OUT


@steps()
def test_a_page_of_another_site_opens_no_socket(
    site: Site, room: str, new_window: Callable[..., Page], foreign_port: int, complaints: list[str]
):
    """The server refuses the foreign Origin, even if the browser sends the visitor's cookie.

    The browser sends a `SameSite=Lax` cookie, such as Django's, to the same site only. But all
    subdomains of a site belong to the same site. So the visitor here knows us as `chat.example`,
    and has come to a page of `evil.chat.example`. From step 4, a token works from that page.
    """
    page = new_window("ann")
    for cookie in page.context.cookies():
        page.context.add_cookies([{**cookie, "domain": "chat.example"}])
    url = socket_url(site, room)
    page.goto(site.url + page_path(site, room))
    token = ask_for_token(page) if site.knows_people else None
    assert try_socket(page, url)["message"].endswith("may I?")

    page.goto(f"http://evil.chat.example:{foreign_port}/")
    there = url.replace("127.0.0.1", "chat.example")
    assert try_socket(page, there) == REFUSED
    assert "Unexpected response code: 403" in complaints.pop()
    if token:
        assert try_socket(page, f"{there}?token={token}")["username"] == "ann"
