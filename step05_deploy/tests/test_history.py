"""Messages are stored, and a client that joins later gets them."""

import asyncio
from datetime import UTC, datetime, timedelta

from .helpers import hear, history_of, say, socket_path


async def test_a_message_has_an_id_and_a_time(connect):
    """Each message has an integer id and the time when it was stored, in UTC."""
    socket = await connect()
    await say(socket, "hi")
    frame = await hear(socket)
    assert frame["message"] == "hi"
    assert isinstance(frame["id"], int)
    sent_at = datetime.fromisoformat(frame["sent_at"])
    assert sent_at.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - sent_at) < timedelta(minutes=1)


async def test_a_client_that_joins_gets_the_history(connect):
    """The history comes as the same frames that the others got."""
    early = await connect()
    for message in ["one", "two", "three"]:
        await say(early, message)
    live = [await hear(early) for _ in range(3)]

    assert await history_of(await connect()) == live


async def test_the_last_50_messages_come_oldest_first(connect):
    """Of a long history, the last 50 messages come, in the order of storing."""
    early = await connect()
    for number in range(60):
        await say(early, f"message {number}")
        await hear(early)

    history = await history_of(await connect())
    assert [frame["message"] for frame in history] == [
        f"message {n}" for n in range(10, 60)
    ]


async def test_each_room_has_its_own_history(connect):
    """A client that joins another room gets nothing of this one."""
    here = await connect(socket_path("日本語"))
    await say(here, "a secret")
    await hear(here)

    assert await history_of(await connect(socket_path("日本"))) == []
    assert len(await history_of(await connect(socket_path("日本語")))) == 1


async def test_messages_survive_the_death_of_the_server(server, connect):
    """A message that was heard is in the database, even if the server then dies at once."""
    socket = await connect()
    await say(socket, "remember me")
    before = await hear(socket)

    server.kill()
    server.start()

    assert await history_of(await connect()) == [before]


async def test_nothing_is_missing_or_double_while_others_talk(connect):
    """On the real server too: clients join while a message comes every few milliseconds."""
    talker = await connect()
    joined = asyncio.Event()

    async def talk():
        while not joined.is_set():
            await say(talker, "on and on")
            await hear(talker)

    async def listen():
        listener = await connect()
        return [(await hear(listener))["id"] for _ in range(60)]

    talking = asyncio.create_task(talk())
    heard = []
    for _ in range(3):
        heard += await asyncio.gather(*[listen() for _ in range(5)])
    joined.set()
    await talking
    for ids in heard:
        assert ids == list(range(ids[0], ids[0] + 60))
