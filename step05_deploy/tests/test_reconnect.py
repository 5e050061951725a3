"""client.py stays in the conversation: nothing is lost, nothing comes twice, all is in order."""

import asyncio
import json
from contextlib import asynccontextmanager

import client as client_module
import pytest
import uvicorn
from django.conf import settings
from django.contrib.auth import get_user_model

from .helpers import SIGNED_OUT, hear, say
from .server import Server, free_port
from .test_client import PASSWORD, terminal_client, write

SECONDS = 30  # longer than any wait for another try, which is 15 at most
RECONNECTING = "(reconnecting…)"
CONNECTED_AGAIN = "(connected again)"


async def read_line(client, patience=SECONDS):
    """Return the next line that the client shows, empty when it has ended."""
    line = asyncio.to_thread(client.stdout.readline)
    return (await asyncio.wait_for(line, patience)).rstrip("\n")


async def read_lines(client, count):
    """Return the next lines that the client shows."""
    return [await read_line(client) for _ in range(count)]


# A real server that dies, and comes back on the same port.


@pytest.fixture
def cat(empty_database):
    """Return the name of somebody with a password."""
    return (
        get_user_model().objects.create_user("cat", password=PASSWORD).get_username()
    )


@pytest.fixture
def mortal(django_db_setup, tmp_path):
    """Run a server on the tests' database that a test may kill."""
    server = Server(
        tmp_path / "log",
        DJANGO_SETTINGS_MODULE="tests.settings",
        TEST_DATABASE=str(settings.DATABASES["default"]["NAME"]),
    )
    server.start()
    yield server
    server.kill()


async def test_a_server_that_dies_costs_no_message(server, mortal, connect, cat):
    """What was said and what was typed meanwhile comes once, in order, when it is back."""
    with terminal_client(mortal, cat) as client:
        write(client, PASSWORD)
        assert "Connected" in await read_line(client)
        write(client, "before")
        assert await read_line(client) == "cat: before"
        mortal.kill()
        assert await read_line(client) == RECONNECTING
        # People on another server go on talking: more than the last 50 that a newcomer gets.
        browser = await connect(server=server, path="/ws/chat/lobby/?after=1")
        for number in range(60):
            await say(browser, f"number {number}")
        for _ in range(60):
            await hear(browser)
        write(client, "typed while")
        write(client, "it was down")
        mortal.start()
        assert await read_line(client) == CONNECTED_AGAIN
        heard = await read_lines(client, 62)
        assert [line for line in heard if line.startswith("ann")] == [
            f"ann: number {number}" for number in range(60)
        ]
        assert [line for line in heard if line.startswith("cat")] == [
            "cat: typed while",
            "cat: it was down",
        ]
        await say(browser, "after")
        assert await read_line(client) == "ann: after"


async def test_the_end_of_the_input_waits_for_what_is_unsent(mortal, cat):
    """A script that pipes lines into the client can rely on its exit code 0."""
    with terminal_client(mortal, cat) as client:
        write(client, PASSWORD)
        assert "Connected" in await read_line(client)
        mortal.kill()
        assert await read_line(client) == RECONNECTING
        write(client, "the last words")
        client.stdin.close()
        mortal.start()
        assert await read_lines(client, 2) == [CONNECTED_AGAIN, "cat: the last words"]
        assert await asyncio.to_thread(client.wait, SECONDS) == 0


# A server that does as the test says, for what real servers do only once in a while.


class Socket:
    """The server's end of a socket, in the hands of a test."""

    def __init__(self, scope, send):
        self.query = scope["query_string"].decode()
        self.send_event = send
        self.heard = asyncio.Queue()

    async def send(self, **frame):
        """Send a frame."""
        await self.send_event({"type": "websocket.send", "text": json.dumps(frame)})

    async def message(self, seq, text, client_id=None):
        """Send a message as it was stored."""
        frame = {
            "message": text,
            "id": seq,
            "seq": seq,
            "sent_at": "2026-11-20T12:00:00+00:00",
        }
        await self.send(**frame, username="ann", client_id=client_id)

    async def hear(self):
        """Return the next frame of the client."""
        return await asyncio.wait_for(self.heard.get(), SECONDS)

    async def close(self, code):
        """Close the socket."""
        await self.send_event({"type": "websocket.close", "code": code})


class Script:
    """A server, as an ASGI application: gives tokens, and hands its sockets to the test."""

    def __init__(self, url):
        self.url = url
        self.status = 200  # of the answer to who asks for a token
        self.asked = 0
        self.sockets = asyncio.Queue()

    async def __call__(self, scope, receive, send):
        """Answer one request, or hold one socket open until either side closes it."""
        if scope["type"] == "http":
            self.asked += 1
            answer = {"token": f"token-{self.asked}", "error": "Not now."}
            headers = [(b"content-type", b"application/json")]
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status,
                    "headers": headers,
                }
            )
            await send(
                {"type": "http.response.body", "body": json.dumps(answer).encode()}
            )
            return
        await receive()
        await send({"type": "websocket.accept"})
        socket = Socket(scope, send)
        self.sockets.put_nowait(socket)
        while (event := await receive())["type"] == "websocket.receive":
            socket.heard.put_nowait(json.loads(event["text"]))

    async def accept(self):
        """Return the next socket that a client opens."""
        return await asyncio.wait_for(self.sockets.get(), SECONDS)


@pytest.fixture
async def script():
    """Run such a server on a free port."""
    port = free_port()
    script = Script(f"http://127.0.0.1:{port}")
    config = uvicorn.Config(script, port=port, lifespan="off", log_level="error")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield script
    server.should_exit = server.force_exit = True
    await serving


@asynccontextmanager
async def joined(script):
    """Run a client, and return it with the server's end of its first socket."""
    with terminal_client(script, "ann") as client:
        write(client, PASSWORD)
        socket = await script.accept()
        assert "Connected" in await read_line(client)
        yield client, socket


async def test_what_was_shown_is_not_shown_again(script):
    """A message that comes twice is shown once."""
    async with joined(script) as (client, socket):
        for seq, text in [
            (7, "seven"),
            (8, "eight"),
            (7, "seven"),
            (8, "eight"),
            (9, "nine"),
        ]:
            await socket.message(seq, text)
        assert await read_lines(client, 3) == ["ann: seven", "ann: eight", "ann: nine"]


async def test_a_hole_is_filled(script):
    """The client shows nothing out of order: it asks for what follows the last it has shown."""
    async with joined(script) as (client, socket):
        await socket.message(1, "one")
        await socket.message(3, "three")
        assert await read_lines(client, 2) == ["ann: one", RECONNECTING]
        socket = await script.accept()
        assert socket.query == "token=token-2&after=1"
        for seq, text in [(2, "two"), (3, "three")]:
            await socket.message(seq, text)
        assert await read_lines(client, 3) == [
            CONNECTED_AGAIN,
            "ann: two",
            "ann: three",
        ]


async def test_a_hole_that_stays_is_a_message_that_was_deleted(script):
    """The client asks once, and goes on: it would come back for ever, and for each of many."""
    async with joined(script) as (client, socket):
        await socket.message(1, "one")
        await socket.message(3, "three")
        assert await read_lines(client, 2) == ["ann: one", RECONNECTING]
        socket = await script.accept()
        for seq, text in [(3, "three"), (4, "four"), (6, "six"), (9, "nine")]:
            await socket.message(seq, text)
        assert await read_lines(client, 3) == [
            CONNECTED_AGAIN,
            "ann: three",
            "ann: four",
        ]
        assert await read_lines(client, 2) == ["ann: six", "ann: nine"]
        # What is missing on another socket may have been lost.
        await socket.close(1012)
        assert await read_line(client) == RECONNECTING
        socket = await script.accept()
        await socket.message(11, "eleven")
        assert await read_lines(client, 2) == [CONNECTED_AGAIN, RECONNECTING]
        assert (await script.accept()).query == "token=token-4&after=9"


def test_what_is_missing_later_may_have_been_lost():
    """Five seconds after the connection, the client asks for it again."""
    conversation = vars(client_module)["Conversation"]()
    message = {"message": "hi", "username": "ann"}
    assert [conversation.receive({**message, "seq": seq}) for seq in (1, 3, 3, 5)] == [
        True,
        False,
        True,
        True,
    ]
    conversation.settle()
    assert not conversation.receive({**message, "seq": 7})


async def test_an_unacknowledged_message_is_sent_again(script):
    """With the same client_id, so that it is stored once; the next one waits for its turn."""
    async with joined(script) as (client, socket):
        write(client, "first")
        write(client, "second")
        sent = await socket.hear()
        assert sent["message"] == "first"
        assert 1 <= len(sent["client_id"]) <= 64
        await socket.close(1012)
        assert await read_line(client) == RECONNECTING
        socket = await script.accept()
        assert await socket.hear() == sent
        assert socket.heard.empty()
        await socket.message(1, "first", sent["client_id"])
        assert await read_lines(client, 2) == [CONNECTED_AGAIN, "ann: first"]
        assert (await socket.hear())["message"] == "second"


async def test_history_acknowledges_too(script):
    """A message that was stored before the connection broke is shown once."""
    async with joined(script) as (client, socket):
        write(client, "first")
        write(client, "second")
        sent = await socket.hear()
        await socket.close(1012)
        assert await read_line(client) == RECONNECTING
        socket = await script.accept()
        await socket.message(1, "first", sent["client_id"])
        # The answer to the same message, which the client has sent again.
        await socket.message(1, "first", sent["client_id"])
        await socket.message(2, "and on")
        assert await read_lines(client, 3) == [
            CONNECTED_AGAIN,
            "ann: first",
            "ann: and on",
        ]


async def test_an_old_message_of_ours_is_acknowledged(script):
    """It may be older than the history that we got: it is shown all the same, and the next goes."""
    async with joined(script) as (client, socket):
        write(client, "sent long ago")
        write(client, "next")
        sent = await socket.hear()
        assert 1 <= len(sent["client_id"]) <= 64
        await socket.message(60, "sixty")
        await socket.message(3, "sent long ago", sent["client_id"])
        await socket.message(61, "sixty-one")
        assert await read_lines(client, 3) == [
            "ann: sixty",
            "ann: sent long ago",
            "ann: sixty-one",
        ]
        assert (await socket.hear())["message"] == "next"


async def test_a_message_that_came_too_fast_is_sent_again_later(script):
    """An error with retry_after is no reason to bother the person."""
    async with joined(script) as (client, socket):
        write(client, "too fast")
        sent = await socket.hear()
        await socket.send(
            error="Too fast.", client_id=sent["client_id"], retry_after=0.5
        )
        asked = asyncio.get_running_loop().time()
        assert await socket.hear() == sent
        assert 0.4 < asyncio.get_running_loop().time() - asked < 5
        await socket.message(1, "too fast", sent["client_id"])
        assert await read_line(client) == "ann: too fast"


async def test_a_message_that_is_refused_is_not_sent_again(script):
    """The reason is shown, and the next message goes."""
    async with joined(script) as (client, socket):
        write(client, "bad")
        write(client, "good")
        sent = await socket.hear()
        await socket.send(error="It is bad.", client_id=sent["client_id"])
        assert await read_line(client) == "Not sent: It is bad."
        assert (await socket.hear())["message"] == "good"


async def test_a_message_that_is_too_large_is_not_sent_again(script):
    """A server that closes with 1009 would do so for ever."""
    async with joined(script) as (client, socket):
        write(client, "large")
        write(client, "small")
        assert (await socket.hear())["message"] == "large"
        await socket.close(1009)
        assert await read_lines(client, 2) == [
            "Not sent: It is too large.",
            RECONNECTING,
        ]
        assert (await (await script.accept()).hear())["message"] == "small"


async def test_errors_and_announcements_are_shown(script):
    """They have no number, and leave no hole."""
    async with joined(script) as (client, socket):
        await socket.send(error="Something is wrong.")
        await socket.send(message="Closing in five minutes.")
        await socket.message(1, "already?")
        assert await read_lines(client, 3) == [
            "Something is wrong.",
            "Closing in five minutes.",
            "ann: already?",
        ]


async def test_whoever_signs_out_does_not_come_back(script):
    """While trying again, the client is told 4001, and ends."""
    async with joined(script) as (client, socket):
        await socket.close(1013)
        assert await read_line(client) == RECONNECTING
        socket = await script.accept()
        assert await read_line(client) == CONNECTED_AGAIN
        await socket.close(SIGNED_OUT)
        assert await read_line(client) == "Signed out."
        assert await asyncio.to_thread(client.wait, SECONDS) == 1


async def test_without_a_token_the_client_tries_again(script):
    """A server that gives none now may give one later; one that refuses the password will not."""
    async with joined(script) as (client, socket):
        script.status = 503
        await socket.close(1012)
        assert await read_line(client) == RECONNECTING
        async with asyncio.timeout(SECONDS):
            while script.asked < 3:
                await asyncio.sleep(0.02)
        script.status = 200
        socket = await script.accept()
        await socket.message(
            1, "welcome back"
        )  # so that the next wait is a short one again
        assert await read_lines(client, 2) == [CONNECTED_AGAIN, "ann: welcome back"]
        script.status = 401
        await socket.close(1012)
        assert await read_lines(client, 2) == [RECONNECTING, "Not now."]
        assert await asyncio.to_thread(client.wait, SECONDS) == 1


async def test_a_frozen_server_is_left(script):
    """No answer to a message for ten seconds: the connection is taken for dead.

    By then it would have brought the history. So the room was empty, and what comes first is known.
    """
    async with joined(script) as (client, socket):
        write(client, "anybody there?")
        sent = await socket.hear()
        assert 1 <= len(sent["client_id"]) <= 64
        assert await read_line(client, patience=15) == RECONNECTING
        socket = await script.accept()
        assert socket.query == "token=token-2&after=0"
        assert await socket.hear() == sent


def test_waits_grow_and_differ():
    """Half a second at first, 15 at last, and any fraction of it: nobody comes back in step."""
    reconnect_wait = vars(client_module)["reconnect_wait"]
    for tries, longest in [(0, 0.5), (1, 1), (2, 2), (4, 8), (5, 15), (100_000, 15)]:
        waits = [reconnect_wait(tries) for _ in range(2000)]
        assert 0 <= min(waits) < 0.05 * longest
        assert 0.95 * longest < max(waits) <= longest
        assert 0.45 * longest < sum(waits) / len(waits) < 0.55 * longest


def test_waits_are_short_again_after_a_good_connection():
    """One that brought a message, or lasted five seconds; one that only opened was in vain."""
    conversation = vars(client_module)["Conversation"]()
    conversation.tries = 7
    conversation.receive({"message": "hi", "seq": 1, "username": "ann"})
    assert conversation.tries == 0
    conversation.tries = 7
    conversation.settle()
    assert conversation.tries == 0
