"""The ORM from async code: three ways that work, and the error without them."""

import sqlite3
from contextlib import closing

import pytest
from channels.db import database_sync_to_async
from django.conf import settings
from django.core.exceptions import SynchronousOnlyOperation

from chat.models import Message

from .helpers import hear, say


async def test_async_code_may_not_call_the_orm():
    """Django refuses a query that would hold up the event loop while it waits."""
    with pytest.raises(SynchronousOnlyOperation, match="from an async context"):
        Message.objects.create(room="lobby", text="hi")


async def test_async_code_may_call_a_decorated_function():
    """As a decorator: the whole function runs in a thread, where it may wait."""

    @database_sync_to_async
    def write_and_count():
        Message.objects.create(room="lobby", text="hi")
        return Message.objects.count()

    assert await write_and_count() == 1


async def test_async_code_may_wrap_a_single_call():
    """As a call: wrap the function, then await what it returns."""
    await database_sync_to_async(Message.objects.create)(room="lobby", text="hi")
    assert await database_sync_to_async(Message.objects.count)() == 1


async def test_async_code_may_use_the_async_orm():
    """The ORM's own methods with an ``a`` do the same, one query at a time."""
    await Message.objects.acreate(room="lobby", text="hi")
    assert await Message.objects.acount() == 1


async def test_a_message_that_cannot_be_stored_gets_an_error(connect):
    """The room does not hear it, its sender is told, and the next message works."""
    socket = await connect()
    name = settings.DATABASES["default"]["NAME"]
    with closing(sqlite3.connect(name, isolation_level=None)) as database:
        database.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON chat_message "
            "BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
        await say(socket, "lost?")
        reply = await hear(socket)
        database.execute("DROP TRIGGER refuse")
    assert reply["error"] == "The message was not stored. Send it again."

    await say(socket, "found")
    assert (await hear(socket))["message"] == "found"
