"""What is said is said once: sent again until it is stored, or marked with the reason why not."""

import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest
from playwright.sync_api import Page, expect

from course.browser.pages import (
    expect_count,
    expect_lines,
    expect_open,
    expect_reconnecting,
    lines,
    message_input,
    say,
)
from course.browser.sites import DAPHNE, PART_6, UVICORN, Site, sites
from course.browser.test_looks import CONTRASTS, ENOUGH, TOO_WIDE
from course.browser.wires import Network

Join = Callable[..., Page]

SENDING = "#chat-log p.sending"
SUBMIT = """
messages => {
    const input = document.querySelector("#chat-message-input");
    for (const message of messages) {
        input.removeAttribute("maxlength");
        input.value = message;
        input.form.requestSubmit();
    }
}
"""


@sites(PART_6, DAPHNE)
@pytest.mark.usefixtures("lost_connections")
def test_what_is_typed_without_a_server_is_said_once(site: Site, join: Join):
    """It waits in the page and goes when the server is back, in the order of writing."""
    ann, ben = join("ann"), join("ben")
    say(ann, "before")
    expect_lines(ben, "before")
    site.kill()
    try:
        for page in (ann, ben):
            expect_reconnecting(page)
        say(ann, "typed while")
        say(ann, "it was down")
        expect_lines(ann, "before", "typed while sending…", "it was down sending…")
    finally:
        site.start()
    for page in (ann, ben):
        expect_lines(page, "before", "typed while", "it was down")
        expect_count(page, SENDING, 0)
    say(ben, "after")
    for page in (ann, ben):
        expect_lines(page, "before", "typed while", "it was down", "after")


@sites(DAPHNE)
def test_an_unacknowledged_message_is_sent_again(join: Join, wire: Callable):
    """With the same client_id, before the next one, and what others say stands above it."""
    ben, network = join("ben"), wire(Network)
    ann = network.page
    network.is_slow = True
    say(ann, "first")
    say(ann, "second")
    sent = network.hear()
    assert sent["message"] == "first"
    assert 1 <= len(sent["client_id"]) <= 64
    say(ben, "hello")
    expect_lines(ann, "ben hello", "ann first sending…", "ann second sending…")
    assert network.said.empty()
    network.kept.clear()  # it never arrives
    network.is_slow = False
    network.close()
    assert network.accept(2) == "as=ann&after=1"
    assert network.hear() == sent
    for page in (ann, ben):
        expect_lines(page, "ben hello", "ann first", "ann second")
        expect_count(page, SENDING, 0)


@sites(DAPHNE)
def test_a_message_whose_answer_was_lost_is_said_once(join: Join, wire: Callable):
    """It was stored: the page finds it in what it missed, and need not send it again."""
    ben, network = join("ben"), wire(Network)
    ann = network.page
    network.is_deaf = True
    say(ann, "first")
    say(ann, "second")
    network.wait_for_answers(1, "first")
    expect_lines(ann, "first sending…", "second sending…")
    network.is_deaf = False
    network.close()
    network.accept(2)
    for page in (ann, ben):
        expect_lines(page, "first", "second")
        expect_count(page, SENDING, 0)
    assert [network.hear()["message"] for _ in range(2)] == ["first", "second"]


@sites(DAPHNE)
def test_a_second_answer_is_not_shown(join: Join, wire: Callable):
    """The message arrives late, after it was sent again: it is stored once, answered twice."""
    ben, network = join("ben"), wire(Network)
    ann = network.page
    network.is_slow = True
    say(ann, "once")
    sent = network.hear()
    network.close()
    network.accept(2)
    assert network.hear() == sent
    network.deliver()
    expect_lines(ann, "ann once")
    say(ben, "and on")
    expect_lines(ann, "ann once", "ben and on")
    before = len(network.answers)
    network.deliver()
    network.wait(lambda: len(network.answers) > before, "the second answer")
    assert network.answers[-1]["client_id"] == sent["client_id"]
    network.is_slow = False
    network.close()
    assert network.accept(3) == "as=ann&after=2"
    say(ann, "after")
    for page in (ann, ben):
        expect_lines(page, "ann once", "ben and on", "ann after")


@sites(UVICORN)
def test_messages_that_come_too_fast_are_sent_later(wire: Callable):
    """An error with retry_after is no reason to bother the person: the page waits, and sends."""
    network = wire(Network)
    page = network.page
    messages = [f"number {number}" for number in range(10)]
    page.evaluate(SUBMIT, messages)
    expect_lines(page, *messages)
    expect_count(page, SENDING, 0)
    assert any("retry_after" in answer for answer in network.answers)
    expect_count(page, "#chat-log p.error", 0)


@sites(DAPHNE)
def test_a_message_that_is_refused_is_marked(wire: Callable):
    """Its line says why it was not sent, in colours that stand out, and the next one goes."""
    network = wire(Network)
    page = network.page
    page.evaluate(SUBMIT, ["   ", "good"])
    refused = "Not sent: The message is empty. Write something first."
    expect_lines(page, refused, "ann good")
    expect_count(page, "#chat-log p.error", 1)
    expect_count(page, SENDING, 0)
    network.is_slow = True
    say(page, "under way")
    expect(page.get_by_text("sending…")).to_be_visible()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert min(page.evaluate(CONTRASTS).values()) >= ENOUGH
    page.set_viewport_size({"width": 320, "height": 640})
    assert page.evaluate(TOO_WIDE) == []
    network.deliver()
    expect_lines(page, refused, "ann good", "ann under way")


@sites(DAPHNE, UVICORN)
@pytest.mark.usefixtures("lost_connections")
def test_a_message_that_is_too_large_is_marked(site: Site, join: Join):
    """Daphne's answer says so, and uvicorn closes the socket with 1009; the next one goes."""
    page = join("ann")
    say(page, "before")
    page.evaluate(SUBMIT, ["x" * 70_000, "after"])
    reason = "The message has 70,000 characters. The limit is 1,000."
    reason = "It is too large." if site.edition == UVICORN else reason
    expect_lines(page, "before", f"x Not sent: {reason}", "after")
    expect_open(page)
    expect_count(page, SENDING, 0)
    expect(message_input(page)).to_have_value("")


@sites(DAPHNE)
@pytest.mark.usefixtures("lost_connections")
def test_leaving_with_something_unsent_is_asked_about(
    site: Site, join: Join, complaints: list[str]
):
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
        expect_reconnecting(page, "No network. ")
        say(page, "unsent")
        with page.expect_event("dialog"):
            page.evaluate("setTimeout(() => location.reload())")
        assert dialogs == ["beforeunload", "beforeunload"]
        expect_lines(page, "stored", "waiting", "unsent")
    finally:
        page.context.set_offline(False)
    expect_open(page)
    expect_count(page, SENDING, 0)
    expect(lines(page)).to_have_count(3)
    page.remove_listener("dialog", note)  # others use this page after us
    complaints[:] = [text for text in complaints if not text.startswith("dialog")]
