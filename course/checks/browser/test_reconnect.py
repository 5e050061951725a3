"""The page connects again by itself, and shows every missed message once and in order.

Real servers die, stop, freeze or refuse, and come back on the same port.
"""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest
from playwright.sync_api import Page, expect

from course.checks.browser.pages import (
    HAS_VALUE,
    LINES,
    expect_closed,
    expect_count,
    expect_lines,
    expect_lines_by_our_clock,
    expect_open,
    expect_reconnecting,
    expect_reconnecting_by_our_clock,
    expect_unsent,
    hurry,
    lines,
    message_input,
    page_path,
    say,
    sign_in,
    socket_path,
    status,
    texts,
    wait_for,
    write,
)
from course.checks.browser.sites import DAPHNE, PART_5, UVICORN, Site, sites
from course.checks.browser.test_looks import PLACES
from course.checks.browser.wires import NOTE_SOCKETS, OPENED, Network

Join = Callable[..., Page]

NOT_SENT = "Not sent: You are signed out. Your message: \u2068{}\u2069"
TOO_MANY = 4008
TOO_SLOW = 4013
MAX_LINES = 1000  # what the page keeps
MAX_SOCKETS = 50  # what one person may open
EMPTY = "nothing was said here"
CAUGHT_UP = "() => window.numbers.length === 1"  # the first frame in an empty room
HAS_CODE = "code => window.codes.includes(code)"
# The number of pixels below the visible part of the log, once the browser has drawn the log.
BELOW = """
() => new Promise(resolve => requestAnimationFrame(() => setTimeout(() => {
    const log = document.querySelector("#chat-log");
    resolve(log.scrollHeight - log.scrollTop - log.clientHeight);
})))
"""
# Open one socket after another: Chromium delays a page that opens many sockets at once.
OPEN_SOCKETS = """
async ([url, count]) => {
    window.others = [];
    while (window.others.length < count) await new Promise((resolve, reject) => {
        const socket = new WebSocket(url);
        socket.onopen = resolve;
        socket.onerror = reject;
        window.others.push(socket);
    });
}
"""
CLOSE_SOCKETS = "() => window.others.forEach(socket => socket.close())"


@pytest.fixture
def new_noted_page(new_window: Callable) -> Callable[[], Page]:
    """Return a function that opens an empty window of Ann. Its pages note their sockets."""

    def new_noted_page() -> Page:
        page = new_window("ann").context.new_page()  # `clean` closes this page
        page.add_init_script(NOTE_SOCKETS)
        return page

    return new_noted_page


@sites(PART_5, DAPHNE)
@pytest.mark.usefixtures("lost_connections")
def test_a_page_comes_back_to_a_server_that_died(
    site: Site, room: str, join: Join, new_noted_page: Callable
):
    """The page shows 60 missed messages once and in order, and keeps the text in the input.

    A page that joins anew would get the last 50 only. A page that joined an empty room gets all.
    From part 6, written messages wait in the page. When the server is back, they go in the order of
    writing.
    """
    ann, ben = join("ann"), join("ben")
    early = new_noted_page()
    early.goto(site.url + page_path(site, EMPTY))
    wait_for(early, CAUGHT_UP)
    say(ann, "before")
    write(ben, "half a thought")
    for page in (ann, ben):
        expect_lines(page, "before")
        hurry(page)
    written = ["typed while", "it was down"] if site.edition == DAPHNE else []
    site.kill()
    try:
        for page in (ann, ben, early):
            expect_reconnecting(page)
        assert early.evaluate("window.codes[0]") == 1006
        numbers = site.say_numbers(room, "ben", 60)
        site.say_numbers(EMPTY, "ben", 60)
        for text in written:
            say(ann, text)
        expect_lines(ann, "before")
        expect_unsent(ann, *written)
    finally:
        site.start()
    said = ["before", *numbers, *written]
    for page in (ann, ben):
        expect_open(page)
        expect_lines(page, *said)
        expect_unsent(page)
    expect_lines(early, *numbers)
    assert texts(ann) == texts(ben)
    wait_for(ben, HAS_VALUE, "half a thought")
    ben.keyboard.press("Enter")
    for page in (ann, ben):
        expect_lines(page, *said, "half a thought")


@sites(UVICORN)
@pytest.mark.usefixtures("lost_connections")
def test_ten_thousand_missed_messages(site: Site, room: str, new_noted_page):
    """All messages arrive, once and in order. The log keeps 1,000 lines, and shows its end.

    uvicorn closes with 1012 when it stops.
    """
    page = new_noted_page()
    page.goto(site.url + page_path(site, room))
    expect_open(page)
    say(page, "before")
    expect_lines(page, "before")
    site.stop()
    try:
        expect_reconnecting(page)
        assert page.evaluate("window.codes[0]") == 1012
        say(page, "typed while it was down")
        numbers = site.say_numbers(room, "ann", 10_000)
    finally:
        site.start()
    expect(lines(page).last).to_contain_text("typed while it was down", timeout=30_000)
    expect_unsent(page)
    expect_count(page, LINES, MAX_LINES)
    # On a busy machine, the messages may need more than one connection.
    got = dict.fromkeys(seq for seq in page.evaluate("window.numbers") if seq)
    assert list(got) == list(range(1, len(numbers) + 3))
    seen = [int(line.split()[-1]) for line in texts(page)[:-1]]
    assert seen == list(range(10_000 - MAX_LINES + 2, 10_001))
    say(page, "after")
    expect(lines(page).last).to_contain_text("after")
    expect_count(page, LINES, MAX_LINES)
    assert page.evaluate(BELOW) < 2, "the end is not in sight"


@sites(DAPHNE)
@pytest.mark.usefixtures("lost_connections")
def test_a_page_without_a_network_says_so(join: Join):
    """The page says that there is no network, and sends its messages when the network is back."""
    ann, ben = join("ann"), join("ben")
    ann.context.set_offline(True)
    try:
        expect_reconnecting(ann, "No network. ")
        say(ann, "from the tunnel")
        expect_unsent(ann, "from the tunnel")
        say(ben, "anybody there?")
        expect_lines(ben, "anybody there?")
    finally:
        ann.context.set_offline(False)
    expect_open(ann)
    for page in (ann, ben):
        expect_lines(page, "anybody there?", "from the tunnel")
    expect_unsent(ann)


@sites(DAPHNE)
@pytest.mark.skipif(os.name == "nt", reason="Windows cannot freeze a process")
@pytest.mark.usefixtures("lost_connections")
def test_a_frozen_server_is_left(site: Site, room: str, join: Join, new_noted_page, stop_clock):
    """The page waits ten seconds for an answer or a handshake, then it tries a new socket.

    The awakened server may get the message twice. Everybody sees the message once.
    """
    ben = join("ben")
    page = new_noted_page()
    page.goto(site.url + page_path(site, room))
    expect_open(page)
    stop_clock(page)
    with site.frozen():
        say(page, "anybody there?")
        page.clock.run_for(9_900)
        expect(status(page)).to_have_text("Connected")
        page.clock.run_for(100)
        expect_reconnecting_by_our_clock(page)
        page.clock.run_for(500)  # the longest first wait
        assert page.evaluate(OPENED) == 2
        page.clock.run_for(9_000)
        assert page.evaluate(OPENED) == 2
        page.clock.run_for(2_000)
        assert page.evaluate(OPENED) == 3
    expect(status(page)).to_have_text("Connected")
    expect_lines_by_our_clock(page, "anybody there?")
    say(ben, "yes")
    expect_lines_by_our_clock(page, "anybody there?", "yes")
    expect_lines(ben, "anybody there?", "yes")


@sites(DAPHNE)
@pytest.mark.usefixtures("lost_connections")
def test_whoever_signs_out_does_not_come_back(
    site: Site, new_window: Callable, wire: Callable, stop_clock: Callable
):
    """The page says "Signed out", names the message that was not sent, and keeps typed text."""
    network = wire(Network)
    page = network.page
    stop_clock(page)
    network.is_slow = True
    say(page, "אחרי!")
    network.hear()
    phone = new_window()
    phone.goto(f"{site.url}/chat/")
    sign_in(phone, "ann")
    phone.get_by_role("button", name="Sign out").click()
    expect(status(page)).to_have_text("Signed out. Reload the page to sign in.")
    expect(status(page)).to_have_attribute("data-state", "closed")
    expect(lines(page)).to_have_text([NOT_SENT.format("אחרי!")])
    assert page.evaluate(PLACES, [LINES, "א!"]) == ["!", "א"]
    say(page, "typed later")
    expect(message_input(page)).to_have_value("typed later")
    page.evaluate("dispatchEvent(new Event('online'))")
    page.clock.run_for(60_000)
    expect(status(page)).to_have_text("Signed out. Reload the page to sign in.")
    assert len(network.sockets) == 1


@sites(DAPHNE)
@pytest.mark.usefixtures("lost_connections")
def test_nobody_speaks_as_somebody_else(site: Site, join: Join):
    """If Ben signs in while Ann's page waits for the network, her message is not sent as his."""
    ann, ben = join("ann"), join("ben")
    ann.context.set_offline(True)
    try:
        expect_reconnecting(ann, "No network. ")
        say(ann, "Ben must not say this")
        expect_unsent(ann, "Ben must not say this")
        ann.context.add_cookies(site.sessions["ben"])
    finally:
        ann.context.set_offline(False)
    expect_closed(ann, "Signed out. Reload the page to sign in.")
    expect_lines(ann, NOT_SENT.format("Ben must not say this"))
    say(ben, "hello")
    expect_lines(ben, "hello")


@sites(DAPHNE)
@pytest.mark.usefixtures("lost_connections")
def test_a_page_that_finds_no_database_comes_back(site: Site, room: str, new_noted_page):
    """The server closes with 4013, and the page tries again until the database is there."""
    page = new_noted_page()
    with closing(sqlite3.connect(site.database)) as database:
        database.execute("ALTER TABLE chat_room RENAME TO elsewhere")
        try:
            page.goto(site.url + page_path(site, room))
            wait_for(page, HAS_CODE, TOO_SLOW)
            expect_reconnecting(page)
        finally:
            database.execute("ALTER TABLE elsewhere RENAME TO chat_room")
    expect_open(page)
    say(page, "at last")
    expect_lines(page, "at last")


@sites(DAPHNE)
@pytest.mark.usefixtures("lost_connections")
def test_a_person_with_too_many_pages_is_told_so(site: Site, room: str, join: Join, new_noted_page):
    """The server names the reason and closes with 4008. The page joins when others have left."""
    others = join("ann", room="elsewhere")
    page = new_noted_page()
    url = f"ws://{site.host}{socket_path(site, 'elsewhere')}"
    others.evaluate(OPEN_SOCKETS, [url, MAX_SOCKETS - 1])
    page.goto(site.url + page_path(site, room))
    wait_for(page, HAS_CODE, TOO_MANY)
    expect(lines(page).first).to_have_text("You have 50 connections open. Close some of them.")
    expect_reconnecting(page)
    others.evaluate(CLOSE_SOCKETS)
    expect_open(page)
    say(page, "now there is room")
    expect(lines(page).last).to_contain_text("now there is room")
