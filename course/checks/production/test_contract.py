"""The contract of pages, frames, close codes and tokens, through nginx, on both kinds of server.

The step's own tests check more, on the development server.
"""

import json
import os
from contextlib import ExitStack, suppress
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from course.checks.production.daphne import is_limited
from course.checks.production.prepared import PUPILS, Place
from course.stack.stack import SERVERS

pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="the stack needs Linux or macOS"),
    pytest.mark.parametrize("place", SERVERS, indirect=True),
]

SIGNED_OUT = 4001
HISTORY = 50
MANY = 120  # messages in a room that is older than the test
OLD_ROOM = """
INSERT INTO chat_room (name, seq) VALUES (%(room)s, %(many)s);
INSERT INTO chat_message (room, seq, text, sent_at)
SELECT %(room)s, seq, 'hi', now() FROM generate_series(1, %(many)s) AS seq;
"""
BAD = {
    "not JSON": "hello",
    "null": "null",
    "a list": "[]",
    "a number": "1",
    "no message": "{}",
    "not a text": '{"message": 7}',
    "only spaces": '{"message": " \\n "}',
    "too long": json.dumps({"message": "x" * 1001}),
    "binary": b'{"message": "hi"}',
    "nested": "[" * 20_000 + "]" * 20_000,
    "ten thousand digits": '{"message": ' + "9" * 10_000 + "}",
    "half a character": '{"message": "\\ud800"}',
    "a NUL character": '{"message": "\\u0000"}',
    "a client_id of 65 characters": json.dumps({"message": "hi", "client_id": "x" * 65}),
    "an empty frame": "",
}


def say(socket: ClientConnection, message: str, **more: str) -> None:
    """Send a message."""
    socket.send(json.dumps({"message": message, **more}))


def hear(socket: ClientConnection) -> dict[str, Any]:
    """Return the next frame."""
    frame: dict[str, Any] = json.loads(socket.recv(timeout=30))
    return frame


def catch_up(socket: ClientConnection) -> tuple[list[int], int]:
    """Read the history; return its numbers, and the number in `caught_up`."""
    numbers = list[int]()
    while "caught_up" not in (frame := hear(socket)):
        numbers.append(frame["seq"])
    return numbers, frame["caught_up"]


def close_code(socket: ClientConnection) -> int | None:
    """Read until the server closes a socket; return the close code."""
    with suppress(ConnectionClosed):
        while True:
            socket.recv(timeout=30)
    return socket.close_code


def test_rooms_of_any_name_have_a_page_and_a_socket(place: Place) -> None:
    """Pages and sockets allow the same names: 1 to 50 printable characters without a slash."""
    for room in ["my room", "日本語", "test-room", "50%", "x" * 50]:
        page = place.visitor("ann").get(f"{place.stack.url}/chat/{quote(room)}/", timeout=30)
        assert page.status_code == 200
        with place.join(room) as socket:
            assert catch_up(socket) == ([], 0)
            say(socket, room)
            frame = hear(socket)
            assert frame["message"] == room
        with place.join(room) as socket:
            assert hear(socket) == frame  # from PostgreSQL, as it was live
    for room in ["x" * 51, "\x7f"]:
        page = place.visitor("ann").get(f"{place.stack.url}/chat/{quote(room)}/", timeout=30)
        assert page.status_code == 404
        with pytest.raises(InvalidStatus, match=r"40[34]"):
            place.join(room)


def test_each_bad_frame_gets_an_error_and_the_next_good_one_works(place: Place) -> None:
    """The connection stays open after any bad frame."""
    with place.join("bad frames", PUPILS[0]) as socket:
        assert catch_up(socket) == ([], 0)
        for number, (name, sent) in enumerate(BAD.items(), start=1):
            socket.send(sent)
            assert isinstance(hear(socket)["error"], str), name
            say(socket, name, type="websocket.disconnect", user="7")
            frame = hear(socket)
            assert (frame["message"], frame["seq"]) == (name, number)
            assert set(frame) == {"message", "id", "sent_at", "username", "seq", "client_id"}
        say(socket, "x" * 1000)
        assert hear(socket)["message"] == "x" * 1000


def test_each_connection_gets_what_it_asks_for_then_caught_up(place: Place) -> None:
    """A socket gets the last fifty messages, or all after a number, except deleted ones."""
    room = f"old room of {place.stack.server}"
    with psycopg.connect(place.stack.database_url) as database:
        for statement in OLD_ROOM.strip().split(";\n"):
            database.execute(statement.rstrip(";"), {"room": room, "many": MANY})
        database.execute("DELETE FROM chat_message WHERE room = %s AND seq IN (7, 119)", [room])
    there = [seq for seq in range(1, MANY + 1) if seq not in (7, 119)]
    for at in place.stack.worker_hosts:
        for query, numbers in {
            "": there[-HISTORY:],
            "0": there,
            "117": [118, 120],
            str(MANY): [],
            "99999999999999999999": [],
            "x": there[-HISTORY:],
        }.items():
            with place.join(room, at=at, after=query) as socket:
                assert catch_up(socket) == (numbers, MANY)
    # After `caught_up`, messages come live, also those that were sent to the other worker.
    with ExitStack() as sockets:
        one, other = (
            sockets.enter_context(place.join(room, at=at, after=str(MANY)))
            for at in place.stack.worker_hosts
        )
        assert catch_up(one) == catch_up(other) == ([], MANY)
        for seq in range(MANY + 1, MANY + 11):
            say(one if seq % 2 else other, "live")
            assert hear(one)["seq"] == hear(other)["seq"] == seq


def test_a_message_that_is_sent_again_is_stored_once(place: Place) -> None:
    """The sender gets one more answer, at any worker; nobody else gets the message again."""
    one, other = place.stack.worker_hosts
    client_id = "x" * 64
    with ExitStack() as sockets:
        first = sockets.enter_context(place.join("again", at=one))
        second = sockets.enter_context(place.join("again", at=other))
        listener = sockets.enter_context(place.join("again", "ben", at=other))
        assert [catch_up(each) for each in (first, second, listener)] == [([], 0)] * 3
        say(first, "once", client_id=client_id)
        frame = hear(first)
        assert frame["client_id"] == client_id
        assert hear(second) == hear(listener) == frame
        for again in (first, second):
            say(again, "once", client_id=client_id)
            assert hear(again) == frame
        # The same client_id from another person is another message.
        say(listener, "mine", client_id=client_id)
        assert [hear(each)["seq"] for each in (first, second, listener)] == [2, 2, 2]


def test_a_cookie_is_for_our_own_pages_and_a_token_for_any_client(place: Place) -> None:
    """Another site cannot open a socket with our visitor's cookie."""
    url = f"ws://{place.stack.host}/ws/chat/origins/"
    cookie = {"Cookie": place.headers()["Cookie"]}
    for origin in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {}):
        with pytest.raises(InvalidStatus, match="403"):
            connect(url, additional_headers=cookie | origin)
        with connect(f"{url}?token={place.token('ann')}", additional_headers=origin) as socket:
            assert catch_up(socket) == ([], 0)


def test_signing_out_closes_all_sockets_of_that_person(place: Place) -> None:
    """A person's sockets at each worker are closed with 4001, also those with a token.

    Nobody else loses a socket.
    """
    who = PUPILS[1]
    with ExitStack() as sockets:
        theirs = [
            sockets.enter_context(place.join("leaving", who, at=at))
            for at in [*place.stack.worker_hosts, place.stack.host]
        ]
        theirs.append(sockets.enter_context(place.join("leaving", None, token=place.token(who))))
        ann = sockets.enter_context(place.join("leaving"))
        assert place.post(who, "/accounts/logout/").ok
        assert [close_code(socket) for socket in theirs] == [SIGNED_OUT] * 4
        with place.join("leaving", None) as socket:
            assert close_code(socket) == SIGNED_OUT
        say(ann, "still here")
        assert catch_up(ann) == ([], 0)
        assert hear(ann)["message"] == "still here"
    place.visitors.pop(who)


def test_a_frame_that_is_too_large_closes_its_socket_alone(place: Place) -> None:
    """The close code is 1009, so that the page does not send the frame again."""
    with place.join("large") as other:
        # A much larger frame may end the connection before the client can read the code.
        size, code = 66_000, 1009
        server = place.stack.server
        if is_limited(server, "A frame over 1 MiB ends the connection without a code"):
            size, code = 2 << 20, 1006
        codes: list[int | None] = []
        while code not in codes and len(codes) < 5:
            with place.join("large", PUPILS[2]) as socket:
                socket.send("x" * size)
                codes.append(close_code(socket))
        # If the client still sends, the system may reset the closed connection: 1006.
        assert code in codes
        assert set(codes) <= {code, 1006}
        say(other, "all quiet")
        assert catch_up(other) == ([], 0)
        assert hear(other)["message"] == "all quiet"
