"""Each message has a number in its room. On each connection, the numbers have no holes."""

import asyncio
import sqlite3
import time
from contextlib import closing, contextmanager

import pytest
from channels.db import database_sync_to_async
from channels.layers import get_channel_layer
from django.conf import settings
from django.core.management import call_command
from django.db import connection, transaction
from django.db.migrations.executor import MigrationExecutor
from websockets.exceptions import ConnectionClosed

from chat.models import Message
from chat.rooms import group_name

from .helpers import (
    SECONDS,
    SIGNED_OUT,
    close_code,
    hear,
    hear_any,
    hear_inside,
    say,
    socket_path,
)

LOBBY = socket_path("lobby")


@database_sync_to_async
@transaction.atomic
def store(user, *texts, deleted=None):
    """Store messages as another process does, whose events are all lost on the way.

    The message ``deleted`` is gone again before anybody can read it.
    """
    for text in texts:
        Message.objects.create(room="lobby", user=user, text=text)
    Message.objects.filter(text=deleted).delete()


@contextmanager
def database():
    """Open the tests' database a second time, to break it."""
    name = settings.DATABASES["default"]["NAME"]
    with closing(sqlite3.connect(name, isolation_level=None)) as database:
        yield database


@contextmanager
def missing(table):
    """Take a table away for a while."""
    with database() as sql:
        sql.execute(f"ALTER TABLE {table} RENAME TO away")
        try:
            yield
        finally:
            sql.execute(f"ALTER TABLE away RENAME TO {table}")


async def arrival(socket):
    """Return the numbers of the messages that came on joining, and what follows them.

    That is ``caught_up``, and each frame after it until the message that we send now.
    """
    await say(socket, "now")
    frames = []
    while (frame := await hear_any(socket)).get("message") != "now":
        frames.append(frame)
    first = next(
        (n for n, each in enumerate(frames) if "seq" not in each), len(frames)
    )
    return [frame["seq"] for frame in frames[:first]], frames[first:]


# Numbers.


async def test_numbers_have_no_holes(connect):
    """A room counts its messages: 1, 2, 3 …, also when many people write at once."""
    sockets = [await connect() for _ in range(5)]
    for number in range(8):
        await asyncio.gather(*[say(socket, f"message {number}") for socket in sockets])
    for socket in sockets:
        heard = [await hear(socket) for _ in range(40)]
        assert [frame.get("seq") for frame in heard] == list(range(1, 41))


async def test_each_room_counts_for_itself(connect):
    """The first message of a room is its number 1."""
    for room in ["lobby", "日本語"]:
        socket = await connect(socket_path(room))
        await say(socket, "first")
        assert (await hear(socket)).get("seq") == 1


async def test_processes_count_together(connect, ann):
    """The database gives the numbers, so two processes never give the same one."""
    socket = await connect()
    for number in range(20):
        await asyncio.gather(say(socket, f"here {number}"), store(ann, "elsewhere"))
    while (await hear(socket))["message"] != "here 19":
        pass
    # The server was not told of the messages elsewhere. A newcomer gets them too.
    numbers, _ = await arrival(await connect(f"{LOBBY}?after=0"))
    assert numbers == list(range(1, 41))


@pytest.mark.parametrize("path", [LOBBY, f"{LOBBY}?after=0", f"{LOBBY}?after=1"])
async def test_joining_reads_what_another_process_has_stored(connect, ann, path):
    """The room is open in this process, and the event of the newest message was lost."""
    socket = await connect()
    await say(socket, "here")
    await hear(socket)
    await store(ann, "elsewhere")
    numbers, _ = await arrival(await connect(path))
    assert numbers == ([2] if path.endswith("1") else [1, 2])


async def test_a_message_that_is_not_stored_takes_no_number(connect):
    """If the transaction fails, the next message gets the number."""
    socket = await connect()
    with database() as sql:
        sql.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON chat_message "
            "BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
        await say(socket, "lost")
        assert "error" in await hear(socket)
        sql.execute("DROP TRIGGER refuse")
    await say(socket, "found")
    assert (await hear(socket)).get("seq") == 1


def test_older_messages_get_numbers(transactional_db):
    """The migration numbers the messages of each room in the order of storing."""
    before = [("chat", "0002_message_user")]
    after = [("chat", "0003_seq")]
    assert after[0] in MigrationExecutor(connection).loader.graph.nodes
    try:
        call_command("migrate", "chat", "0002", verbosity=0)
        old = MigrationExecutor(connection).loader.project_state(before).apps
        for room, text in [("a", "1"), ("b", "1"), ("a", "2"), ("a", "3"), ("b", "2")]:
            old.get_model("chat", "Message").objects.create(room=room, text=text)
    finally:
        call_command("migrate", "chat", verbosity=0)
    new = MigrationExecutor(connection).loader.project_state(after).apps
    messages = new.get_model("chat", "Message").objects.all()
    assert sorted((each.room, each.seq, each.text) for each in messages) == [
        ("a", 1, "1"),
        ("a", 2, "2"),
        ("a", 3, "3"),
        ("b", 1, "1"),
        ("b", 2, "2"),
    ]
    rooms = new.get_model("chat", "Room").objects
    assert dict(rooms.values_list("name", "seq")) == {"a": 3, "b": 2}


# Joining: what was missed, then caught_up, then live messages.


async def test_an_empty_room_is_caught_up_at_once(connect):
    """In a room without messages, ``{"caught_up": 0}`` is the first frame."""
    assert await arrival(await connect()) == ([], [{"caught_up": 0}])


async def test_the_history_ends_with_caught_up(connect, ann):
    """``caught_up`` comes once, after the last 50 messages, with the last number."""
    await store(ann, *"x" * 60)
    numbers, then = await arrival(await connect())
    assert then == [{"caught_up": 60}]
    assert numbers == list(range(11, 61))


@pytest.mark.parametrize(
    ("after", "missed"),
    [("0", 60), ("59", 1), ("60", 0), ("61", 0), ("9" * 40, 0), ("9" * 5000, 0)],
    ids=["0", "59", "60", "61", "40 digits", "5000 digits"],
)
async def test_a_client_gets_all_messages_after_a_number(connect, ann, after, missed):
    """With ``?after=`` all later messages come; 0 is the beginning."""
    await store(ann, *"x" * 60)
    numbers, then = await arrival(await connect(f"{LOBBY}?after={after}"))
    assert then == [{"caught_up": 60}]
    assert numbers == list(range(61 - missed, 61))


async def test_any_number_of_messages_can_be_missed(connect, ann):
    """The server reads the missed messages page by page, and sends them in order."""
    await store(ann, *"x" * 1100)
    socket = await connect(f"{LOBBY}?after=10")
    numbers, then = await arrival(socket)
    assert then == [{"caught_up": 1100}]
    assert numbers == list(range(11, 1101))


@pytest.mark.parametrize("after", ["", "-1", "1.5", "x", "½"])
async def test_anything_else_is_a_first_visit(connect, ann, after):
    """An ``after`` that is no number gets the last 50 messages."""
    await store(ann, *"x" * 60)
    numbers, then = await arrival(await connect(f"{LOBBY}?after={after}"))
    assert then == [{"caught_up": 60}]
    assert numbers == list(range(11, 61))


@pytest.mark.parametrize("query", ["", "?after=0"])
async def test_nothing_is_missing_or_double_after_a_join(connect, query):
    """While others talk, the numbers go on over ``caught_up`` without a hole."""
    # A room of its own: here the server still works when the next test begins.
    room = socket_path(f"busy{query}")
    talkers = [await connect(room) for _ in range(3)]
    await say(talkers[0], "first")
    assert (await hear(talkers[0])).get("seq") == 1
    joined = asyncio.Event()

    async def talk(talker):
        while not joined.is_set():
            await say(talker, "on and on")
            await hear(talker)

    async def listen():
        listener = await connect(room + query)
        frames = [await hear_any(listener) for _ in range(60)]
        while not any("caught_up" in frame for frame in frames):
            frames.append(await hear_any(listener))
        return frames

    talking = asyncio.gather(*[talk(talker) for talker in talkers])
    visits = []
    try:
        for _ in range(3):
            visits += await asyncio.gather(*[listen() for _ in range(5)])
    finally:
        joined.set()
    await talking
    for frames in visits:
        heard = [frame.get("seq") for frame in frames]
        (place,) = [n for n, frame in enumerate(frames) if "caught_up" in frame]
        first = heard[0] if place else frames[0]["caught_up"] + 1
        expected = list(range(first, first + len(frames) - 1))
        assert heard == [*expected[:place], None, *expected[place:]]
        assert frames[place]["caught_up"] == first + place - 1


async def test_a_message_before_the_subscription_is_not_missed(
    join, layer, ann, monkeypatch
):
    """A client joins first, then reads: no message fits between the two."""
    group_add = layer.group_add

    async def store_and_add(group, channel):
        if group == group_name("lobby"):
            await store(ann, "just before")
        await group_add(group, channel)

    monkeypatch.setattr(layer, "group_add", store_and_add)
    socket = await join()
    assert (await socket.receive_json_from(SECONDS)).get("seq") == 1
    assert await socket.receive_json_from(SECONDS) == {"caught_up": 1}
    await socket.disconnect()


# Messages that were deleted.


@pytest.mark.parametrize("query", ["", "?after=0"])
async def test_deleted_messages_are_no_holes(connect, ann, query):
    """The messages that exist come. ``caught_up`` has the room's counter."""
    await store(ann, *"x" * 60)
    deleted = [3, 30, *range(56, 61)]
    await Message.objects.filter(id__in=await ids_of(deleted)).adelete()
    socket = await connect(LOBBY + query)
    numbers, then = await arrival(socket)
    assert then == [{"caught_up": 60}]
    exist = [number for number in range(1, 61) if number not in deleted]
    assert numbers == (exist if query else exist[-50:])
    await say(socket, "on")
    assert (await hear(socket))["seq"] == 62


async def test_a_live_message_that_was_deleted_stops_nobody(connect, ann):
    """A room goes on after a deleted message with the next one that exists."""
    socket = await connect()
    await say(socket, "one")
    assert (await hear(socket)).get("seq") == 1
    await store(ann, "two", "three", deleted="two")
    await say(socket, "four")
    assert [(await hear(socket))["seq"] for _ in range(2)] == [3, 4]


@database_sync_to_async
def ids_of(numbers):
    """Return the ids of the messages with these places in the order of storing."""
    ids = list(Message.objects.order_by("id").values_list("id", flat=True))
    return [ids[number - 1] for number in numbers]


# Events that the channel layer loses, repeats or delivers late.


async def test_a_lost_event_is_read_from_the_database(connect, ann):
    """The next event shows that messages are missing. The server reads them first."""
    sockets = [await connect() for _ in range(2)]
    await store(ann, "lost one", "lost two")
    await say(sockets[0], "three")
    for socket in sockets:
        for number, text in enumerate(["lost one", "lost two", "three"], start=1):
            frame = await hear(socket)
            assert (frame.get("seq"), frame["message"]) == (number, text)


async def test_more_than_a_page_of_lost_events_is_read(connect, ann):
    """However many events were lost, all messages come, in order."""
    socket = await connect()
    await say(socket, "first")
    assert (await hear(socket)).get("seq") == 1
    await store(ann, *"x" * 1100)
    await say(socket, "last")
    heard = [(await hear(socket))["seq"] for _ in range(1101)]
    assert heard == list(range(2, 1103))


@pytest.fixture
def layer(monkeypatch):
    """Return the channel layer, which keeps the lobby's events in ``layer.kept``.

    ``layer.deliver(events)`` delivers such events.
    """
    layer = get_channel_layer()
    group_send = layer.group_send
    layer.kept = None

    async def keep(group, event):
        if group == group_name("lobby") and layer.kept is not None:
            layer.kept.append(event)
        else:
            await group_send(group, event)

    async def deliver(events):
        for event in events:
            await group_send(group_name("lobby"), event)

    monkeypatch.setattr(layer, "group_send", keep)
    layer.deliver = deliver
    return layer


@pytest.mark.parametrize(
    "order", [[2, 1, 0], [0, 0, 1, 1, 2], [1, 2, 0, 1], [2]], ids=str
)
async def test_events_in_any_order_come_in_order(join, layer, order):
    """Events may be late, repeated or lost. Each message comes once, in its order."""
    speaker, listener = await join(), await join()
    layer.kept = []
    for number in range(3):
        await speaker.send_json_to({"message": f"message {number}"})
        async with asyncio.timeout(SECONDS):
            while len(layer.kept) <= number:
                await asyncio.sleep(0.01)
    kept, layer.kept = layer.kept, None
    await layer.deliver(kept[number] for number in order)
    await speaker.send_json_to({"message": "last"})
    for socket in [speaker, listener]:
        for number in range(1, 5):
            assert (await hear_inside(socket)).get("seq") == number
        assert await socket.receive_nothing()
        await socket.disconnect()


# A database that does not answer.


@pytest.mark.parametrize("table", ["chat_room", "chat_message"])
async def test_a_history_that_cannot_be_read_ends_the_connection(connect, ann, table):
    """A client that comes back when the database works again misses nothing."""
    await store(ann, "one", "two", "three")
    with missing(table):
        assert await close_code(await connect(f"{LOBBY}?after=1")) != SIGNED_OUT
    assert await arrival(await connect(f"{LOBBY}?after=1")) == (
        [2, 3],
        [{"caught_up": 3}],
    )


async def test_a_hole_that_cannot_be_read_is_filled_later(server, connect, ann):
    """The connection ends, or the messages come later: no client skips a message."""
    socket = await connect()
    await say(socket, "one")
    assert (await hear(socket)).get("seq") == 1
    await store(ann, "lost")
    # Storing needs no users; reading does, for their names.
    with missing("auth_user"):
        failures = server.log.read_text().count("no such table")
        await say(socket, "three")
        deadline = time.monotonic() + SECONDS
        while server.log.read_text().count("no such table") == failures:
            assert time.monotonic() < deadline, (
                "the server did not read the lost message"
            )
            await asyncio.sleep(0.02)
    await say(await connect(), "four")
    try:
        heard = [(await hear(socket))["seq"] for _ in range(3)]
    except ConnectionClosed:
        assert socket.close_code != SIGNED_OUT
        socket = await connect(f"{LOBBY}?after=1")
        heard = [(await hear(socket))["seq"] for _ in range(3)]
    assert heard == [2, 3, 4]
