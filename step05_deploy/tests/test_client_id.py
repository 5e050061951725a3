"""A client may send a message again: with the same ``client_id`` it is stored once."""

import asyncio
import sqlite3
from contextlib import closing

import pytest
from django.conf import settings

from chat.models import Message

from .helpers import hear, say


async def test_a_message_that_is_sent_again_is_stored_once(connect):
    """The client that missed the answer gets it now. The room hears nothing new."""
    sender, listener = await connect(), await connect()
    await say(sender, "hello?", client_id="a")
    first = await hear(sender)
    assert first.get("client_id") == "a"
    await say(sender, "hello?", client_id="a")
    assert await hear(sender) == first
    await say(sender, "next")
    assert (await hear(sender))["seq"] == 2
    assert [(await hear(listener))["message"] for _ in range(2)] == ["hello?", "next"]


async def test_a_burst_with_one_client_id_is_stored_once(connect):
    """Copies that come before the first answer are copies too, on any connection."""
    sockets = [await connect() for _ in range(2)]
    await asyncio.gather(*[say(each, "hi", client_id="a") for each in sockets * 3])
    await asyncio.gather(*[say(each, "next", client_id="b") for each in sockets])
    for socket in sockets:
        while (frame := await hear(socket)).get("client_id") == "a":
            assert frame["seq"] == 1
        assert (frame["message"], frame["seq"]) == ("next", 2)
    assert await Message.objects.acount() == 2


async def test_the_first_text_is_the_message(connect):
    """A client that reuses a ``client_id`` for another text gets the old message."""
    socket = await connect()
    await say(socket, "first", client_id="a")
    first = await hear(socket)
    await say(socket, "second", client_id="a")
    again = await hear(socket)
    assert again == first
    assert again["message"] == "first"


async def test_each_user_and_each_room_has_client_ids_of_its_own(
    connect, bens_session
):
    """Clients make up the ids, so two may choose the same: both messages are stored."""
    ann, ben = await connect(), await connect(session=bens_session)
    for socket, text in [(ann, "from Ann"), (ben, "from Ben")]:
        await say(socket, text, client_id="a")
        for each in [ann, ben]:
            frame = await hear(each)
            assert (frame["message"], frame.get("client_id")) == (text, "a")
    elsewhere = await connect("/ws/chat/elsewhere/")
    await say(elsewhere, "elsewhere", client_id="a")
    assert (await hear(elsewhere))["message"] == "elsewhere"


async def test_a_message_reaches_the_room_although_its_process_died(connect, ann):
    """A process stored the message and told nobody. Sent again, the message is heard."""
    sender, listener = await connect(), await connect()
    await say(sender, "one", client_id="a")
    assert (await hear(sender)).get("client_id") == "a"
    await Message.objects.acreate(room="lobby", user=ann, text="two", client_id="b")
    await say(sender, "two", client_id="b")
    assert (await hear(sender))["message"] == "two"
    assert [(await hear(listener))["message"] for _ in range(2)] == ["one", "two"]


@pytest.mark.parametrize(
    "client_id", ["", "x" * 65, 1, True, [], {}, "\0", "\ud800"], ids=repr
)
async def test_a_client_id_is_a_short_text(socket, client_id):
    """An id of 1 to 64 characters is accepted. For another one an error comes."""
    await say(socket, "bad", client_id=client_id)
    assert list(await hear(socket)) == ["error"]
    await say(socket, "good", client_id="x" * 64)
    frame = await hear(socket)
    assert (frame["message"], frame["seq"]) == ("good", 1)
    assert frame["client_id"] == "x" * 64


async def test_an_error_names_its_message(socket):
    """A client that has sent several messages knows which one was refused for good."""
    await say(socket, "x" * 1001, client_id="too long")
    answer = await hear(socket)
    assert answer.get("client_id") == "too long"
    assert "retry_after" not in answer


async def test_a_message_that_could_not_be_stored_may_be_sent_again(socket):
    """The error names the message, and the seconds to wait. Then it is stored once."""
    name = settings.DATABASES["default"]["NAME"]
    with closing(sqlite3.connect(name, isolation_level=None)) as database:
        database.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON chat_message "
            "BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
        await say(socket, "hi", client_id="a")
        answer = await hear(socket)
        database.execute("DROP TRIGGER refuse")
    assert answer.get("client_id") == "a"
    assert answer["retry_after"] > 0
    await say(socket, "hi", client_id="a")
    frame = await hear(socket)
    assert (frame["seq"], frame["client_id"]) == (1, "a")
