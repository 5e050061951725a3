"""History: earlier messages are still there, in order, without a gap or a duplicate."""

import json
import re

from playwright.sync_api import Page

from course.checks.browser.pages import (
    LINES,
    expect_count,
    expect_lines,
    expect_open,
    expect_texts,
    page_path,
    say,
    texts,
    wait_for,
)
from course.checks.browser.sites import steps

# Send the numbers from `first` to `last` through an extra socket; resolve once all came back.
COUNT = """
([first, last, pause]) => {
    window.counting = new Promise((resolve, reject) => {
        const path = location.pathname.replace("/chat/", "/ws/chat/");
        const socket = new WebSocket(`ws://${location.host}${path}`);
        const say = number => {
            socket.send(JSON.stringify({message: `number ${number}`}));
            if (number < last) setTimeout(say, pause, number + 1);
        };
        socket.onopen = () => say(first);
        setTimeout(reject, 10_000, "not everything came back");
        socket.onmessage = event => {
            if (JSON.parse(event.data).message === `number ${last}`) resolve();
        };
    });
}
"""
COUNTED = "() => window.counting"
SHOWS_SIX = "selector => document.querySelectorAll(selector).length >= 6"
SHOWS_LAST = """
(selector, text) => [...document.querySelectorAll(selector)].at(-1)?.textContent.includes(text)
"""


def numbers(page: Page) -> list[int]:
    """Return the numbers that the log shows, each the last word of a line."""
    return [int(line.split()[-1]) for line in texts(page)]


@steps(first=3)
def test_a_reload_shows_the_same_lines(join):
    """After a reload the page shows the same lines and times as before, and new messages."""
    ann, ben = join("ann"), join("ben")
    for number in range(3):
        say(ann, f"question {number}")
        expect_count(ben, LINES, 2 * number + 1)
        say(ben, f"answer {number}")
        expect_count(ann, LINES, 2 * number + 2)
    before = texts(ann)
    ann.reload()
    expect_texts(ann, LINES, *before)
    say(ben, "and on")
    expect_count(ann, LINES, 7)
    expect_lines(ben, *before[:0], *[line.split(" ", 1)[1] for line in before], "and on")


@steps(first=3)
def test_nothing_is_lost_or_doubled_while_others_talk(join):
    """A person who joins in the middle of a conversation sees each message once, in order.

    A person who comes later sees the last 50.
    """
    ann, ben = join("ann"), join("ben")
    ann.evaluate(COUNT, [1, 90, 5])
    wait_for(ben, SHOWS_SIX, LINES)
    for _ in range(2):
        ben.reload()
        expect_open(ben)
    ann.evaluate(COUNTED)
    wait_for(ben, SHOWS_LAST, LINES, "number 90")
    seen = numbers(ben)
    assert seen == list(range(seen[0], 91))
    ben.reload()
    expect_count(ben, LINES, 50)
    assert numbers(ben) == list(range(41, 91))


@steps(first=3)
def test_an_announcement_is_shown_with_no_wrong_time(site, room, new_window):
    """An announcement of other code is not stored and has no `sent_at`; the page shows it."""

    def announce(socket):
        socket.connect_to_server()
        socket.send(json.dumps({"message": "The server stops at six."}))

    page = new_window("ann").context.new_page()
    page.route_web_socket(re.compile("/ws/"), announce)
    page.goto(site.url + page_path(site, room))
    wait_for(page, SHOWS_LAST, LINES, "The server stops at six.")
    assert "Invalid" not in texts(page)[-1]
