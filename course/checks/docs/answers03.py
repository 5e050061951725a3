"""The answers of chapter 3: tests that run in step 3, where they are tests/test_answers.py."""

import asyncio
import threading

import psycopg
import pytest
from asgiref.sync import sync_to_async
from channels.db import database_sync_to_async
from channels.layers import get_channel_layer
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connection
from django.db.backends.signals import connection_created
from django.db.models.signals import post_save
from psycopg.adapt import Transformer

from chat.consumers import ChatConsumer
from chat.models import Message
from chat.rooms import group_name

from .helpers import SECONDS, hear_inside


def is_connected():
    """Return whether this thread has an open connection to the database."""
    return connection.connection is not None


async def test_the_live_order_is_not_the_order_of_the_history(join, monkeypatch):
    """The first message is stored first, and its way to the channel layer is slow."""
    layer = get_channel_layer()
    group_send = layer.group_send
    first_is_stored, second_was_sent = asyncio.Event(), asyncio.Event()

    async def group_send_the_second_first(group, event):
        if event["frame"]["message"] == "first":
            first_is_stored.set()
            await second_was_sent.wait()
        await group_send(group, event)
        second_was_sent.set()

    monkeypatch.setattr(layer, "group_send", group_send_the_second_first)
    ann, ben, cat = await join(), await join(), await join()
    await ann.send_json_to({"message": "first"})
    await asyncio.wait_for(first_is_stored.wait(), SECONDS)
    await ben.send_json_to({"message": "second"})
    live = [(await hear_inside(cat))["message"] for _ in range(2)]
    late = await join()
    history = [(await hear_inside(late))["message"] for _ in range(2)]
    for person in [ann, ben, cat, late]:
        await person.disconnect()
    assert live == ["second", "first"]
    assert history == ["first", "second"]


async def test_the_hole_needs_no_pause(join, monkeypatch):
    """History first, then the group, as quickly as possible: a message in between is lost."""
    layer = get_channel_layer()
    group_add, talker = layer.group_add, await join()

    async def say(message):
        await talker.send_json_to({"message": message})
        assert (await hear_inside(talker))["message"] == message

    async def connect(self):
        self.room_name = self.scope["url_route"]["kwargs"]["room_name"]
        self.room_group, self.sent_ids = group_name(self.room_name), set()
        await self.accept()
        for frame in await self.read_history():
            await self.send_frame(frame)
        await self.channel_layer.group_add(self.room_group, self.channel_name)

    async def group_add_while_others_talk(group, channel):
        await say("in between")
        await group_add(group, channel)
        await say("later")

    await say("before")
    monkeypatch.setattr(ChatConsumer, "connect", connect)
    monkeypatch.setattr(layer, "group_add", group_add_while_others_talk)
    listener = await join()
    assert [(await hear_inside(listener))["message"] for _ in range(2)] == ["before", "later"]
    await talker.disconnect()
    await listener.disconnect()


def test_the_history_is_read_from_the_index():
    """SQLite reads the newest messages in the index's order: it neither looks at all nor sorts."""
    query = Message.objects.filter(room="lobby").order_by("-id")
    plan = query[:50].explain()
    (index,) = Message._meta.indexes
    assert f"USING INDEX {index.name} (room=?)" in plan
    assert "TEMP B-TREE" not in plan
    assert "TEMP B-TREE" in query.order_by("-sent_at")[:50].explain()


async def test_a_query_that_waits_leaves_the_event_loop_free():
    """A thread waits for what the event loop does meanwhile."""
    done = threading.Event()
    waiting = asyncio.create_task(database_sync_to_async(done.wait)(SECONDS))
    await asyncio.sleep(0)
    done.set()
    assert await waiting


async def test_a_signal_runs_in_the_thread_of_the_query():
    """The function has run in that thread when the query's call returns."""
    threads = []

    def remember(**more):
        threads.append(threading.get_ident())

    post_save.connect(remember, sender=Message)
    try:
        await database_sync_to_async(Message.objects.create)(room="lobby", text="hi")
        assert threads == [await sync_to_async(threading.get_ident)()]
    finally:
        post_save.disconnect(remember, sender=Message)
    assert threads != [threading.get_ident()]


async def test_a_lazy_foreign_key_needs_the_thread():
    """A row that was read has its own columns; the row behind a foreign key is a query."""
    kind = await ContentType.objects.acreate(app_label="chat", model="letter")
    await Permission.objects.acreate(name="read", codename="read", content_type=kind)
    permission = await Permission.objects.aget()
    assert permission.content_type_id == kind.id
    with pytest.raises(SynchronousOnlyOperation, match="from an async context"):
        permission.content_type.model  # noqa: B018
    joined = await Permission.objects.select_related("content_type").aget()
    assert joined.content_type == kind
    assert await database_sync_to_async(lambda: permission.content_type)() == kind


async def test_the_async_orm_uses_the_same_thread():
    """All queries of a process wait in one line, whichever way they are called."""
    threads = set()

    def remember(**more):
        threads.add(threading.get_ident())

    connection_created.connect(remember)
    await database_sync_to_async(Message.objects.count)()
    await Message.objects.acount()
    async for message in Message.objects.all():
        raise AssertionError(message)
    assert threads == {await sync_to_async(threading.get_ident)()}
    assert threads != {threading.get_ident()}


async def test_only_database_sync_to_async_closes_old_connections():
    """`CONN_MAX_AGE` is 0, so each connection is old at once."""
    await database_sync_to_async(Message.objects.count)()
    assert not await sync_to_async(is_connected)()
    await sync_to_async(Message.objects.count)()
    assert await sync_to_async(is_connected)()


async def test_a_connection_that_may_grow_old_stays_open(monkeypatch):
    """With a larger `CONN_MAX_AGE`, the next call finds the connection of the last one."""
    monkeypatch.setitem(connection.settings_dict, "CONN_MAX_AGE", 60)
    await database_sync_to_async(Message.objects.count)()
    assert await sync_to_async(is_connected)()


async def test_databases_refuse_different_text():
    """SQLite stores the character NUL, the driver of PostgreSQL does not; neither stores a half."""
    message = await Message.objects.acreate(room="lobby", text="a\0b")
    await message.arefresh_from_db()
    assert message.text == "a\0b"
    with pytest.raises(psycopg.DataError, match="cannot contain NUL"):
        Transformer().as_literal("a\0b")
    with pytest.raises(UnicodeEncodeError, match="surrogates not allowed"):
        await Message.objects.acreate(room="lobby", text="\ud83d")
    with pytest.raises(UnicodeEncodeError, match="surrogates not allowed"):
        Transformer().as_literal("\ud83d")
