"""`TRACE=1`: the page that draws what goes over the wire, with real tabs."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from course.checks.browser.pages import (
    ask_for_token,
    expect_closed,
    expect_lines,
    expect_open,
    say,
    sign_up,
    try_socket,
)
from course.checks.browser.scenes import compare
from course.checks.browser.sites import PASSWORD, Edition, Site
from course.core.ports import free_port
from course.core.processes import wait_until
from course.core.steps import find_step
from course.wire.collect import Collector
from course.wire.events import Event

ROWS = "#body [role=img] title"
WIDE = "() => document.documentElement.scrollWidth > innerWidth"
# A misspelt type ends every consumer of the group.
BUGS = {"chat/consumers.py": ('"type": "chat.message"', '"type": "chat.mesage"')}


@pytest.fixture
def traced(request, tmp_path) -> Iterator[tuple[Site, Collector]]:
    """Start a step, traced and recorded; return the site and what collects its events.

    A parameter is the step, by default 2, and the bugs in its files.
    """
    step, bugs = getattr(request, "param", ("2", {}))
    file = tmp_path / "talk.jsonl"
    with Collector(free_port(), file) as collector:
        site = Site(Edition(find_step(step)), tmp_path / "site")
        site.environment |= collector.variables()
        site.edition.copy(site.folder)
        for file, (right, wrong) in bugs.items():
            text = (site.folder / file).read_text("utf-8")
            assert right in text
            (site.folder / file).write_text(text.replace(right, wrong), "utf-8")
        try:
            site.migrate()
            site.start()
            yield site, collector
        finally:
            site.kill()


def open_page(context, collector, width=1280, height=720):
    """Open the page with the diagram in a new window."""
    page = context.new_page()
    page.set_viewport_size({"width": width, "height": height})
    page.goto(collector.url)
    return page


def open_room(context, site, page=None):
    """Open a room of the site in a tab; return the tab."""
    page = page or context.new_page()
    page.goto(f"{site.url}/chat/lobby/")
    expect_open(page)
    return page


def shown(page, *texts):
    """Wait until the diagram has an arrow with each of these texts."""
    for text in texts:
        expect(page.locator(ROWS).filter(has_text=re.compile(text)).first).to_be_attached()


def test_a_line_in_two_tabs(traced, new_context):
    """The diagram shows who connected, what went to the group, and which consumers woke."""
    site, collector = traced
    context = new_context()
    diagram = open_page(context, collector)
    first, second = open_room(context, site, context.pages[0]), open_room(context, site)
    say(first, "hello")
    expect_lines(second, "hello")
    shown(
        diagram,
        "tab 1 to consumer 1: connect /ws/chat/lobby/",
        "consumer 1 to channel layer: group_add room",
        "consumer 1 to tab 1: accept",
        'tab 1 to consumer 1: receive {"message":"hello"}',
        "consumer 1 to channel layer: group_send room.*chat.message.*hello",
        "channel layer to consumer 1: event .*chat.message.*hello",
        "channel layer to consumer 2: event .*chat.message.*hello",
        'consumer 1 to tab 1: send {"message": "hello"}',
        'consumer 2 to tab 2: send {"message": "hello"}',
    )
    second.close()
    shown(
        diagram,
        "tab 2 to consumer 2: disconnect 1001",
        "consumer 2 to channel layer: group_discard",
        "consumer 2: end",
    )
    # A server that starts again, as it does when a file is saved, goes on counting.
    site.kill()
    shown(diagram, "consumer 1: end")
    before = len(collector.events)
    site.start()
    open_room(context, site, first)
    again = [event.who for event in list(collector.events)[before:] if event.kind == "connect"]
    assert again == ["tab 3 to consumer 3"]


def test_pause_step_clear_and_the_table(traced, new_context):
    """The keyboard controls the page, and a table has the same events as the diagram."""
    site, collector = traced
    context = new_context()
    diagram = open_page(context, collector)
    first = open_room(context, site, context.pages[0])
    shown(diagram, "accept")
    diagram.keyboard.press("p")
    expect(diagram.locator("#status")).to_contain_text("paused, 0 to come")
    say(first, "while paused")
    expect(diagram.locator("#status")).to_contain_text("paused, 4 to come")
    assert diagram.locator(ROWS).count() == 3
    diagram.get_by_role("button", name="Next").click()
    expect(diagram.locator(ROWS)).to_have_count(4)
    diagram.keyboard.press("p")
    expect(diagram.locator(ROWS)).to_have_count(7)
    diagram.keyboard.press("ArrowUp")
    diagram.keyboard.press("ArrowUp")
    expect(diagram.locator("#whole")).to_contain_text("event")
    diagram.locator("summary").press("Enter")
    expect(diagram.get_by_role("table").locator("tbody tr")).to_have_count(7)
    expect(diagram.get_by_role("img", name="consumer 1 to tab 1: send")).to_have_count(1)
    for key, zoom in ("+", "1.25"), ("-", "1"):
        diagram.keyboard.press(key)
        expect(diagram.locator("#body")).to_have_css("zoom", zoom)
    diagram.keyboard.press("c")
    expect(diagram.locator(ROWS)).to_have_count(0)


@pytest.mark.parametrize("traced", [("2", BUGS)], indirect=True)
def test_a_bug_is_drawn_where_it_happens(traced, new_context):
    """A misspelt type: "No handler" and the end of each consumer are in the diagram."""
    site, collector = traced
    context = new_context()
    diagram = open_page(context, collector)
    first, second = open_room(context, site, context.pages[0]), open_room(context, site)
    say(first, "hello")
    expect_closed(second)
    for number in (1, 2):
        shown(
            diagram,
            f"consumer {number}: error ValueError: No handler for message type chat.mesage",
            f"consumer {number} to tab {number}: close 1011",
            f"consumer {number}: end",
        )


@pytest.mark.parametrize("size", [(1280, 720), (390, 844)], ids=["projector", "phone"])
def test_a_burst_on_a_projector_and_on_a_phone(traced, new_context, size):
    """A hundred messages fold into one arrow of each kind, and the page fits its window."""
    site, collector = traced
    context = new_context()
    diagram = open_page(context, collector, *size)
    first = open_room(context, site, context.pages[0])
    first.evaluate(
        """() => { for (let i = 0; i < 100; i += 1) {
            document.querySelector("#chat-message-input").value = `n${i}`;
            document.querySelector("#chat-form").requestSubmit();
        } }"""
    )
    shown(diagram, "receive × 100", "group_send × 100", "event × 100", "send × 100")
    assert not diagram.evaluate(WIDE)
    assert diagram.locator(ROWS).count() == 7


def test_the_buttons_stay_beside_a_wide_diagram(new_context):
    """A diagram that is wider than the window scrolls sideways, and the buttons stay."""
    with Collector(free_port()) as collector:
        for number in range(1, 21):
            collector.put(Event(number, "connect", f"tab {number}", f"consumer {number}"))
        diagram = open_page(new_context(), collector)
        expect(diagram.locator(ROWS)).to_have_count(20)
        diagram.evaluate("scrollTo(document.documentElement.scrollWidth, 0)")
        assert diagram.evaluate("scrollX") > 100
        expect(diagram.get_by_role("button", name="Pause")).to_be_in_viewport(ratio=1)


@pytest.mark.parametrize("traced", [("4", {})], indirect=True)
def test_secrets_appear_nowhere(traced, new_context, tmp_path, capfd):
    """Sign up, use a token, be refused, sign out: drawn without a token, cookie or password."""
    site, collector = traced
    context = new_context()
    (tab,) = context.pages
    diagram = open_page(context, collector)
    tab.goto(f"{site.url}/accounts/signup/")
    sign_up(tab, "ann")
    open_room(context, site, tab)
    token = ask_for_token(tab)
    socket = f"ws://{site.host}/ws/chat/lobby/?token="
    assert try_socket(tab, socket + token) != 4001
    assert try_socket(tab, socket + "stolen-token") == 4001
    say(tab, f'my cookies: {context.cookies()[0]["value"]}, {{"password": "open sesame"}}')
    cookies = {cookie["value"] for cookie in context.cookies()}
    context.new_page().goto(f"{site.url}/chat/")
    context.pages[-1].get_by_role("button", name="Sign out").click()
    shown(
        diagram,
        r"consumer 2: connect /ws/chat/lobby/\?token=\(hidden\)",
        "consumer 3 to tab 3: close 4001",
        "database: database redeem_token",
        "views to channel layer: group_send user.1 .*user.signed_out",
        "consumer 1 to tab 1: close 4001",
    )
    printed = capfd.readouterr().out
    recorded = (tmp_path / "talk.jsonl").read_text("utf-8")
    assert "redeem_token" in printed
    for secret in {*cookies, token, "stolen-token", PASSWORD, "open sesame"}:
        for place in (diagram.content(), printed, recorded):
            assert secret not in place


def play_step01(site, context):
    """One line comes back."""
    (tab,) = context.pages
    tab.goto(site.url)
    expect_open(tab)
    say(tab, "hello")
    expect_lines(tab, "Echo: hello")


def play_step02(site, context):
    """Two people, one message; then one leaves."""
    first, second = open_room(context, site, context.pages[0]), open_room(context, site)
    say(first, "hello")
    expect_lines(first, "hello")
    expect_lines(second, "hello")
    second.close()


def play_step03(site, context):
    """A reload: the history is still there."""
    tab = open_room(context, site, context.pages[0])
    say(tab, "hello")
    expect_lines(tab, "hello")
    tab.reload()
    expect_open(tab)
    expect_lines(tab, "hello")


def play_step04(site, context):
    """A token that comes twice: the second socket is closed."""
    (tab,) = context.pages
    tab.goto(f"{site.url}/accounts/signup/")
    sign_up(tab, "ann")
    expect(tab).to_have_url(f"{site.url}/chat/")
    socket = f"ws://{site.host}/ws/chat/lobby/?token={ask_for_token(tab)}"
    assert try_socket(tab, socket)["message"] == "may I?"
    assert try_socket(tab, socket) == 4001


SCENES = [play_step01, play_step02, play_step03, play_step04]


@pytest.mark.parametrize(
    ("traced", "play", "ends"),
    [((str(n), {}), play, n if n < 3 else 2) for n, play in enumerate(SCENES, 1)],
    ids=[play.__name__.removeprefix("play_") for play in SCENES],
    indirect=["traced"],
)
def test_a_scene_goes_over_the_wire_as_recorded(traced, new_context, play, ends):
    """One small scene of each step sends the frames, events and queries of its recording."""
    site, collector = traced
    context = new_context()
    play(site, context)
    context.pages[0].goto("about:blank")
    assert wait_until(lambda: [each.kind for each in collector.events].count("end") == ends, 10)
    compare(collector.events, site.step)
