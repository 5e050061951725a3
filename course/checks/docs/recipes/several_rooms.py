"""Several rooms on one socket: an event without its room, a stranger, a bad name, two rooms."""

from playwright.sync_api import Page, expect

from course.checks.docs.reader import type_into_console
from course.checks.docs.recipes.people import write

# The frames that a reader sends from the console; the page lives on another port here.
SEND = """
(frame) => new Promise((resolve) => {
    const other = new WebSocket(`ws://${location.host}/ws/rooms/`);
    other.onclose = (event) => resolve(`closed ${event.code}`);
    other.onmessage = (event) => resolve(event.data);
    other.onopen = () => other.send(frame);
})
"""


def enter(host: str, page: Page) -> Page:
    """Open the page with two rooms, and wait until it is in both; return the page."""
    page.goto(f"http://{host}/rooms/here/there/")
    for room in ["here", "there"]:
        expect(page.locator(f"section[data-room={room}] p")).to_have_text("You are in this room.")
    return page


def enter_one(host: str, page: Page, room: str) -> Page:
    """Open the page of one room in another tab; return the tab."""
    tab = page.context.new_page()
    tab.goto(f"http://{host}/chat/{room}/")
    expect(tab.locator("#connection-status")).to_have_text("Connected")
    return tab


def write_in(page: Page, room: str, message: str) -> None:
    """Write a line in one of the rooms of the page."""
    page.fill(f"section[data-room={room}] input", message)
    page.press(f"section[data-room={room}] input", "Enter")


def nameless(host: str, page: Page) -> str:
    """Write a line, which the page cannot show."""
    enter(host, page)
    with page.expect_event("pageerror") as caught:
        write_in(page, "here", "hello")
    expect(page.locator("[role=log] p")).to_have_count(2)
    return f"{caught.value.name}: {caught.value.message}"


def stranger(host: str, page: Page) -> str:
    """Write into a room from outside."""
    secret = enter_one(host, page, "secret")
    enter(host, page)
    type_into_console(page, "recipes/several_rooms.md", "stranger")
    line = secret.locator("#chat-log p")
    expect(line).to_have_text("I am not here.")
    return line.inner_text()


def unchecked(host: str, page: Page) -> str:
    """Join a room whose name is half of a pair."""
    enter(host, page)
    with page.expect_console_message() as said:
        type_into_console(page, "recipes/several_rooms.md", "unchecked")
    return said.value.text


def two_rooms(host: str, page: Page) -> str:
    """Talk in one of the two rooms, leave it, and hear nothing of it any more."""
    one = enter_one(host, page, "here")
    enter(host, page)
    assert "A room name is" in page.evaluate(SEND, '{"join": "\\ud800"}')
    here, there = (page.locator(f"section[data-room={room}] p") for room in ["here", "there"])
    write(one, "hello from one room")
    expect(here).to_have_count(2)
    write_in(page, "here", "hello from both rooms")
    expect(one.locator("#chat-log p")).to_have_count(2)
    expect(here).to_have_count(3)
    page.click("section[data-room=here] .quiet")
    expect(here).to_have_count(4)
    write(one, "anyone here?")
    expect(one.locator("#chat-log p")).to_have_count(3)
    write_in(page, "there", "all quiet")  # comes after what the page would hear of the other room
    expect(there).to_have_text(["You are in this room.", "all quiet"])
    expect(here).to_have_count(4)
    return "\n".join(here.all_inner_texts())


SCENES = {
    "nameless": nameless,
    "stranger": stranger,
    "unchecked": unchecked,
    "two rooms": two_rooms,
}
