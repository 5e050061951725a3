"""The page stays in the conversation: nothing is lost, nothing comes twice, all is in order."""

import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from queue import Queue

import pytest
from playwright.sync_api import Page, WebSocketRoute, expect

from course.browser.pages import (
    expect_closed,
    expect_count,
    expect_lines,
    expect_open,
    expect_state,
    lines,
    message_input,
    page_path,
    say,
    status,
    texts,
    write,
)
from course.browser.sites import Site, steps
from course.browser.test_looks import CONTRASTS, ENOUGH, TOO_WIDE

Join = Callable[..., Page]

SIGNED_OUT = 4001
TOO_LARGE = 1009
RESTARTING = 1012
MAX_LINES = 1000  # what the page keeps
SENDING = "#chat-log p.sending"
TAKE_NUMBERS = """
INSERT INTO chat_room (name, seq) VALUES (?, ?)
ON CONFLICT (name) DO UPDATE SET seq = seq + excluded.seq
"""
LAST_NUMBER = "SELECT seq FROM chat_room WHERE name = ?"
ADD_MESSAGE = """
INSERT INTO chat_message (room, seq, user_id, text, sent_at)
VALUES (?, ?, (SELECT id FROM auth_user WHERE username = ?), ?, datetime())
"""
# From now on the page notes the number of each frame that it gets.
NOTE_NUMBERS = """
() => {
    window.got = [];
    const note = event => window.got.push(JSON.parse(event.data).seq);
    window.WebSocket = class extends WebSocket {
        constructor(...all) {
            super(...all);
            this.addEventListener("message", note);
        }
    };
}
"""
# From now on no socket opens, none closes, and each wait is as long as it may be.
FREEZE = """
() => {
    Math.random = () => 1;
    window.WebSocket = class extends EventTarget { close() {} };
}
"""
# How many pixels there are below what the log shows, once the browser has drawn it.
BELOW = """
() => new Promise(resolve => requestAnimationFrame(() => setTimeout(() => {
    const log = document.querySelector("#chat-log");
    resolve(log.scrollHeight - log.scrollTop - log.clientHeight);
})))
"""
NUMBERS = "lines => lines.map(line => Number(line.lastChild.textContent.split(' ').pop()))"


def say_numbers(site: Site, room: str, username: str, count: int) -> None:
    """Store messages: the numbers from 1, said by somebody on another server."""
    with closing(sqlite3.connect(site.database)) as database, database:
        database.execute(TAKE_NUMBERS, [room, count])
        (last,) = database.execute(LAST_NUMBER, [room]).fetchone()
        said = [
            (room, last - count + number, username, f"number {number}")
            for number in range(1, count + 1)
        ]
        database.executemany(ADD_MESSAGE, said)


def expect_reconnecting(page: Page) -> None:
    """Wait until the page says that it tries to connect again."""
    expect(status(page)).to_have_text(re.compile(r"Reconnecting( in \d+ s|…)$"))
    expect(status(page)).to_have_attribute("data-state", "connecting")


@pytest.fixture
def expected(complaints: list[str]) -> list[str]:
    """Return what the browser complained about, without what it says of lost connections."""
    yield complaints
    lost = re.compile(r"WebSocket connection to|WebSocket is closed before")
    complaints[:] = [text for text in complaints if not lost.match(text)]


# A real server that dies, and comes back on the same port.


@steps(first=5)
def test_a_server_that_dies_costs_no_message(site: Site, room: str, join: Join, expected):
    """What was said and what was typed meanwhile comes once, in order, in both windows."""
    ann, ben = join("ann"), join("ben")
    say(ann, "before")
    expect_lines(ben, "before")
    write(ben, "half a thought")
    site.kill()
    try:
        for page in (ann, ben):
            expect_reconnecting(page)
        expect(message_input(ben)).to_have_value("half a thought")
        say(ann, "typed while")
        say(ann, "it was down")
        expect_count(ann, SENDING, 2)
        expect(ann.locator(SENDING).last).to_contain_text("sending…")
        # More than the last 50 that a newcomer gets.
        say_numbers(site, room, "ben", 60)
        expect_lines(ann, "before", "typed while", "it was down")
    finally:
        site.start()
    numbers = [f"number {n + 1}" for n in range(60)]
    for page in (ann, ben):
        expect_open(page)
        expect_lines(page, "before", *numbers, "typed while", "it was down")
        expect_count(page, SENDING, 0)
    assert texts(ann) == texts(ben)
    say(ben, "after")
    for page in (ann, ben):
        expect_lines(page, "before", *numbers, "typed while", "it was down", "after")


@steps(first=5)
def test_ten_thousand_missed_messages(site: Site, room: str, join: Join, expected):
    """All arrive, quickly, and the page keeps the last 1,000 lines and its feet."""
    page = join("ann")
    say(page, "before")
    expect_lines(page, "before")
    expect_count(page, SENDING, 0)
    page.evaluate(NOTE_NUMBERS)
    site.kill()
    try:
        expect_reconnecting(page)
        say(page, "typed while it was down")
        say_numbers(site, room, "ann", 10_000)
    finally:
        site.start()
    expect(page.locator(SENDING)).to_have_count(0, timeout=30_000)
    expect(lines(page).last).to_contain_text("typed while it was down")
    expect(lines(page)).to_have_count(MAX_LINES)
    # On a busy machine they may need more than one connection.
    assert list(dict.fromkeys(page.evaluate("window.got"))) == list(range(2, 10_003))
    seen = lines(page).evaluate_all(NUMBERS)
    assert seen[:-1] == list(range(10_000 - MAX_LINES + 2, 10_001))
    say(page, "after")
    expect(lines(page).last).to_contain_text("after")
    assert page.evaluate(BELOW) < 2, "the end is not in sight"


@steps(first=5)
def test_a_message_typed_without_a_network_goes_later(join: Join, expected):
    """The page says that there is none; what is typed waits, and goes when it is back."""
    ann, ben = join("ann"), join("ben")
    ann.context.set_offline(True)
    try:
        expect_state(ann, "connecting", "No network")
        say(ann, "from the tunnel")
        expect_count(ann, SENDING, 1)
        say(ben, "anybody there?")
        expect_lines(ben, "anybody there?")
    finally:
        ann.context.set_offline(False)
    expect_open(ann)
    for page in (ann, ben):
        expect_lines(page, "anybody there?", "from the tunnel")


@steps(first=5)
def test_nobody_sends_what_somebody_else_wrote(site: Site, join: Join, expected):
    """Ben signs in where Ann's page waits for the network: what she wrote is not his."""
    ann, ben = join("ann"), join("ben")
    ann.context.set_offline(True)
    try:
        expect_state(ann, "connecting", "No network")
        say(ann, "Ben must not say this")
        expect_count(ann, SENDING, 1)
        ann.context.add_cookies(site.sessions["ben"])
    finally:
        ann.context.set_offline(False)
    expect_closed(ann, "Signed out")
    expect_lines(ann, "Ben must not say this Not sent: You are signed out.")
    say(ben, "hello")
    expect_lines(ben, "hello")


@steps(first=5)
def test_leaving_with_something_unsent_is_asked_about(site: Site, join: Join, expected):
    """What is not acknowledged may be in the page alone; all else is stored or in the input."""
    page = join("ann")
    dialogs = []

    def note(dialog) -> None:
        dialogs.append(dialog.type)

    page.on("dialog", note)
    say(page, "stored")
    expect_lines(page, "stored")
    expect_count(page, SENDING, 0)
    page.reload()
    expect_lines(page, "stored")
    assert dialogs == []
    # A database that somebody else holds: the socket is open, and nothing is stored.
    with closing(sqlite3.connect(site.database)) as database:
        database.execute("BEGIN IMMEDIATE")
        say(page, "waiting")
        with page.expect_event("dialog"):
            page.evaluate("setTimeout(() => location.reload())")
        expect_open(page)
        expect_lines(page, "stored", "waiting sending…")
    expect_count(page, SENDING, 0)
    page.context.set_offline(True)
    try:
        expect_state(page, "connecting", "No network")
        say(page, "unsent")
        with page.expect_event("dialog"):
            page.evaluate("setTimeout(() => location.reload())")
        assert dialogs == ["beforeunload", "beforeunload"]
        expect_lines(page, "stored", "waiting", "unsent")
    finally:
        page.context.set_offline(False)
    expect_open(page)
    expect_count(page, SENDING, 0)
    page.remove_listener("dialog", note)  # others use this page after us
    expected[:] = [text for text in expected if not text.startswith("dialog")]


# A server that does as the test says, for what real servers do only once in a while.


class Script:
    """The other end of a page's sockets, in the hands of a test."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.sockets: list[WebSocketRoute] = []
        self.heard: Queue[dict] = Queue()
        self.has_clock = False

    def install_clock(self) -> None:
        """Let the page's time pass as the test says: `page.clock.run_for`."""
        self.page.clock.install()
        self.has_clock = True

    def route(self, socket: WebSocketRoute) -> None:
        """Take a socket that the page opens."""
        socket.on_message(lambda text: self.heard.put(json.loads(text)))
        self.sockets.append(socket)

    def accept(self, number: int) -> str:
        """Wait for the page's socket of this number, from 1; return its query."""
        self.wait(lambda: len(self.sockets) >= number, f"socket {number}")
        expect_open(self.page)
        assert len(self.sockets) == number
        return self.sockets[-1].url.partition("?")[2]

    def hear(self) -> dict:
        """Return the next frame that the page sends."""
        self.wait(lambda: not self.heard.empty(), "a frame")
        return self.heard.get_nowait()

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Let the browser go on until a condition holds; AssertionError after 10 seconds."""
        for _ in range(500):
            if condition():
                return
            self.page.wait_for_timeout(20)
        raise AssertionError(f"the page came not to {what}")

    def send(self, **frame) -> None:
        """Send a frame through the last socket."""
        self.sockets[-1].send(json.dumps(frame))

    def message(self, seq: int, text: str, client_id: str | None = None, who: str = "ben") -> None:
        """Send a message as it was stored."""
        frame = {"message": text, "id": seq, "seq": seq, "sent_at": "2026-11-20T12:34:56+00:00"}
        self.send(**frame, username=who, client_id=client_id)

    def close(self, code: int) -> None:
        """Close the last socket."""
        self.sockets[-1].close(code=code)


@pytest.fixture
def script(site: Site, room: str, new_window, expected) -> Iterator[Script]:
    """Return the other end of a page in a room, which is connected."""
    page = new_window("ann").context.new_page()  # one that is closed afterwards
    script = Script(page)
    page.route_web_socket(re.compile("/ws/"), script.route)
    page.goto(site.url + page_path(site, room))
    assert script.accept(1) == "as=ann"
    yield script
    if script.has_clock:
        # Nothing takes it away again, and each page of the context would get it.
        page.context.close()


@steps(first=5)
def test_what_was_shown_is_not_shown_again(script: Script):
    """A message that comes twice is shown once."""
    for seq, text in [(7, "seven"), (8, "eight"), (7, "seven"), (8, "eight"), (9, "nine")]:
        script.message(seq, text)
    expect_lines(script.page, "seven", "eight", "nine")


@steps(first=5)
def test_a_hole_is_filled(script: Script):
    """The page shows nothing out of order: it asks for what follows the last it has shown."""
    script.message(1, "one")
    script.message(3, "three")
    assert script.accept(2) == "as=ann&after=1"
    expect_lines(script.page, "one")
    for seq, text in [(2, "two"), (3, "three")]:
        script.message(seq, text)
    expect_lines(script.page, "one", "two", "three")


@steps(first=5)
def test_a_hole_that_stays_is_a_message_that_was_deleted(script: Script):
    """The page asks once, and goes on: it would come back for ever, and for each of many.

    On another socket it asks again, and so it does later: what is missing then may have been lost.
    """
    script.install_clock()
    script.message(1, "one")
    script.message(3, "three")
    script.page.clock.run_for(600)
    assert script.accept(2) == "as=ann&after=1"
    for seq, text in [(3, "three"), (4, "four"), (6, "six"), (9, "nine")]:
        script.message(seq, text)
    expect_lines(script.page, "one", "three", "four", "six", "nine")
    script.close(RESTARTING)
    script.page.clock.run_for(600)
    assert script.accept(3) == "as=ann&after=9"
    script.message(11, "eleven")
    script.page.clock.run_for(1_100)
    assert script.accept(4) == "as=ann&after=9"
    script.message(11, "eleven")
    expect_lines(script.page, "one", "three", "four", "six", "nine", "eleven")
    script.page.clock.run_for(5_100)
    script.message(13, "thirteen")
    script.page.clock.run_for(600)
    assert script.accept(5) == "as=ann&after=11"
    # This one is filled: that tells nothing of the next.
    script.message(12, "twelve")
    script.message(14, "fourteen")
    script.page.clock.run_for(600)
    assert script.accept(6) == "as=ann&after=12"


@steps(first=5)
def test_the_first_message_of_an_empty_room_may_be_missing(script: Script):
    """Who has joined an empty room knows what comes first, and asks for it."""
    script.install_clock()
    script.close(RESTARTING)
    script.page.clock.run_for(600)
    assert script.accept(2) == "as=ann"
    script.page.clock.run_for(2_000)
    # What else the page waits for in these seconds changes nothing.
    say(script.page, "   ")
    script.send(error="It is empty.", client_id=script.hear()["client_id"])
    expect_lines(script.page, "Not sent: It is empty.")
    script.page.clock.run_for(3_100)
    script.message(2, "two")
    script.page.clock.run_for(600)
    assert script.accept(3) == "as=ann&after=0"
    expect_lines(script.page, "Not sent: It is empty.")


@steps(first=5)
def test_an_unacknowledged_message_is_sent_again(script: Script):
    """With the same client_id, so that it is stored once; the next one waits for its turn."""
    page = script.page
    say(page, "first")
    say(page, "second")
    sent = script.hear()
    assert sent["message"] == "first"
    assert 1 <= len(sent["client_id"]) <= 64
    script.close(RESTARTING)
    script.accept(2)
    assert script.hear() == sent
    script.message(1, "hello")
    expect_lines(page, "ben hello", "ann first sending…", "ann second sending…")
    assert script.heard.empty()
    script.message(2, "first", sent["client_id"], "ann")
    assert script.hear()["message"] == "second"
    expect_lines(page, "12:34 ben hello", "12:34 ann first", "ann second sending…")
    expect_count(page, SENDING, 1)


@steps(first=5)
def test_history_acknowledges_too(script: Script):
    """A message that was stored before the connection broke is shown once."""
    page = script.page
    say(page, "first")
    say(page, "second")
    sent = script.hear()
    script.close(RESTARTING)
    script.accept(2)
    assert script.hear() == sent
    script.message(1, "first", sent["client_id"], "ann")
    # The answer to the same message, which the page has sent again.
    script.message(1, "first", sent["client_id"], "ann")
    script.message(2, "and on")
    expect_lines(page, "first", "and on", "second sending…")


@steps(first=5)
def test_an_old_message_of_ours_is_acknowledged(script: Script):
    """It may be older than the history that we got: its line is done all the same."""
    page = script.page
    say(page, "sent long ago")
    sent = script.hear()
    script.message(60, "sixty")
    script.message(3, "sent long ago", sent["client_id"], "ann")
    script.message(61, "sixty-one")
    expect_lines(page, "ben sixty", "12:34 ann sent long ago", "ben sixty-one")
    expect_count(page, SENDING, 0)


@steps(first=5)
def test_a_message_that_came_too_fast_is_sent_again_later(script: Script):
    """An error with retry_after is no reason to bother the person."""
    say(script.page, "too fast")
    sent = script.hear()
    script.send(error="Too fast.", client_id=sent["client_id"], retry_after=0.3)
    assert script.hear() == sent
    script.message(1, "too fast", sent["client_id"], "ann")
    expect_lines(script.page, "12:34 ann too fast")
    expect_count(script.page, SENDING, 0)


@steps(first=5)
def test_a_message_that_is_refused_is_marked(script: Script):
    """Its line says why it was not sent, in colours that stand out, and the next one goes."""
    page = script.page
    say(page, "bad")
    say(page, "good")
    sent = script.hear()
    script.send(error="It is bad.", client_id=sent["client_id"])
    assert script.hear()["message"] == "good"
    expect_lines(page, "ann bad Not sent: It is bad.", "ann good sending…")
    expect_count(page, "#chat-log p.error", 1)
    script.close(TOO_LARGE)
    expect_lines(page, "Not sent: It is bad.", "Not sent: It is too large.")
    script.accept(2)
    say(page, "under way")
    expect(page.get_by_text("sending…")).to_be_visible()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert min(page.evaluate(CONTRASTS).values()) >= ENOUGH
    page.set_viewport_size({"width": 320, "height": 640})
    assert page.evaluate(TOO_WIDE) == []


@steps(first=5)
def test_errors_and_announcements_are_shown(script: Script):
    """They have no number, and leave no hole."""
    script.send(error="Something is wrong.")
    script.send(message="Closing in five minutes.")
    script.message(1, "already?")
    expect_lines(script.page, "Something is wrong.", "Closing in five minutes.", "already?")
    expect_count(script.page, "#chat-log p.error", 1)


@steps(first=5)
def test_whoever_signs_out_does_not_come_back(script: Script):
    """The page says what to do, keeps what is typed then, and marks what was not sent."""
    page = script.page
    script.install_clock()
    say(page, "too late")
    script.hear()
    script.close(SIGNED_OUT)
    expect_closed(page, "Signed out. Reload the page to sign in.")
    expect_lines(page, "too late Not sent: You are signed out.")
    say(page, "typed later")
    expect(message_input(page)).to_have_value("typed later")
    page.evaluate("dispatchEvent(new Event('online'))")
    page.clock.run_for(60_000)
    assert len(script.sockets) == 1
    expect_closed(page, "Signed out")


@steps(first=5)
def test_a_frozen_server_is_left(script: Script):
    """No answer to a message for ten seconds: the connection is taken for dead."""
    page = script.page
    script.install_clock()
    say(page, "anybody there?")
    sent = script.hear()
    page.clock.run_for(9_900)
    assert len(script.sockets) == 1
    page.clock.run_for(700)
    script.accept(2)
    assert script.hear() == sent
    # What the old socket still says is not heard.
    script.sockets[0].send(json.dumps({"error": "Hello from the dead."}))
    script.message(1, "anybody there?", sent["client_id"], "ann")
    expect_lines(page, "anybody there?")
    # There is an answer, so the silence after it is nothing to worry about.
    page.clock.run_for(60_000)
    expect_open(page)
    assert len(script.sockets) == 2


@steps(first=5)
def test_waits_grow_and_differ(site: Site, join: Join):
    """Half a second at first, 15 at last, and any fraction of it: nobody comes back in step."""
    page = join()
    for tries, longest in [(0, 0.5), (1, 1), (2, 2), (4, 8), (5, 15), (100_000, 15)]:
        low, mean, high = page.evaluate(
            """async ([url, tries]) => {
                const { reconnectWait } = await import(url);
                const waits = Array.from({length: 2000}, () => reconnectWait(tries));
                const sum = waits.reduce((one, other) => one + other);
                return [Math.min(...waits), sum / waits.length, Math.max(...waits)];
            }""",
            [f"{site.url}/static/chat/conversation.js", tries],
        )
        assert 0 <= low < 0.05 * longest
        assert 0.45 * longest < mean < 0.55 * longest
        assert 0.95 * longest < high <= longest


@steps(first=5)
def test_the_wait_is_counted_down(script: Script):
    """The page says in how many seconds it tries again; a screen reader need not count along."""
    page = script.page
    script.install_clock()
    page.evaluate(FREEZE)
    script.close(RESTARTING)
    expect(status(page)).to_have_text("Reconnecting in 1 s")
    expect(status(page).locator("span")).to_have_attribute("aria-hidden", "true")
    page.clock.run_for(1_000)
    expect(status(page)).to_have_text("Reconnecting…")
    # A socket that neither opens nor closes is given up after ten seconds.
    page.clock.run_for(9_500)
    expect(status(page)).to_have_text("Reconnecting in 1 s")
    page.clock.run_for(11_000)
    expect(status(page)).to_have_text("Reconnecting in 2 s")
    page.clock.run_for(1_000)
    expect(status(page)).to_have_text("Reconnecting in 1 s")


@steps(first=5)
def test_waits_are_short_again_after_a_good_connection(script: Script):
    """One that brought a message, or lasted five seconds; one that only opened was in vain.

    They are also when the network comes back: then the server was not the one in trouble.
    """
    page = script.page
    script.install_clock()
    page.evaluate("Math.random = () => 1")

    def lose(seconds: int) -> None:
        """Close the socket, see how long the page means to wait, and let it connect again."""
        number = len(script.sockets) + 1
        script.close(RESTARTING)
        expect(status(page)).to_have_text(f"Reconnecting in {seconds} s")
        page.clock.run_for(1_000 * seconds + 100)
        script.accept(number)

    for seconds in (1, 1, 2, 4):
        lose(seconds)
    script.message(1, "hello")
    for seconds in (1, 1, 2):
        lose(seconds)
    page.clock.run_for(5_100)
    for seconds in (1, 1, 2, 4):
        lose(seconds)
    script.close(RESTARTING)
    expect(status(page)).to_have_text("Reconnecting in 8 s")
    page.evaluate("dispatchEvent(new Event('online'))")
    expect(status(page)).to_have_text("Reconnecting in 1 s")
