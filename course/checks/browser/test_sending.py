"""Each message is shown once: the page sends it until it is stored, or says why it is not."""

import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest
from playwright.sync_api import Page

from course.checks.browser.pages import (
    HAS_VALUE,
    expect_count,
    expect_lines,
    expect_open,
    expect_reconnecting,
    expect_unsent,
    say,
    wait_for,
)
from course.checks.browser.sites import DAPHNE, UVICORN, Site, sites
from course.checks.browser.wires import Network

Join = Callable[..., Page]

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


@sites(DAPHNE)
def test_an_unacknowledged_message_is_sent_again(join: Join, wire: Callable):
    """The page sends it with the same client_id, before the next message, and it is shown once."""
    ben, network = join("ben"), wire(Network)
    ann = network.page
    network.is_slow = True
    say(ann, "first")
    say(ann, "second")
    sent = network.hear()
    assert sent["message"] == "first"
    assert 1 <= len(sent["client_id"]) <= 64
    say(ben, "hello")
    expect_lines(ann, "ben hello")
    expect_unsent(ann, "first", "second")
    assert network.said.empty()
    network.kept.clear()  # the frame never arrives
    network.is_slow = False
    network.close()
    assert network.accept(2) == "as=ann&after=1"
    assert network.hear() == sent
    for page in (ann, ben):
        expect_lines(page, "ben hello", "ann first", "ann second")
        expect_unsent(page)


@sites(DAPHNE)
def test_a_message_whose_answer_was_lost_is_said_once(join: Join, wire: Callable):
    """The message is stored, so the page finds it among the missed ones, and sends it no more."""
    ben, network = join("ben"), wire(Network)
    ann = network.page
    network.is_deaf = True
    say(ann, "first")
    say(ann, "second")
    network.wait_for_answers(1, "first")
    expect_unsent(ann, "first", "second")
    network.is_deaf = False
    network.close()
    network.accept(2)
    for page in (ann, ben):
        expect_lines(page, "first", "second")
        expect_unsent(page)
    assert [network.hear()["message"] for _ in range(2)] == ["first", "second"]


@sites(DAPHNE)
def test_a_second_answer_is_not_shown(join: Join, wire: Callable):
    """A message that arrives twice is stored once and answered twice. The page shows it once."""
    ben, network = join("ben"), wire(Network)
    ann = network.page
    network.is_slow = True
    say(ann, "once")
    sent = network.hear()
    network.change()
    network.accept(2)
    assert network.hear() == sent
    network.deliver()
    expect_lines(ann, "ann once")
    say(ben, "and on")
    expect_lines(ann, "ann once", "ben and on")
    network.deliver()
    network.wait_for_answers(3, "once")  # one answer is on the socket that the page has left
    say(ben, "and on and on")
    expect_lines(ann, "ann once", "ben and on", "ben and on and on")
    network.is_slow = False
    network.close()
    assert network.accept(3) == "as=ann&after=3"
    say(ann, "after")
    for page in (ann, ben):
        expect_lines(page, "ann once", "ben and on", "ben and on and on", "ann after")


@sites(UVICORN)
def test_messages_that_come_too_fast_are_sent_later(wire: Callable):
    """After an error with retry_after the page waits and sends again, and shows no error."""
    network = wire(Network)
    page = network.page
    messages = [f"number {number}" for number in range(10)]
    page.evaluate(SUBMIT, messages)
    expect_lines(page, *messages)
    expect_unsent(page)
    assert any("retry_after" in answer for answer in network.answers)
    expect_count(page, "#chat-log p.error", 0)


@sites(DAPHNE, UVICORN)
@pytest.mark.usefixtures("lost_connections")
def test_a_message_that_is_refused_is_marked(site: Site, join: Join):
    """A line says why the message was not sent, and the next message goes.

    Daphne passes a large message on to be refused, and uvicorn closes with 1009.
    """
    page = join("ann")
    page.evaluate(SUBMIT, ["   ", "good", "x" * 70_000, "after"])
    reason = "The message has 70,000 characters. The limit is 1,000."
    reason = "It is too large." if site.edition == UVICORN else reason
    expect_lines(
        page,
        "Not sent: The message is empty. Write something first. Your message:",
        "ann good",
        f"Not sent: {reason} Your message: \u2068x",
        "ann after",
    )
    expect_count(page, "#chat-log p.error", 2)
    expect_open(page)
    expect_unsent(page)
    wait_for(page, HAS_VALUE, "")


@sites(DAPHNE)
@pytest.mark.usefixtures("lost_connections")
def test_leaving_with_something_unsent_is_asked_about(
    site: Site, join: Join, complaints: list[str]
):
    """A message that is not acknowledged may exist in the page only, so the browser asks."""
    page = join("ann")
    dialogs = []

    def note(dialog) -> None:
        dialogs.append(dialog.type)

    page.on("dialog", note)
    say(page, "stored")
    expect_lines(page, "stored")
    expect_unsent(page)
    page.reload()
    expect_lines(page, "stored")
    assert dialogs == []
    # Another writer locks the database, so the socket is open but nothing is stored.
    with closing(sqlite3.connect(site.database)) as database:
        database.execute("BEGIN IMMEDIATE")
        say(page, "waiting")
        with page.expect_event("dialog"):
            page.evaluate("setTimeout(() => location.reload())")
        expect_open(page)
        expect_unsent(page, "waiting")
    expect_lines(page, "stored", "waiting")
    page.context.set_offline(True)
    try:
        expect_reconnecting(page, "No network. ")
        say(page, "unsent")
        with page.expect_event("dialog"):
            page.evaluate("setTimeout(() => location.reload())")
        assert dialogs == ["beforeunload", "beforeunload"]
        expect_unsent(page, "unsent")
    finally:
        page.context.set_offline(False)
    expect_lines(page, "stored", "waiting", "unsent")
    expect_unsent(page)
    page.remove_listener("dialog", note)  # later tests use this page
    complaints[:] = [text for text in complaints if not text.startswith("dialog")]
