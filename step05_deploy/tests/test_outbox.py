"""A slow client: frames wait for it in a short queue, and nobody waits for it."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
import uvicorn
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from websockets.exceptions import ConnectionClosed

from chat import middleware, outbox
from chat.models import Message, Room
from chat.outbox import LIMIT, TOO_SLOW, Outbox, encode
from chat.protocol import MAX_LENGTH
from chat.storage import PAGE
from config.asgi import application

from .helpers import (
    SIGNED_OUT,
    hear,
    hear_any,
    refusal,
    say,
    socket_path,
)
from .server import UvicornWorker, free_port

# --- one outbox


def test_a_page_of_the_longest_messages_has_half_a_megabyte():
    """One person reads one page at a time, so nobody can fill the memory with history."""
    event = encode({"message": "😀" * MAX_LENGTH, "username": "ann", "seq": 10**9})
    assert len(event["text"].encode()) * PAGE < 2**19


async def test_an_outbox_keeps_the_order():
    """An event that is put while another one is being sent comes after it."""
    sent = []

    async def send(event):
        await asyncio.sleep(0)
        sent.append(event["number"])

    box = Outbox(send)
    for number in range(20):
        box.put({"type": "websocket.send", "number": number})
        await asyncio.sleep(0)
    await box.flush()
    assert sent == list(range(20))


async def test_nothing_is_sent_after_the_close():
    """A server would raise an error for each frame."""
    sent = []

    async def send(event):
        sent.append(event)

    box = Outbox(send)
    box.put({"type": "websocket.send", "text": "bye"})
    box.close(4001)
    box.put({"type": "websocket.send", "text": "too late"})
    box.close(4008)
    await box.flush()
    assert [event.get("code", event.get("text")) for event in sent] == ["bye", 4001]


async def test_a_client_that_is_too_slow_is_closed():
    """The frames that wait are dropped, and 4013 says: come back and catch up."""
    sent, reading = [], asyncio.Event()

    async def send(event):
        if event["type"] == "websocket.send":
            await reading.wait()
        sent.append(event)

    slow = Outbox(send)
    for number in range(2 * LIMIT):
        slow.put({"type": "websocket.send", "number": number})
        await asyncio.sleep(0)
    assert len(slow.waiting) == 1
    reading.set()
    await slow.flush()
    assert sent == [
        {"type": "websocket.send", "number": 0},
        {"type": "websocket.close", "code": TOO_SLOW},
    ]


async def test_a_broken_socket_harms_nobody():
    """Frames for it are forgotten, and the outbox takes no more."""

    async def send(event):
        raise OSError("gone")

    broken = Outbox(send)
    for _ in range(2):
        broken.put({"type": "websocket.send", "text": "hello?"})
        await broken.flush()
        assert broken.closed
        assert not broken.waiting
        assert broken.sending is None


# --- a real server


@pytest.fixture(scope="module")
def worker(django_db_setup, tmp_path_factory):
    """Run a server of our own: its memory is measured."""
    worker = UvicornWorker(
        tmp_path_factory.mktemp("outbox") / "log",
        DATABASE_URL=f"sqlite:///{settings.DATABASES['default']['NAME']}",
        CHAT_MESSAGE_RATE="10000",
        CHAT_MESSAGE_BURST="10000",
    )
    worker.start()
    yield worker
    worker.stop()


@pytest.fixture
async def inside():
    """Run uvicorn in this process, where a test can change a limit; return it."""
    port = free_port()
    config = uvicorn.Config(application, port=port, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    server.host = f"127.0.0.1:{port}"
    server.url = f"http://{server.host}"
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield server
    server.should_exit = True
    await serving


async def test_a_client_that_does_not_read_holds_up_nobody(connect, worker):
    """One client of a room reads nothing. The others hear everything, in order."""
    talker, listener = [await connect(server=worker) for _ in range(2)]
    lazy = await connect(server=worker)
    lazy.transport.pause_reading()
    for number in range(1, 301):
        await say(talker, "x" * 1000)
        assert (await hear(talker))["seq"] == number
    assert [(await hear(listener))["seq"] for _ in range(300)] == list(range(1, 301))
    lazy.transport.abort()


async def test_a_client_that_falls_behind_comes_back(connect, inside, monkeypatch):
    """It is closed with 4013. When it connects again, it misses nothing."""
    talker = await connect(server=inside, compression=None)
    lazy = await connect(server=inside, compression=None)
    assert "caught_up" in await hear_any(lazy)
    lazy.transport.pause_reading()
    emoji = "\N{PARTY POPPER}" * 1000  # four bytes each
    total = 0
    monkeypatch.setattr(outbox, "LIMIT", 5)
    closed = []
    put = Outbox.put

    def put_and_note(self, event):
        put(self, event)
        closed.extend([self] if self.closed else [])

    monkeypatch.setattr(Outbox, "put", put_and_note)
    while not closed:
        total += 1
        assert total < 5000, "the server keeps everything for a slow client"
        await say(talker, emoji)
        assert (await hear(talker))["seq"] == total
    monkeypatch.undo()
    lazy.transport.resume_reading()
    last = 0
    with suppress(ConnectionClosed):
        while True:
            assert (await hear(lazy))["seq"] == last + 1
            last += 1
    assert lazy.close_code == TOO_SLOW
    again = await connect(f"{socket_path('lobby')}?after={last}", server=inside)
    for number in range(last + 1, total + 1):
        assert (await hear(again))["seq"] == number


@pytest.mark.skipif(
    not Path("/proc").is_dir(), reason="only Linux says how much memory a process uses"
)
async def test_a_client_that_catches_up_fills_no_memory(connect, worker, ann):
    """The server holds a page of all that was missed, until the client reads it."""
    await Room.objects.acreate(name="lobby", seq=20_000)
    await Message.objects.abulk_create(
        Message(room="lobby", seq=seq, user=ann, text="x" * 1000)
        for seq in range(1, 20_001)
    )

    def megabytes():
        pages = Path(f"/proc/{worker.process.pid}/statm").read_text().split()[1]
        return int(pages) * 4096 / 1e6

    async def catch_up():
        return await connect(socket_path("lobby") + "?after=0", server=worker)

    first = await connect(server=worker)
    assert (await hear(first))["seq"] == 19_951
    before = megabytes()
    lazy = [await catch_up() for _ in range(3)]
    for socket in lazy:
        socket.transport.pause_reading()
    await asyncio.sleep(2)
    assert megabytes() - before < 30
    # It was not closed as too slow: the server waits for it.
    lazy[0].transport.resume_reading()
    for seq in range(1, 20_001):
        assert (await hear(lazy[0]))["seq"] == seq
    for socket in lazy:
        socket.transport.abort()


# --- the middleware that leaves the frames alone


NUL_COOKIE = '"' + r"\000" * 32 + '"'


async def test_a_cookie_may_hold_anything(connect, inside, worker):
    """A NUL character in it is a stranger's, and never reaches the database."""
    for server in [inside, worker]:
        socket = await connect(server=server, session=NUL_COOKIE)
        assert await refusal(socket) == SIGNED_OUT


async def test_a_cookie_that_no_database_stores_is_not_looked_up(
    connect, inside, monkeypatch
):
    """PostgreSQL raises an error for a NUL character."""
    looked_up = []

    def note(key):
        looked_up.append(key)
        return None, AnonymousUser()

    monkeypatch.setattr(middleware, "read_session", note)
    socket = await connect(server=inside, session=NUL_COOKIE)
    assert await refusal(socket) == SIGNED_OUT
    assert looked_up == [None]
