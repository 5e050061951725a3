"""A room may have any name: one rule for the page and for the socket."""

import asyncio
from urllib.parse import quote

import pytest
from websockets.exceptions import InvalidStatus

from .helpers import hear, say, socket_path
from .test_index import room_of

RULE = "A room name is 1 to 50 printable characters, without a slash."

GOOD = {
    "a space": "my room",
    "Japanese": "日本語",
    "a dot": "a.b",
    "characters with a meaning in a path": "100% #1?;=&+",
    "markup": "<script>'\"<\\script>",
    "50 characters of four bytes": "🎉" * 50,
}
BAD = {
    "51 characters": "x" * 51,
    "a slash": "a/b",
    "a NUL character": "a\0b",
    "a line break": "a\nb",
    "a delete character": "\x7f",
    "an invisible character": "\u200b",
}
good_names = pytest.mark.parametrize("room", GOOD.values(), ids=GOOD.keys())
bad_names = pytest.mark.parametrize("room", BAD.values(), ids=BAD.keys())


def page_path(room):
    """Return the path of a room's page."""
    return f"/chat/{quote(room, safe='')}/"


@good_names
async def test_a_good_name_has_a_page_and_a_socket(visitor, connect, room):
    """1 to 50 printable characters without a slash, in any language: two people meet."""
    response = visitor.get(page_path(room))
    assert response.status_code == 200
    assert room_of(response) == room

    first, second = await connect(socket_path(room)), await connect(socket_path(room))
    await say(first, "anyone here?")
    assert (await hear(second))["message"] == "anyone here?"


async def test_rooms_with_similar_names_are_different_rooms(connect):
    """A message in one room is not heard in a room whose name only begins the same."""
    here, there = (
        await connect(socket_path("日本語")),
        await connect(socket_path("日本")),
    )
    await say(here, "a secret")
    assert (await hear(here))["message"] == "a secret"
    await say(there, "all quiet")
    assert (await hear(there))["message"] == "all quiet"


async def test_a_bad_name_has_neither(visitor, connect):
    """The page answers 404 with the rule, and its form asks again. No socket opens."""
    for name, room in BAD.items():
        response = visitor.get(page_path(room))
        assert response.status_code == 404, name
        assert RULE in response.text, name
        assert '<form class="page" action="/chat/">' in response.text, name

    # All at once: Daphne looks for failed applications only once a second.
    tries = [connect(socket_path(room)) for room in BAD.values()]
    refusals = await asyncio.gather(*tries, return_exceptions=True)
    for name, refused in zip(BAD, refusals, strict=True):
        assert isinstance(refused, InvalidStatus), name


@good_names
def test_the_form_leads_to_the_room(visitor, room):
    """A name that a person enters leads to the page of that room."""
    response = visitor.get("/chat/", params={"room": f" {room} "})
    assert response.status_code == 200
    assert room_of(response) == room


@bad_names
def test_the_form_says_why_a_name_is_bad(visitor, room):
    """A bad name is answered with the rule, and with the form."""
    response = visitor.get("/chat/", params={"room": room})
    assert response.status_code == 404
    assert RULE in response.text
    assert 'id="room-name-input"' in response.text


async def test_a_name_that_means_a_place_in_a_path_is_bad(visitor, connect):
    """No browser can ask for ``/chat/../``, so the form does not lead there."""
    for room in [".", ".."]:
        response = visitor.get("/chat/", params={"room": room})
        assert response.status_code == 404, room
        assert RULE in response.text, room

    tries = [connect(socket_path(room)) for room in [".", ".."]]
    for refused in await asyncio.gather(*tries, return_exceptions=True):
        assert isinstance(refused, InvalidStatus)
