"""Rooms: a person in a room gets every message of this room, and no other."""

import re
from collections.abc import Callable
from urllib.parse import unquote

from playwright.sync_api import Page, expect

from course.checks.browser.pages import (
    IS_FOCUSED,
    expect_lines,
    expect_open,
    expect_texts,
    say,
    wait_for,
    write,
)
from course.checks.browser.sites import Site, steps

ROOMS = ["lobby", "test-room", "my room", "a.b", "n" * 50]
# Characters that mean something in a URL, in HTML or in JSON are only characters here.
ROOMS += ["50% off?", "a&b#c", '"quoted"', "\\back", "<b>bold", "🐳"]
BAD_NAMES = ["n" * 51, "a/b", "..", "a\u200bb"]
RULE = "A room name is 1 to 50 printable characters, without a slash."

HEADINGS = "h1, h2, h3, h4, h5, h6"
REFUSES = """
(name, rule) => new URLSearchParams(location.search).get("room") === name
    && document.querySelector("[role=alert]")?.textContent.trim() === rule
    && document.activeElement.id === "room-name-input"
"""


def enter(page: Page, site: Site, room: str, press: Callable[[Page], None]) -> None:
    """Go to a room through the form that asks for its name."""
    page.goto(f"{site.url}/")
    ask_for(page, room, press)


def ask_for(page: Page, room: str, press: Callable[[Page], None]) -> None:
    """Fill in the form that asks for a room's name, and send it."""
    write(page, room, "#room-name-input")
    press(page)


def with_enter(page: Page) -> None:
    """Send the form with the Enter key."""
    page.keyboard.press("Enter")


def with_button(page: Page) -> None:
    """Send the form with its button."""
    page.locator("#room-name-submit").click()


@steps(first=2)
def test_two_windows_in_a_room_hear_each_other(site: Site, new_window, join):
    """Two people who enter the same name meet; the sender hears the message too.

    The first line that a window in another room shows is a message of that room. From step 4, each
    message shows its sender's name.
    """
    ann, ben, cat = new_window("ann"), new_window("ben"), join("cat", room="日本")
    enter(ann, site, "日本語", with_enter)
    enter(ben, site, "日本語", with_button)
    for page in (ann, ben):
        expect_open(page)
        expect_texts(page, HEADINGS, "日本語")
    say(ann, "only for this room")
    expect_lines(ben, "only for this room")
    say(cat, "only for that room")
    expect_lines(cat, "only for that room")
    say(ben, "nobody else heard it")
    anns, bens = ("ann ", "ben ") if site.knows_people else ("", "")
    for page in (ann, ben):
        expect_lines(page, f"{anns}only for this room", f"{bens}nobody else heard it")
        expect_texts(page, "[role=log] b", *["ann", "ben"] * site.knows_people)


@steps(first=2)
def test_a_link_leads_to_other_rooms(site: Site, join, complaints: list[str]):
    """A link in a room leads to the form that asks for a room, and leaves the room.

    A name that no room can have leads back to the form, with a sentence that says why. So does a
    path that leads nowhere, and its form leads to a room.
    """
    page = join()
    page.get_by_role("link", name="Other rooms").click()
    expect(page).to_have_url(f"{site.url}/chat/")
    expect(page.get_by_role("alert")).to_have_count(0)
    wait_for(page, IS_FOCUSED, "room-name-input")
    # Later steps have the same rule, and their own tests for every name.
    for name in BAD_NAMES if site.step.number == 2 else ["a/b"]:
        ask_for(page, name, with_enter)
        wait_for(page, REFUSES, name, RULE)
    page.goto(f"{site.url}/chat/no/such/room/")
    assert {"status of 404" in message for message in complaints} == {True}, complaints
    complaints.clear()
    page.get_by_label("Room name").fill("another")
    page.get_by_role("button", name="Enter").click()
    expect(page).to_have_url(re.compile("/chat/another/$"))
    expect_open(page)


@steps(first=2, last=2)
def test_names_are_taken_literally(site: Site, new_window):
    """A person enters each valid name, and hears the room's messages.

    Later steps have the same converter and script, so the test runs on the first step with rooms.
    """
    page = new_window("ann")
    for name in ROOMS:
        enter(page, site, name, with_enter)
        expect_open(page)
        expect_texts(page, HEADINGS, name)
        assert unquote(page.url) == f"{site.url}/chat/{name}/"
        say(page, f"this is {name}")
        expect_lines(page, f"this is {name}")
