"""When the page tries again, and which socket it listens to. The test plays the server here.

A real server rarely does such things.
"""

import json
from collections.abc import Callable

from playwright.sync_api import Page, expect

from course.checks.browser.pages import (
    expect_count,
    expect_lines,
    expect_lines_by_our_clock,
    expect_reconnecting_by_our_clock,
    say,
    status,
)
from course.checks.browser.sites import DAPHNE, Site, sites
from course.checks.browser.wires import NOTE_SOCKETS, OPENED, Script

Join = Callable[..., Page]

WAITS = """
async ([url, tries]) => {
    const { reconnectWait } = await import(url);
    const waits = Array.from({length: 2000}, () => reconnectWait(tries));
    const sum = waits.reduce((one, other) => one + other);
    return [Math.min(...waits), sum / waits.length, Math.max(...waits)];
}
"""


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
        expect_reconnecting_by_our_clock(page)
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
    expect_reconnecting_by_our_clock(page)
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
