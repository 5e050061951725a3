"""A room in one process: what is lost, late or doubled on the way comes once, and in order."""

import asyncio
import importlib
import time
from functools import partial
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
from channels.layers import get_channel_layer
from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import DatabaseError

from .helpers import SECONDS


@pytest.fixture
def live():
    """Return the module of that name."""
    assert find_spec("chat.live"), "the channel layer is trusted with everything"
    return importlib.import_module("chat.live")


@pytest.fixture
def layer(live, monkeypatch):
    """Return the channel layer, and have it lose everything as long as ``layer.lossy``."""
    layer = get_channel_layer()
    group_send = layer.group_send
    layer.lossy = False

    async def group_send_or_not(group, event):
        if not layer.lossy:
            await group_send(group, event)

    monkeypatch.setattr(layer, "group_send", group_send_or_not)
    return layer


@pytest.fixture
def stored(live):
    """Return a function that stores a message as another process does, and returns its frame."""
    users, messages = get_user_model().objects, chat_model("Message").objects

    async def stored(text):
        user, _ = await users.aget_or_create(username="elsewhere")
        return (await messages.acreate(room="lobby", user=user, text=text)).as_frame()

    return stored


@pytest.fixture
def tell(live, layer):
    """Return a function that tells this process of messages stored in another one."""

    async def tell(*frames):
        event = {"type": "chat.stored", "frames": list(frames)}
        await layer.group_send(live.group_name("lobby"), event)

    return tell


def chat_model(name):
    """Return a model of the chat."""
    return apps.get_model("chat", name)


async def hears(socket, count):
    """Return the texts of the next frames."""
    frames = [await socket.receive_json_from(timeout=SECONDS) for _ in range(count)]
    assert [frame["seq"] for frame in frames] == [
        frames[0]["seq"] + n for n in range(count)
    ]
    return [frame["message"] for frame in frames]


async def test_what_another_process_stored_comes_at_once(join, stored, tell):
    """One process stores and tells, the others hand out."""
    socket = await join()
    await tell(await stored("hi"))
    assert await hears(socket, 1) == ["hi"]
    await socket.disconnect()


async def test_what_is_overtaken_comes_in_its_turn(
    join, live, stored, tell, monkeypatch
):
    """Two processes tell in any order; clients hear in the order of storing."""
    monkeypatch.setattr(
        live, "OVERTAKING", 60
    )  # or it would be read from the database
    socket = await join()
    one, two, three = [await stored(text) for text in ["one", "two", "three"]]
    await tell(three)
    await tell(two)
    assert await socket.receive_nothing()
    await tell(one)
    assert await hears(socket, 3) == ["one", "two", "three"]
    await socket.disconnect()


async def test_what_comes_twice_is_heard_once(join, live, stored, tell):
    """The channel layer may repeat itself; nothing of that is kept."""
    socket = await join()
    one = await stored("one")
    await tell(one, one)
    await tell(one)
    await tell(await stored("two"))
    assert await hears(socket, 2) == ["one", "two"]
    here = live.subscriptions[asyncio.get_running_loop()]
    assert here[live.group_name("lobby")].early == {}
    await socket.disconnect()


async def test_a_hole_is_filled_from_the_database(join, stored, tell):
    """A later message shows what is missing: it is read at once."""
    socket = await join()
    await stored("lost one")
    await stored("lost two")
    await tell(await stored("three"))
    assert await hears(socket, 3) == ["lost one", "lost two", "three"]
    await socket.disconnect()


async def test_what_is_lost_is_found_even_if_nothing_follows(join, stored):
    """The counters in the database are compared every two seconds."""
    socket = await join()
    await stored("last words")
    assert await hears(socket, 1) == ["last words"]
    await socket.disconnect()


async def test_a_sender_hears_itself_without_the_channel_layer(join, layer):
    """What is stored here is handed out here; only the others have to find it."""
    layer.lossy = True
    sender, listener = await join(), await join()
    await sender.send_json_to({"message": "anyone?"})
    for socket in [sender, listener]:
        assert await hears(socket, 1) == ["anyone?"]
        await socket.disconnect()


async def test_a_message_sent_again_is_handed_out_if_nobody_has_heard_it(
    join, live, ann, monkeypatch
):
    """Its process died between storing and telling; the sender comes back, and sends it again."""
    monkeypatch.setattr(live, "SWEEP", 60)
    socket, listener = await join(), await join()
    store = importlib.import_module("chat.store")
    drafts = [store.Draft(ann, "hello?", "a")]
    await live.in_a_thread(store.store)("lobby", drafts)
    await socket.send_json_to({"message": "hello?", "client_id": "a"})
    for each in [socket, listener]:
        assert await hears(each, 1) == ["hello?"]
        await each.disconnect()


async def test_deleted_messages_leave_holes_that_stop_nobody(join, live, stored, tell):
    """The admin may delete what was said; the room goes on."""
    early = await join()
    for number in range(1, 6):
        await tell(await stored(f"{number}"))
    await hears(early, 5)
    await chat_model("Message").objects.filter(seq__in=[2, 3, 5]).adelete()
    late = await join()
    assert (await late.receive_json_from())["message"] == "1"
    assert (await late.receive_json_from())["message"] == "4"
    await stored("6")
    await chat_model("Message").objects.filter(seq=6).adelete()
    await tell(await stored("7"))
    for socket in [early, late]:
        assert (await socket.receive_json_from())["message"] == "7"
        await socket.disconnect()


async def test_what_is_said_during_the_join_comes_once(
    join, live, stored, tell, monkeypatch
):
    """A message just before or just after each look at the database is neither lost nor double."""
    read_after = importlib.import_module("chat.store").read_after
    consumers = importlib.import_module("chat.consumers")

    async def read_while_others_talk(room, seq, until):
        if until > 6:
            return await read_after(room, seq, until)
        await tell(await stored("before"))
        frames = await read_after(room, seq, until)
        await tell(await stored("after"))
        return frames

    await stored("old")
    early = await join()
    assert await hears(early, 1) == ["old"]
    monkeypatch.setattr(consumers, "read_after", read_while_others_talk)
    late = await join()
    said = ["before", "after"] * 3
    assert await hears(late, 7) == ["old", *said]
    assert await hears(early, 6) == said
    await tell(await stored("later"))
    for socket in [early, late]:
        assert await hears(socket, 1) == ["later"]
        await socket.disconnect()


async def test_ten_thousand_missed_messages_come_in_pages(join, live, ann):
    """All of them, in order; no more than a page is in memory at a time."""
    message = partial(chat_model("Message"), room="lobby", user=ann)
    messages = [message(text=f"{seq}", seq=seq) for seq in range(1, 10_001)]
    await chat_model("Message").objects.abulk_create(messages, batch_size=1000)
    await chat_model("Room").objects.acreate(name="lobby", seq=10_000)
    outbox = importlib.import_module("chat.outbox")
    longest = 0
    put = outbox.Outbox.put

    async def send_slowly(event, send):
        await asyncio.sleep(0)
        await send(event)

    def put_and_count(self, event):
        nonlocal longest
        if not isinstance(self.send, partial):
            self.send = partial(send_slowly, send=self.send)
        put(self, event)
        longest = max(longest, len(self.waiting))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outbox.Outbox, "put", put_and_count)
        socket = await join("/ws/chat/lobby/?after=0")
        seqs = [
            (await socket.receive_json_from(timeout=SECONDS))["seq"]
            for _ in range(10_000)
        ]
    assert seqs == list(range(1, 10_001))
    assert longest <= live.PAGE
    await socket.disconnect()


async def test_a_room_in_which_nobody_is_left_costs_nothing(join, live, layer):
    """No subscription, no task."""
    before = asyncio.all_tasks()
    sockets = [await join() for _ in range(3)]
    assert len(layer.groups) == 2  # the room, and the process
    for socket in sockets:
        await socket.disconnect()
    assert layer.groups == {}
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_all_who_wait_are_told_at_once_that_nothing_is_stored(
    join, live, monkeypatch
):
    """Each attempt takes a while without a database: one is enough for everybody in the room."""
    attempts = []

    def fail(room, drafts):
        attempts.append(len(drafts))
        time.sleep(0.3)
        raise DatabaseError("gone")

    monkeypatch.setattr(live, "store", fail)
    sockets = [await join() for _ in range(5)]
    for socket in sockets:
        await socket.send_json_to({"message": "hi", "client_id": "a"})
        await asyncio.sleep(0.02)
    for socket in sockets:
        assert (await socket.receive_json_from(timeout=SECONDS))["retry_after"] > 0
        await socket.disconnect()
    assert attempts == [1]


async def test_nothing_is_read_for_who_has_left(live, monkeypatch):
    """Somebody asks for everything and hangs up: the rest of it need not be read."""
    consumers = importlib.import_module("chat.consumers")
    read = []

    async def read_after(room, seq, until):
        read.append(seq)
        return [{"seq": seq + 1}]

    async def send(event):
        raise OSError("gone")

    monkeypatch.setattr(consumers, "read_after", read_after)
    consumer = consumers.ChatConsumer()
    consumer.outbox = importlib.import_module("chat.outbox").Outbox(send, 1)
    consumer.outbox.accept()
    consumer.room = SimpleNamespace(name="lobby", seq=1000, sockets=set())
    await consumer.catch_up("0")
    assert read == [0]
