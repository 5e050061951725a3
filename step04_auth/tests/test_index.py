"""The page that asks for a room, and the way from there to the room."""

import json
import re

from .helpers import hear, say, socket_path


def room_of(response):
    """Return the name of the room that a page is for, as the page's script reads it."""
    pattern = r'<script id="room-name" type="application/json">(.*?)</script>'
    return json.loads(re.search(pattern, response.text)[1])


def test_the_first_page_asks_for_a_room(visitor):
    """The site starts with the page that asks for a room name."""
    response = visitor.get("/")
    assert response.url == f"{visitor.url}/chat/"
    assert 'id="room-name-input"' in response.text
    assert 'id="room-name-submit"' in response.text


async def test_a_room_has_a_page_and_a_socket(visitor, connect):
    """The form leads to the room's page, and two people meet on the room's socket."""
    response = visitor.get("/chat/", params={"room": " test-room "})
    assert response.status_code == 200
    assert room_of(response) == "test-room"

    first = await connect(socket_path("test-room"))
    second = await connect(socket_path("test-room"))
    await say(first, "anyone here?")
    assert (await hear(second))["message"].endswith("anyone here?")


def test_a_missing_slash_is_added(visitor):
    """A path that was typed without its last slash leads to the room too."""
    assert room_of(visitor.get("/chat/lobby")) == "lobby"


def test_a_name_that_makes_no_room_is_answered_with_the_form(visitor):
    """A slash cannot be part of a room name: the page says so and asks again."""
    response = visitor.get("/chat/", params={"room": "a/b"})
    assert response.status_code == 404
    assert "A room name is" in response.text
    assert 'id="room-name-input"' in response.text
