"""client.py stays in the conversation: no message is lost, none is shown or stored twice."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
import uvicorn
from client import reconnect_wait
from django.conf import global_settings
from django.contrib.auth import get_user_model

from chat.models import Message

from .helpers import SIGNED_OUT, hear, say
from .server import Server, Worker, free_port
from .test_client import PASSWORD, terminal_client, write

SECONDS = 30  # longer than any wait for another try, which is 15 at most
RECONNECTING = "(reconnecting…)"
CONNECTED_AGAIN = "(connected again)"


async def read_line(client):
    """Return the next line that the client shows, empty when it has ended."""
    line = asyncio.to_thread(client.stdout.readline)
    return (await asyncio.wait_for(line, SECONDS)).rstrip("\n")


async def read_lines(client, count):
    """Return the next lines that the client shows."""
    return [await read_line(client) for _ in range(count)]


async def exit_code(client):
    """Return the exit code of the client, which ends now."""
    return await asyncio.to_thread(client.wait, SECONDS)


# A real server.


def create_cat():
    """Create a user with a password, and return her name."""
    cat = get_user_model().objects.create_user("cat", password=PASSWORD)
    return cat.get_username()


@pytest.fixture
def cat(empty_database):
    """Return the name of a user with a password."""
    return create_cat()


@pytest.fixture
def mortal(server, tmp_path):
    """Run a second server on the tests' database, which a test may kill."""
    mortal = Server(
        tmp_path / "log",
        DJANGO_SETTINGS_MODULE="tests.settings",
        TEST_DATABASE=server.environment["TEST_DATABASE"],
    )
    mortal.start()
    yield mortal
    mortal.kill()


async def test_a_server_that_dies_costs_no_message(mortal, connect, cat):
    """Messages of others come once when it is back, then the lines typed meanwhile."""
    with terminal_client(mortal, cat) as client:
        write(client, PASSWORD)
        assert "Connected" in await read_line(client)
        write(client, "before")
        assert await read_line(client) == "cat: before"
        mortal.kill()
        assert await read_line(client) == RECONNECTING
        # Others go on, on another server: more than the 50 messages of a first visit.
        browser = await connect("/ws/chat/lobby/?after=1")
        for number in range(60):
            await say(browser, f"number {number}")
        for _ in range(60):
            await hear(browser)
        write(client, "typed while")
        write(client, "it was down")
        mortal.start()
        missed = [f"ann: number {number}" for number in range(60)]
        assert await read_lines(client, 60) == missed
        assert await read_line(client) == CONNECTED_AGAIN
        assert await read_lines(client, 2) == ["cat: typed while", "cat: it was down"]
        await say(browser, "after")
        assert await read_line(client) == "ann: after"


async def test_the_end_of_the_input_waits_for_unsent_lines(mortal, cat):
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
        assert await exit_code(client) == 0


def test_a_long_pipe_is_stored_in_order(server, settings, tmp_path):
    """Lines come faster than one person may write: the client waits when it is told to."""
    settings.PASSWORD_HASHERS = global_settings.PASSWORD_HASHERS
    cat = create_cat()
    strict = Worker(
        tmp_path / "log",
        DATABASE_URL=f"sqlite:///{server.environment['TEST_DATABASE']}",
        CHAT_MESSAGE_RATE="40",
        CHAT_MESSAGE_BURST="5",
    )
    strict.start()
    lines = [f"line {number}" for number in range(40)]
    try:
        with terminal_client(strict, cat) as client:
            output, _ = client.communicate("\n".join([PASSWORD, *lines]), SECONDS)
    finally:
        strict.stop()
    assert output.splitlines()[1:] == [f"cat: {line}" for line in lines]
    assert client.returncode == 0
    stored = Message.objects.order_by("seq").values_list("text", flat=True)
    assert list(stored) == lines


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
        frame = {"message": text, "id": seq, "seq": seq, "username": "ann"}
        sent_at = "2026-11-20T12:00:00+00:00"
        await self.send(**frame, sent_at=sent_at, client_id=client_id)

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
        self.status = 200  # of the answer to a client that asks for a token
        self.asked = 0
        self.sockets = asyncio.Queue()

    async def __call__(self, scope, receive, send):
        """Answer one request, or hold one socket open until either side closes it."""
        if scope["type"] == "http":
            self.asked += 1
            answer = {"token": f"token-{self.asked}", "error": "Not now."}
            headers = [(b"content-type", b"application/json")]
            start = {"type": "http.response.start", "status": self.status}
            await send({**start, "headers": headers})
            body = json.dumps(answer).encode()
            return await send({"type": "http.response.body", "body": body})
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
    options = {"lifespan": "off", "log_level": "error", "ws_max_size": 65536}
    server = uvicorn.Server(uvicorn.Config(script, port=port, **options))
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
        await socket.send(caught_up=0)
        assert "Connected" in await read_line(client)
        yield client, socket


async def come_back(script, client):
    """Return the next socket of a client that has lost the one before."""
    assert await read_line(client) == RECONNECTING
    return await script.accept()


async def test_the_history_comes_first(script):
    """The client shows the history of a room, then says that it is connected."""
    with terminal_client(script, "ann") as client:
        write(client, PASSWORD)
        socket = await script.accept()
        assert socket.query == "token=token-1"
        await socket.message(5, "five")
        await socket.message(6, "six")
        await socket.send(caught_up=6)
        assert await read_lines(client, 2) == ["ann: five", "ann: six"]
        assert "Connected" in await read_line(client)


@pytest.mark.parametrize("code", [1012, 4013, 4008])
async def test_the_client_comes_back_for_later_messages(script, code):
    """It asks for the messages after the last number that it got, with a new token."""
    async with joined(script) as (client, socket):
        await socket.message(1, "one")
        assert await read_line(client) == "ann: one"
        await socket.close(code)
        socket = await come_back(script, client)
        assert socket.query == "token=token-2&after=1"
        # Later messages were deleted. The room's counter is 42.
        await socket.send(caught_up=42)
        assert await read_line(client) == CONNECTED_AGAIN
        await socket.close(code)
        socket = await come_back(script, client)
        assert socket.query == "token=token-3&after=42"
        await socket.message(43, "missed")
        await socket.close(code)
        assert await read_line(client) == "ann: missed"
        assert (await script.accept()).query == "token=token-4&after=43"


async def test_a_line_waits_for_the_answer_to_the_one_before(script):
    """The server stores the lines in the order in which they were typed."""
    async with joined(script) as (client, socket):
        write(client, "first")
        write(client, "second")
        sent = await socket.hear()
        assert sent["message"] == "first"
        assert 1 <= len(sent["client_id"]) <= 64
        await socket.message(1, "from another")
        assert await read_line(client) == "ann: from another"
        assert socket.heard.empty()
        await socket.message(2, "first", sent["client_id"])
        following = await socket.hear()
        assert following["message"] == "second"
        assert following["client_id"] != sent["client_id"]


async def test_a_line_waits_until_the_client_has_caught_up(script):
    """A line may be typed at any time. It is sent when it is clear what was stored."""
    with terminal_client(script, "ann") as client:
        write(client, PASSWORD)
        write(client, "early")
        socket = await script.accept()
        await socket.message(1, "one")
        assert await read_line(client) == "ann: one"
        assert socket.heard.empty()
        await socket.send(caught_up=1)
        assert (await socket.hear())["message"] == "early"


async def test_an_unacknowledged_message_is_sent_again(script):
    """It has the same client_id, so the server stores it once."""
    async with joined(script) as (client, socket):
        write(client, "first")
        write(client, "second")
        sent = await socket.hear()
        await socket.close(1012)
        socket = await come_back(script, client)
        await socket.send(caught_up=0)
        assert await socket.hear() == sent
        await socket.message(1, "first", sent["client_id"])
        assert await read_lines(client, 2) == [CONNECTED_AGAIN, "ann: first"]
        assert (await socket.hear())["message"] == "second"


async def test_missed_messages_acknowledge_too(script):
    """A message that was stored before the connection broke is not sent again."""
    async with joined(script) as (client, socket):
        write(client, "first")
        write(client, "second")
        sent = await socket.hear()
        await socket.close(1012)
        socket = await come_back(script, client)
        await socket.message(1, "first", sent["client_id"])
        await socket.send(caught_up=1)
        assert (await socket.hear())["message"] == "second"
        assert await read_lines(client, 2) == ["ann: first", CONNECTED_AGAIN]


async def test_an_answer_that_comes_twice_is_shown_once(script):
    """A message that was sent twice may be answered twice."""
    async with joined(script) as (client, socket):
        write(client, "first")
        sent = await socket.hear()
        await socket.message(1, "first", sent.get("client_id"))
        await socket.message(2, "two")
        await socket.message(1, "first", sent.get("client_id"))
        await socket.message(3, "three")
        shown = ["ann: first", "ann: two", "ann: three"]
        assert await read_lines(client, 3) == shown


async def test_an_old_message_of_ours_is_shown(script):
    """The answer may be older than other messages, and the next line goes."""
    async with joined(script) as (client, socket):
        write(client, "sent long ago")
        write(client, "next")
        sent = await socket.hear()
        await socket.message(60, "sixty")
        await socket.message(3, "sent long ago", sent["client_id"])
        await socket.message(61, "sixty-one")
        shown = ["ann: sixty", "ann: sent long ago", "ann: sixty-one"]
        assert await read_lines(client, 3) == shown
        assert (await socket.hear())["message"] == "next"


async def test_a_message_that_came_too_fast_is_sent_again_later(script):
    """After an error with retry_after, the client waits so many seconds."""
    async with joined(script) as (client, socket):
        write(client, "too fast")
        sent = await socket.hear()
        again = {"client_id": sent["client_id"], "retry_after": 0.5}
        await socket.send(error="Too fast.", **again)
        asked = asyncio.get_running_loop().time()
        await socket.message(1, "meanwhile")
        assert await read_line(client) == "ann: meanwhile"
        assert await socket.hear() == sent
        assert asyncio.get_running_loop().time() - asked > 0.4
        await socket.message(2, "too fast", sent["client_id"])
        assert await read_line(client) == "ann: too fast"


async def test_a_message_that_is_refused_is_not_sent_again(script):
    """The client shows the reason, and sends the next line."""
    async with joined(script) as (client, socket):
        write(client, "bad")
        write(client, "good")
        sent = await socket.hear()
        await socket.send(error="It is bad.", client_id=sent["client_id"])
        assert await read_line(client) == "Not sent: It is bad."
        assert (await socket.hear())["message"] == "good"


async def test_a_line_of_any_length_is_answered(script):
    """The client cuts a line, because the server closes for a frame of over 64 KiB."""
    async with joined(script) as (client, socket):
        for length in [1, 10_000]:
            write(client, "🎉" * length)
            sent = await socket.hear()
            await socket.send(error="No.", client_id=sent["client_id"])
            assert await read_line(client) == "Not sent: No."


async def test_errors_and_announcements_are_shown(script):
    """Frames without a number are shown too, and leave the last number as it is."""
    async with joined(script) as (client, socket):
        await socket.message(7, "seven")
        await socket.send(message="Closing in five minutes.")
        await socket.send(error="Something is wrong.")
        shown = ["ann: seven", "Closing in five minutes.", "Something is wrong."]
        for line in shown:
            assert await read_line(client) == line
        await socket.close(1012)
        assert (await come_back(script, client)).query.endswith("&after=7")


async def test_a_client_that_is_signed_out_does_not_come_back(script):
    """When the server closes a later socket with 4001, the client ends."""
    async with joined(script) as (client, socket):
        await socket.close(4013)
        socket = await come_back(script, client)
        await socket.send(caught_up=0)
        assert await read_line(client) == CONNECTED_AGAIN
        await socket.close(SIGNED_OUT)
        assert await read_line(client) == "Signed out."
        assert await exit_code(client) == 1


@pytest.mark.parametrize("status", [503, 429])
async def test_without_a_token_the_client_tries_again(script, status):
    """A server that gives no token now may give one later. A wrong password stays wrong."""
    async with joined(script) as (client, socket):
        script.status = status
        await socket.close(1012)
        assert await read_line(client) == RECONNECTING
        async with asyncio.timeout(SECONDS):
            while script.asked < 3:
                await asyncio.sleep(0.02)
        script.status = 200
        socket = await script.accept()
        await socket.send(caught_up=0)
        assert await read_line(client) == CONNECTED_AGAIN
        script.status = 401
        await socket.close(1012)
        assert await read_lines(client, 2) == [RECONNECTING, "Not now."]
        assert await exit_code(client) == 1


async def test_the_first_connection_must_succeed(script):
    """A client that cannot join says why, and ends: the address may be wrong."""
    script.status = 503
    with terminal_client(script, "ann") as client:
        write(client, PASSWORD)
        assert await read_line(client) == "Cannot join: Not now."
        assert await exit_code(client) == 1


def test_waits_grow_and_differ():
    """Waits of 0.5 to 15 seconds, each a random part: clients do not return together."""
    for tries, longest in [(0, 0.5), (1, 1), (2, 2), (4, 8), (5, 15), (100_000, 15)]:
        waits = [reconnect_wait(tries) for _ in range(2000)]
        assert 0 <= min(waits) < 0.05 * longest
        assert 0.95 * longest < max(waits) <= longest
        assert 0.45 * longest < sum(waits) / len(waits) < 0.55 * longest
