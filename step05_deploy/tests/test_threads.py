"""The database is called in threads, and a call that waits delays nobody else."""

import asyncio
import sqlite3
from contextlib import closing

import pytest
from django.conf import settings

from .helpers import SECONDS, hear, say, socket_path


@pytest.fixture
def database():
    """Return a connection of our own to the database that the server uses."""
    name = settings.DATABASES["default"]["NAME"]
    with closing(sqlite3.connect(name, isolation_level=None)) as database:
        yield database


async def test_a_slow_query_holds_up_nobody_else(connect, database):
    """While one message waits for the database, others join, read and get answers."""
    waiting = await connect(socket_path("one"))
    listening = await connect(socket_path("two"))
    await say(listening, "first")
    first = await hear(listening)

    # SQLite has one writer at a time. While that is us, the server waits for its turn;
    # after five seconds it gives up.
    database.execute("BEGIN IMMEDIATE")
    await say(waiting, "am I slow?")
    await asyncio.wait_for(await waiting.ping(), SECONDS)  # it has the message

    async def make_mistakes_and_join():
        for _ in range(3):  # the first may overtake the message
            await listening.send("not JSON")
            assert "error" in await hear(listening)
        assert await hear(await connect(socket_path("two"))) == first

    answer = asyncio.create_task(hear(waiting))
    others = asyncio.create_task(make_mistakes_and_join())
    await asyncio.wait([answer, others], return_when=asyncio.FIRST_COMPLETED)
    assert not answer.done(), "the others wait as well"
    await others

    database.execute("ROLLBACK")
    assert (await answer)["message"] == "am I slow?"
