"""The page connects again by itself, and shows every missed message once and in order."""

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest
from playwright.sync_api import Page, expect

from course.checks.browser.pages import (
    LINES,
    comes_to_show,
    expect_closed,
    expect_count,
    expect_lines,
    expect_lines_by_our_clock,
    expect_open,
    expect_reconnecting,
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
    write,
)
from course.checks.browser.sites import DAPHNE, PART_5, UVICORN, Site, sites
from course.checks.browser.test_looks import PLACES
from course.checks.browser.wires import Network, Script

Join = Callable[..., Page]

NOT_SENT = "Not sent: You are signed out. Your message: \u2068{}\u2069"
TOO_MANY = 4008
TOO_SLOW = 4013
MAX_LINES = 1000  # what the page keeps
MAX_SOCKETS = 50  # what one person may open
TAKE_NUMBERS = """
INSERT INTO chat_room (name, seq) VALUES (?, ?)
ON CONFLICT (name) DO UPDATE SET seq = seq + excluded.seq
"""
LAST_NUMBER = "SELECT seq FROM chat_room WHERE name = ?"
ADD_MESSAGE = """
INSERT INTO chat_message (room, seq, user_id, text, sent_at)
VALUES (?, ?, (SELECT id FROM auth_user WHERE username = ?), ?, datetime())
"""
# From now on the page notes its sockets, the numbers of their messages, and their close codes.
NOTE_SOCKETS = """
Math.random = () => 0.02;  // for short waits
window.opened = 0;
window.numbers = [];
window.codes = [];
window.WebSocket = class extends WebSocket {
    constructor(...all) {
        super(...all);
        window.opened += 1;
        this.addEventListener("message", event => window.numbers.push(JSON.parse(event.data).seq));
        this.addEventListener("close", event => window.codes.push(event.code));
    }
};
"""
OPENED = "window.opened"
HAS_CODE = "code => window.codes.includes(code)"
# The number of pixels below the visible part of the log, once the browser has drawn the log.
BELOW = """
() => new Promise(resolve => requestAnimationFrame(() => setTimeout(() => {
    const log = document.querySelector("#chat-log");
    resolve(log.scrollHeight - log.scrollTop - log.clientHeight);
})))
"""
NUMBERS = "lines => lines.map(line => Number(line.lastChild.textContent.split(' ').pop()))"
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
WAITS = """
async ([url, tries]) => {
    const { reconnectWait } = await import(url);
    const waits = Array.from({length: 2000}, () => reconnectWait(tries));
    const sum = waits.reduce((one, other) => one + other);
    return [Math.min(...waits), sum / waits.length, Math.max(...waits)];
}
"""


def say_numbers(site: Site, room: str, username: str, count: int) -> list[str]:
    """Store the messages "number 1" to `count`, as another server would, and return them."""
    numbers = [f"number {number}" for number in range(1, count + 1)]
    with closing(sqlite3.connect(site.database)) as database, database:
        database.execute(TAKE_NUMBERS, [room, count])
        (last,) = database.execute(LAST_NUMBER, [room]).fetchone()
        first = last - count + 1
        said = [(room, seq, username, text) for seq, text in enumerate(numbers, first)]
        database.executemany(ADD_MESSAGE, said)
    return numbers


@pytest.fixture
def new_noted_page(new_window: Callable) -> Callable[[], Page]:
    """Return a function that opens an empty window of Ann. Its pages note their sockets."""

    def new_noted_page() -> Page:
        page = new_window("ann").context.new_page()  # `clean` closes this page
        page.add_init_script(NOTE_SOCKETS)
        return page

    return new_noted_page


# In these tests, real servers die, stop, freeze or refuse, and come back on the same port.


@sites(PART_5, DAPHNE)
@pytest.mark.usefixtures("lost_connections")
def test_a_page_comes_back_to_a_server_that_died(site: Site, room: str, join: Join):
    """The page shows 60 missed messages once and in order, and keeps the text in the input.

    A page that joins anew would get the last 50 only.
    """
    ann, ben = join("ann"), join("ben")
    say(ann, "before")
    write(ben, "half a thought")
    for page in (ann, ben):
        expect_lines(page, "before")
        hurry(page)
    site.kill()
    try:
        for page in (ann, ben):
            expect_reconnecting(page)
        numbers = say_numbers(site, room, "ben", 60)
        expect_lines(ann, "before")
    finally:
        site.start()
    for page in (ann, ben):
        expect_open(page)
        expect_lines(page, "before", *numbers)
    assert texts(ann) == texts(ben)
    expect(message_input(ben)).to_have_value("half a thought")
    message_input(ben).press("Enter")
    for page in (ann, ben):
        expect_lines(page, "before", *numbers, "half a thought")


@sites(DAPHNE, UVICORN)
@pytest.mark.usefixtures("lost_connections")
def test_a_restart_costs_nothing(site: Site, room: str, new_noted_page):
    """uvicorn closes with 1012, and Daphne without a close frame: the page comes back to both."""
    page = new_noted_page()
    page.goto(site.url + page_path(site, room))
    expect_open(page)
    say(page, "before")
    expect_lines(page, "before")
    site.stop()
    expect_reconnecting(page)
    assert page.evaluate("window.codes[0]") == (1012 if site.edition == UVICORN else 1006)
    numbers = say_numbers(site, room, "ann", 3)
    site.start()
    expect_open(page)
    say(page, "after")
    expect_lines(page, "before", *numbers, "after")


@sites(DAPHNE)
@pytest.mark.usefixtures("lost_connections")
def test_an_empty_room_is_come_back_to(site: Site, room: str, new_window):
    """A page that joined an empty room shows all messages after that, not only the last 50."""
    page, heard = new_window("ann"), []
    note = lambda text: heard.append(str(text))  # noqa: E731
    page.on("websocket", lambda socket: socket.on("framereceived", note))
    page.goto(site.url + page_path(site, room))
    while not any("caught_up" in text for text in heard):
        page.wait_for_timeout(20)
    hurry(page)
    site.kill()
    try:
        expect_reconnecting(page)
        numbers = say_numbers(site, room, "ann", 60)
    finally:
        site.start()
    expect_lines(page, *numbers)


@sites(UVICORN)
@pytest.mark.usefixtures("lost_connections")
def test_ten_thousand_missed_messages(site: Site, room: str, new_noted_page):
    """All messages arrive, once and in order. The log keeps 1,000 lines, and shows its end."""
    page = new_noted_page()
    page.goto(site.url + page_path(site, room))
    expect_open(page)
    say(page, "before")
    expect_lines(page, "before")
    site.kill()
    try:
        expect_reconnecting(page)
        say(page, "typed while it was down")
        numbers = say_numbers(site, room, "ann", 10_000)
    finally:
        site.start()
    expect(lines(page).last).to_contain_text("typed while it was down", timeout=30_000)
    expect_unsent(page)
    expect(lines(page)).to_have_count(MAX_LINES)
    # On a busy machine, the messages may need more than one connection.
    got = dict.fromkeys(seq for seq in page.evaluate("window.numbers") if seq)
    assert list(got) == list(range(1, len(numbers) + 3))
    seen = lines(page).evaluate_all(NUMBERS)
    assert seen[:-1] == list(range(10_000 - MAX_LINES + 2, 10_001))
    say(page, "after")
    expect(lines(page).last).to_contain_text("after")
    expect(lines(page)).to_have_count(MAX_LINES)
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
        expect_reconnecting(page)
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
            assert comes_to_show(page, HAS_CODE, TOO_SLOW)
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
    assert comes_to_show(page, HAS_CODE, TOO_MANY)
    expect(lines(page).first).to_have_text("You have 50 connections open. Close some of them.")
    expect_reconnecting(page)
    others.evaluate(CLOSE_SOCKETS)
    expect_open(page)
    say(page, "now there is room")
    expect(lines(page).last).to_contain_text("now there is room")


# In these tests, the test plays the server, because a real server rarely does such things.


@sites(DAPHNE)
def test_errors_and_announcements_are_shown(wire: Callable):
    """Errors and announcements have no number, and the page shows them when they come."""
    script = wire(Script)
    script.send(error="Something is wrong.")
    script.send(message="Closing in five minutes.")
    script.message(1, "already?")
    expect_lines(script.page, "Something is wrong.", "Closing in five minutes.", "already?")
    expect_count(script.page, "#chat-log p.error", 1)
    script.close()
    assert script.accept(2) == "as=ann&after=1"


@sites(DAPHNE)
def test_waits_grow_and_differ(site: Site, join: Join):
    """A wait is a random part of half a second at first, of 15 seconds at last: pages differ."""
    page = join()
    url = f"{site.url}/static/chat/conversation.js"
    for tries, longest in [(0, 0.5), (1, 1), (2, 2), (4, 8), (5, 15), (100_000, 15)]:
        low, mean, high = page.evaluate(WAITS, [url, tries])
        assert 0 <= low < 0.05 * longest
        assert 0.45 * longest < mean < 0.55 * longest
        assert 0.95 * longest < high <= longest


@sites(DAPHNE)
def test_waits_are_short_again_after_a_good_connection(wire: Callable, stop_clock: Callable):
    """A good connection has brought all missed messages. A connection that only opened is bad.

    The wait is also short after the network came back: the server was not in trouble then.
    """
    script = wire(Script)
    page = script.page
    stop_clock(page)
    page.evaluate(f"() => {{ {NOTE_SOCKETS} }}")
    page.evaluate("Math.random = () => 1")  # the longest waits

    def expect_wait(seconds: float) -> None:
        """Check that the page connects again after exactly this time."""
        expect_reconnecting(page)
        opened = page.evaluate(OPENED)
        page.clock.run_for(round(1_000 * seconds) - 50)
        assert page.evaluate(OPENED) == opened
        page.clock.run_for(50)
        assert page.evaluate(OPENED) == opened + 1

    for seconds, caught_up in [(0.5, None), (1, None), (2, 0), (0.5, None), (1, None), (2, None)]:
        script.close()
        expect_wait(seconds)
        script.accept(1 + page.evaluate(OPENED), caught_up)
    page.evaluate("dispatchEvent(new Event('online'))")
    expect_wait(0.5)


@sites(DAPHNE)
def test_a_connection_that_brings_nothing_is_left(wire: Callable, stop_clock: Callable):
    """A socket has ten seconds to bring all missed messages. The next socket gets the rest.

    The page ignores the old socket from then on.
    """
    script = wire(Script)
    page = script.page
    stop_clock(page)
    page.evaluate(f"() => {{ {NOTE_SOCKETS} }}")
    page.clock.run_for(60_000)
    assert page.evaluate(OPENED) == 0
    script.close()
    expect_reconnecting(page)
    page.clock.run_for(500)
    script.accept(2, caught_up=None)
    say(page, "anybody there?")
    page.clock.run_for(9_000)
    script.message(1, "one of many")
    expect_lines_by_our_clock(page, "one of many")
    page.clock.run_for(900)
    expect(status(page)).to_have_text("Connected")
    page.clock.run_for(2_000)
    assert script.accept(3, caught_up=1) == "as=ann&after=1"
    sent = script.hear()
    script.sockets[1].send(json.dumps({"error": "Hello from the dead."}))
    script.message(2, "anybody there?", sent["client_id"], "ann")
    expect_lines_by_our_clock(page, "ben one of many", "ann anybody there?")
    page.clock.run_for(60_000)
    assert page.evaluate(OPENED) == 2
