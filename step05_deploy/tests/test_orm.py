"""The ORM from async code: three ways that work, and what happens without them."""

import asyncio
import sqlite3
from contextlib import closing

import pytest
from channels.db import database_sync_to_async
from django.apps import apps
from django.conf import settings
from django.core.exceptions import SynchronousOnlyOperation

from .helpers import hear, say, socket_path


@pytest.fixture
def database():
    """Return a connection of our own to the database that the server uses."""
    name = settings.DATABASES["default"]["NAME"]
    with closing(sqlite3.connect(name, isolation_level=None)) as database:
        yield database


def stored_messages():
    """Return the manager of the stored messages."""
    assert "message" in apps.all_models["chat"], "nothing is stored"
    return apps.get_model("chat", "Message").objects


async def test_async_code_may_not_call_the_orm():
    """Django refuses a query that would stop the event loop while it waits."""
    messages = stored_messages()
    with pytest.raises(SynchronousOnlyOperation, match="from an async context"):
        messages.create(room="lobby", text="hi")


async def test_async_code_may_call_a_decorated_function():
    """As a decorator: the whole function runs in a thread, where it may wait."""
    messages = stored_messages()

    @database_sync_to_async
    def write_and_count():
        messages.create(room="lobby", text="hi")
        return messages.count()

    assert await write_and_count() == 1


async def test_async_code_may_wrap_a_single_call():
    """As a call: wrap the function, then await what it returns."""
    messages = stored_messages()
    await database_sync_to_async(messages.create)(room="lobby", text="hi")
    assert await database_sync_to_async(messages.count)() == 1


async def test_async_code_may_use_the_async_orm():
    """The ORM's own methods with an ``a`` do the same, one query at a time."""
    messages = stored_messages()
    await messages.acreate(room="lobby", text="hi")
    assert await messages.acount() == 1


async def test_a_slow_query_holds_up_nobody_else(connect, database):
    """While one message waits for the database, the others join, read and get their answers."""
    waiting, listening = await connect(socket_path("one")), await connect(socket_path("two"))
    await say(listening, "first")
    before = await hear(listening)
    assert "id" in before

    # SQLite has one writer at a time: as long as this is it, the server's writes wait.
    database.execute("BEGIN IMMEDIATE")
    await say(waiting, "am I slow?")
    answer = asyncio.create_task(hear(waiting))

    assert await asyncio.wait_for(hear(await connect(socket_path("two"))), 2) == before
    await listening.send("not JSON")
    assert "error" in await asyncio.wait_for(hear(listening), 2)
    assert not answer.done()

    database.execute("ROLLBACK")
    assert (await answer)["message"] == "am I slow?"


async def test_a_message_that_cannot_be_stored_gets_an_error(connect, database):
    """Nobody hears it, its sender is told, and the next one works."""
    socket = await connect()
    database.execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON chat_message BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    await say(socket, "lost?")
    reply = await hear(socket)
    database.execute("DROP TRIGGER refuse")
    assert reply == {"error": "The message was not stored. Send it again."}

    await say(socket, "found")
    assert (await hear(socket))["message"] == "found"
