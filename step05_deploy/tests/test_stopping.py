"""A stop signal ends a worker within ten seconds, and no stored message is lost."""

import asyncio
import socket
import sqlite3
import time
from contextlib import closing, contextmanager, suppress

import pytest
from django.conf import settings
from websockets.exceptions import InvalidStatus

from chat.models import Message

from .helpers import SECONDS, close_code, hear, say, socket_path
from .server import DaphneWorker, UvicornWorker

RESTARTING = 1012  # uvicorn's own close code: come back
NO_CLOSE_FRAME = 1006  # what a browser reports when the connection just ends


@pytest.fixture
def start(django_db_setup, tmp_path):
    """Return a function that starts a worker on the tests' database."""
    workers = []

    def start(kind, **environment):
        name = settings.DATABASES["default"]["NAME"]
        worker = kind(
            tmp_path / "log", DATABASE_URL=f"sqlite:///{name}", **environment
        )
        worker.start()
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        worker.kill()


@contextmanager
def busy_database():
    """Be the one writer of SQLite: whatever else writes has to wait."""
    name = settings.DATABASES["default"]["NAME"]
    with closing(sqlite3.connect(name, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        yield
        database.execute("ROLLBACK")


async def seconds_to_end(worker):
    """Wait until a worker has ended; return the seconds that it took."""
    began = time.monotonic()
    await asyncio.to_thread(worker.process.wait, 15)
    return time.monotonic() - began


async def stored_texts():
    """Return the texts of all messages, in the order of their ids."""
    return [message.text async for message in Message.objects.order_by("id")]


async def test_clients_are_told_to_come_back(connect, start):
    """Each client that only listens gets 1012, after everything that was sent to it."""
    worker = start(UvicornWorker)
    sockets = [await connect(server=worker) for _ in range(10)]
    await say(sockets[0], "last words")
    for each in sockets:
        assert (await hear(each))["message"] == "last words"
    worker.process.terminate()
    assert [await close_code(each) for each in sockets] == [RESTARTING] * 10
    assert await seconds_to_end(worker) < 5


async def test_a_message_that_is_being_stored_is_stored(connect, start):
    """The worker waits for the database, after it has closed the socket."""
    worker = start(UvicornWorker)
    sender = await connect(server=worker)
    await say(sender, "before")
    await hear(sender)
    with busy_database():
        await say(sender, "in time?")
        await asyncio.wait_for(await sender.ping(), SECONDS)  # the worker has it
        worker.process.terminate()
        assert await close_code(sender) == RESTARTING
        assert worker.process.poll() is None
    assert await seconds_to_end(worker) < 10
    assert await stored_texts() == ["before", "in time?"]


async def test_a_client_that_comes_while_it_stops_does_not_hang(connect, start):
    """A handshake that has begun ends with an error, and a later one is refused."""
    with socket.create_server(("127.0.0.1", 0)) as silent_redis:
        address = silent_redis.getsockname()
        worker = start(UvicornWorker, REDIS_URL=f"redis://127.0.0.1:{address[1]}")
        coming = asyncio.create_task(connect(server=worker))
        # The consumer asks Redis first, and so it waits before it accepts.
        asked, _ = await asyncio.to_thread(silent_redis.accept)
        reader, writer = await asyncio.open_connection("127.0.0.1", worker.port)
        writer.write(b"GET /ws/chat/lobby/ HTTP/1.1\r\n")
        await writer.drain()
        worker.process.terminate()
        with pytest.raises(InvalidStatus) as refused:
            await coming
        assert refused.value.response.status_code == 500
        with suppress(ConnectionResetError):  # the system had not handed it over yet
            assert await asyncio.wait_for(reader.read(), SECONDS) == b""
        with pytest.raises(ConnectionRefusedError):
            await connect(server=worker)
        writer.close()
        assert await seconds_to_end(worker) < 10
        asked.close()


def small_buffers(worker):
    """Return a connection on which little can be on its way."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 500)
    connection.connect(("127.0.0.1", worker.port))
    return connection


async def test_a_client_that_does_not_read_delays_the_end_only(connect, start, ann):
    """The others are told at once. For this one, the worker waits eight seconds."""
    worker = start(UvicornWorker)
    for _ in range(50):  # 600 KB of history
        await Message.objects.acreate(room="lobby", user=ann, text="\N{OWL}" * 1000)
    frozen = await connect(
        server=worker, sock=small_buffers(worker), max_queue=1, close_timeout=0
    )
    frozen.transport.pause_reading()
    other = await connect(socket_path("other"), server=worker)
    await say(other, "hi")
    await hear(other)
    worker.process.terminate()
    began = time.monotonic()
    assert await close_code(other) == RESTARTING
    assert time.monotonic() - began < 5
    await seconds_to_end(worker)
    assert 7 < time.monotonic() - began < 10


async def test_daphne_closes_without_a_code(connect, start):
    """The browser sees 1006, and comes back as well. Stored messages are kept."""
    worker = start(DaphneWorker)
    sender = await connect(server=worker)
    await say(sender, "before")
    await hear(sender)
    worker.process.terminate()
    assert await close_code(sender) == NO_CLOSE_FRAME
    assert await seconds_to_end(worker) < 10
    assert await stored_texts() == ["before"]
