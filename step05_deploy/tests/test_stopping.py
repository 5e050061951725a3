"""A stop signal: sockets are closed with 1012, what is being stored is stored, then it ends."""

import asyncio
import sqlite3
import time
from contextlib import closing

import pytest
from django.conf import settings
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from .helpers import SECONDS, close_code, hear, say
from .server import UvicornWorker, Worker

RESTARTING = 1012


@pytest.fixture(params=[UvicornWorker, Worker], ids=["uvicorn", "daphne"])
def worker(request, django_db_setup, tmp_path):
    """Run one server on the tests' database."""
    database = settings.DATABASES["default"]["NAME"]
    worker = request.param(tmp_path / "log", DATABASE_URL=f"sqlite:///{database}")
    worker.start()
    yield worker
    worker.kill()


async def stopped(worker):
    """Wait until a server has ended; return the seconds that it took."""
    start = time.monotonic()
    await asyncio.to_thread(worker.process.wait, 15)
    return time.monotonic() - start


async def test_clients_are_told_to_come_back(connect, worker):
    """Every client sees 1012, after all that it was to hear; the server ends with it."""
    sockets = [await connect(server=worker) for _ in range(10)]
    await say(sockets[0], "last words")
    for socket in sockets:
        assert (await hear(socket))["message"] == "last words"
    worker.process.terminate()
    assert [await close_code(socket) for socket in sockets] == [RESTARTING] * 10
    assert await stopped(worker) < 5


async def test_what_is_being_stored_is_stored(connect, worker, session):
    """The signal comes while the database is busy: the message is kept, if not acknowledged."""
    socket = await connect(server=worker)
    await say(socket, "before")
    await hear(socket)
    with closing(sqlite3.connect(settings.DATABASES["default"]["NAME"])) as database:
        database.execute("UPDATE chat_room SET seq = seq")  # the one writer of SQLite
        await say(socket, "in time?", client_id="a")
        await asyncio.sleep(0.3)
        worker.process.terminate()
        assert await close_code(socket) == RESTARTING
        database.rollback()
    assert await stopped(worker) < 10
    with closing(sqlite3.connect(settings.DATABASES["default"]["NAME"])) as database:
        texts = database.execute(
            "SELECT text FROM chat_message ORDER BY seq"
        ).fetchall()
    assert texts == [("before",), ("in time?",)]


async def test_a_client_that_does_not_answer_is_not_waited_for(connect, worker):
    """One frozen client costs some seconds, and the server still ends in time."""
    frozen, socket = (
        await connect(server=worker, close_timeout=0),
        await connect(server=worker),
    )
    frozen.transport.pause_reading()
    worker.process.terminate()
    assert await close_code(socket) == RESTARTING
    assert await stopped(worker) < 10


async def test_who_comes_while_it_stops_is_sent_away(connect, worker):
    """A new socket is told to come back, too; it is not left to hang."""
    frozen = await connect(server=worker, close_timeout=0)
    frozen.transport.pause_reading()
    worker.process.terminate()
    deadline = time.monotonic() + SECONDS
    codes = set()
    while time.monotonic() < deadline and RESTARTING not in codes:
        try:
            codes.add(await close_code(await connect(server=worker)))
        except (ConnectionClosed, InvalidHandshake, OSError):
            break  # it has stopped, or is about to: nothing hangs
    assert codes <= {RESTARTING}
    assert await stopped(worker) < 10
