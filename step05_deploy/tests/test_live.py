"""A room in one process: each message comes once and in order, whatever happens."""

import asyncio
from functools import partial

import pytest
from channels.layers import get_channel_layer
from django.contrib.auth import get_user_model
from django.db import OperationalError
from redis.exceptions import ConnectionError as RedisConnectionError

from chat import consumers, live, reader
from chat.consumers import ChatConsumer
from chat.fanout import subscriptions
from chat.models import Message, Room
from chat.outbox import Outbox
from chat.rooms import group_name
from chat.storage import PAGE

from .helpers import SECONDS, hear_inside

TOO_SLOW = 4013


@pytest.fixture
async def join(join):
    """Join as the common fixture does. All sockets are closed at the end."""
    sockets = []

    async def join_and_note(path="/ws/chat/lobby/"):
        sockets.append(await join(path))
        return sockets[-1]

    yield join_and_note
    for socket in sockets:
        await socket.disconnect()
    await get_channel_layer().flush()


async def stored(text, **more):
    """Store a message as another process does, and return its frame."""
    user, _ = await get_user_model().objects.aget_or_create(username="elsewhere")
    message = await Message.objects.acreate(
        room="lobby", text=text, **{"user": user, **more}
    )
    return message.as_frame()


async def tell(*frames):
    """Tell this process of messages that were stored in another one."""
    for frame in frames:
        event = {"type": "chat.message", "frame": frame}
        await get_channel_layer().group_send(group_name("lobby"), event)


async def hears(socket, *texts):
    """Check the next messages of a socket, and that their numbers have no holes."""
    frames = [await hear_inside(socket) for _ in texts]
    assert [frame["message"] for frame in frames] == list(texts)
    first = frames[0]["seq"]
    assert [frame["seq"] for frame in frames] == list(range(first, first + len(texts)))


async def is_closed_with(socket):
    """Return the code with which a socket is closed."""
    while (event := await socket.receive_output(SECONDS))["type"] != "websocket.close":
        pass
    return event["code"]


async def test_a_message_of_another_process_comes_at_once(join):
    """One process stores and tells. The others hand out."""
    socket = await join()
    await tell(await stored("hi"))
    await hears(socket, "hi")


async def test_a_message_that_is_overtaken_comes_in_its_turn(join):
    """Two processes tell in any order. Clients hear in the order of storing."""
    socket = await join()
    one, two, three = [await stored(text) for text in ["one", "two", "three"]]
    await tell(three, two, one)
    await tell(await stored("four"))
    await hears(socket, "one", "two", "three", "four")


async def test_an_event_that_comes_twice_is_heard_once(join):
    """The channel layer may repeat itself."""
    socket = await join()
    one = await stored("one")
    await tell(one, one)
    await tell(await stored("two"), one)
    await tell(await stored("three"))
    await hears(socket, "one", "two", "three")


async def test_a_hole_is_filled_from_the_database(join):
    """A later message shows that some are missing. They are read at once."""
    socket = await join()
    await stored("lost one")
    await stored("lost two")
    await tell(await stored("three"))
    await hears(socket, "lost one", "lost two", "three")


async def test_deleted_messages_leave_holes_that_stop_nobody(join, monkeypatch):
    """The admin may delete messages, also one whose event is still on its way."""
    looks = []

    async def read_and_count(room, seq, newest):
        looks.append((seq, newest))
        return await read_after(room, seq, newest)

    read_after = reader.read_after
    early = await join()
    for number in range(1, 6):
        await tell(await stored(f"{number}"))
    await hears(early, "1", "2", "3", "4", "5")
    await Message.objects.filter(seq__in=[2, 3, 5]).adelete()
    late = await join()
    assert [(await hear_inside(late))["seq"] for _ in range(2)] == [1, 4]
    assert await late.receive_json_from(SECONDS) == {"caught_up": 5}
    monkeypatch.setattr(reader, "read_after", read_and_count)
    await stored("6")
    seventh = await stored("7")
    await Message.objects.filter(seq__in=[6, 7]).adelete()
    await tell(seventh)
    await tell(await stored("8"))
    for socket in [early, late]:
        await hears(socket, "8")
    assert looks == [(5, 7)]


async def test_a_message_during_the_join_comes_once(join, monkeypatch):
    """Others talk before, while and after a client that joins reads the history."""

    async def read_while_others_talk(room, seq, newest):
        if newest > 6:
            return await read_after(room, seq, newest)
        await tell(await stored("before"))
        frames = await read_after(room, seq, newest)
        await tell(await stored("after"))
        # Let this process hear it.
        await hears(early, "before", "after")
        return frames

    async def read_history_while_others_talk(room):
        history = await read_history(room)
        await tell(await stored("meanwhile"))
        await hears(early, "meanwhile")
        return history

    read_after, read_history = reader.read_after, consumers.read_history
    await stored("old")
    early = await join()
    await hears(early, "old")
    monkeypatch.setattr(reader, "read_after", read_while_others_talk)
    monkeypatch.setattr(consumers, "read_history", read_history_while_others_talk)
    late = await join()
    said = ["before", "after"] * 3
    await hears(late, "old", "meanwhile", *said)
    await tell(await stored("later"))
    for socket in [early, late]:
        await hears(socket, "later")


async def test_a_message_during_the_first_join_comes_once(join, monkeypatch):
    """Another process stores and tells while this one reads the room's number."""

    async def read_seq_while_others_talk(room):
        await tell(await stored("before"))
        seq = await read_seq(room)
        await tell(await stored("after"))
        return seq

    read_seq = live.read_seq
    monkeypatch.setattr(live, "read_seq", read_seq_while_others_talk)
    socket = await join()
    await hears(socket, "before", "after")
    await tell(await stored("later"))
    await hears(socket, "later")


async def test_a_client_that_knows_more_than_this_process_hears_nothing_twice(join):
    """It comes from another process, which died before it told this one."""
    early = await join()
    for text in ["one", "two"]:
        await stored(text)
    socket = await join("/ws/chat/lobby/?after=2")
    assert await socket.receive_json_from(SECONDS) == {"caught_up": 2}
    await hears(early, "one", "two")
    await tell(await stored("three"))
    for each in [early, socket]:
        await hears(each, "three")
    claiming = await join("/ws/chat/lobby/?after=999999")
    assert await claiming.receive_json_from(SECONDS) == {"caught_up": 3}


async def test_a_sender_hears_itself_without_the_channel_layer(join, monkeypatch):
    """A message that is stored here is handed out here. The others have to find it."""
    sender, listener = await join(), await join()

    async def fail(group, event):
        raise RedisConnectionError("gone")

    monkeypatch.setattr(get_channel_layer(), "group_send", fail)
    for text in ["anyone?", "no?"]:
        await sender.send_json_to({"message": text})
    for socket in [sender, listener]:
        await hears(socket, "anyone?", "no?")


async def test_a_message_sent_again_is_handed_out_if_nobody_has_heard_it(join, ann):
    """Its process died between storing and telling. The sender sends it again."""
    sender, listener = await join(), await join()
    await stored("hello?", user=ann, client_id="a")
    await sender.send_json_to({"message": "hello?", "client_id": "a"})
    for socket in [sender, listener]:
        await hears(socket, "hello?")


async def test_ten_thousand_missed_messages_come_in_pages(join, ann, monkeypatch):
    """All of them come in order, and at most a page waits in memory."""
    message = partial(Message, room="lobby", user=ann)
    messages = [message(text=f"{seq}", seq=seq) for seq in range(1, 10_001)]
    await Message.objects.abulk_create(messages, batch_size=1000)
    await Room.objects.acreate(name="lobby", seq=10_000)
    longest = 0
    put = Outbox.put

    def put_and_count(self, event):
        nonlocal longest
        put(self, event)
        longest = max(longest, len(self.waiting))

    monkeypatch.setattr(Outbox, "put", put_and_count)
    socket = await join("/ws/chat/lobby/?after=0")
    seqs = [(await hear_inside(socket))["seq"] for _ in range(10_000)]
    assert seqs == list(range(1, 10_001))
    assert longest <= PAGE


async def test_a_room_in_which_nobody_is_left_costs_nothing(join):
    """No subscription is left, and no task."""
    before = asyncio.all_tasks()
    sockets = [await join(path) for path in ["/ws/chat/a/", "/ws/chat/b/"] * 3]
    await sockets[0].send_json_to({"message": "hi"})
    await hear_inside(sockets[0])
    for socket in sockets:
        await socket.disconnect()
    async with asyncio.timeout(SECONDS):
        while asyncio.all_tasks() - before or get_channel_layer().groups:
            await asyncio.sleep(0.005)
    assert not subscriptions[asyncio.get_running_loop()]


async def test_a_client_that_joins_without_the_database_comes_back_later(
    join, monkeypatch
):
    """The room cannot tell its number. The client is closed with 4013."""

    async def fail(room):
        raise OperationalError("the database has gone")

    with monkeypatch.context() as patch:
        patch.setattr(live, "read_seq", fail)
        refused = await asyncio.gather(join(), join())
        for socket in refused:
            assert await is_closed_with(socket) == TOO_SLOW
    socket = await join()
    await tell(await stored("welcome back"))
    await hears(socket, "welcome back")


async def test_nothing_is_read_for_a_client_that_has_left(ann, monkeypatch):
    """A client asks for everything and hangs up. The rest of it need not be read."""
    await Room.objects.acreate(name="lobby", seq=1000)
    pages = []

    async def read_after(room, seq, newest):
        pages.append(seq)
        return [{"seq": seq + 1}] * PAGE

    async def send(event):
        if event["type"] == "websocket.send":
            raise OSError("gone")

    incoming = asyncio.Queue()
    incoming.put_nowait({"type": "websocket.connect"})
    monkeypatch.setattr(reader, "read_after", read_after)
    scope = {
        "type": "websocket",
        "path": "/",
        "query_string": b"after=0",
        "user": ann,
        "session": None,
        "url_route": {"kwargs": {"room_name": "lobby"}},
    }
    serving = asyncio.create_task(ChatConsumer()(scope, incoming.get, send))
    incoming.put_nowait({"type": "websocket.disconnect", "code": 1006})
    await asyncio.wait_for(serving, SECONDS)
    assert pages == [0]
