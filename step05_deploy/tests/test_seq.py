"""Each message has a number in its room, and a client can ask for what it has missed."""

import asyncio
import sqlite3
from contextlib import closing
from importlib import import_module
from importlib.util import find_spec

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import IntegrityError, connection
from django.db.migrations.executor import MigrationExecutor

from .helpers import hear, history_of, say, socket_path


async def talk(socket, count):
    """Send so many messages into an empty room, and hear them back with their numbers."""
    for number in range(1, count + 1):
        await say(socket, f"message {number}")
    for number in range(1, count + 1):
        assert (await hear(socket)).get("seq") == number


async def test_numbers_have_no_holes(connect):
    """A room counts its messages: 1, 2, 3 …, however many people write at once."""
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


async def test_a_message_that_is_not_stored_takes_no_number(connect):
    """The number is given in the transaction: if that fails, the next message gets it."""
    socket = await connect()
    name = settings.DATABASES["default"]["NAME"]
    with closing(sqlite3.connect(name, isolation_level=None)) as database:
        database.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON chat_message"
            " BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
        await say(socket, "lost?", client_id="a")
        answer = await hear(socket)
        database.execute("DROP TRIGGER refuse")
    assert answer.get("client_id") == "a"
    assert answer["retry_after"] > 0

    await say(socket, "lost?", client_id="a")
    found = await hear(socket)
    assert (found["message"], found["seq"], found["client_id"]) == ("lost?", 1, "a")


async def test_the_same_client_id_is_stored_once_and_answered_twice(connect):
    """Who did not get the answer sends again, and gets it; the room hears the message once."""
    sender, listener = await connect(), await connect()
    await say(sender, "hello?", client_id="a")
    first = await hear(sender)
    assert first.get("client_id") == "a"
    await say(sender, "hello?", client_id="a")
    assert await hear(sender) == first
    await say(sender, "next")
    assert (await hear(sender))["seq"] == 2
    assert [(await hear(listener))["message"] for _ in range(2)] == ["hello?", "next"]


async def test_the_same_client_id_in_one_burst_is_stored_once(connect):
    """Sent again before the first answer, it may even go into the same transaction."""
    socket, other = await connect(), await connect()
    await asyncio.gather(
        *[say(each, "hi", client_id="a") for each in [socket, other] * 3]
    )
    heard = [await hear(socket) for _ in range(3)]
    assert {frame.get("seq") for frame in heard} == {1}


def test_one_message_that_cannot_be_stored_harms_no_other(ann, django_user_model):
    """Those that wait are stored together; if one of them cannot be, the others still are."""
    assert find_spec("chat.store"), "messages are stored one by one"
    store = import_module("chat.store")
    gone = django_user_model.objects.create_user("gone")
    drafts = [store.Draft(user, user.username, None) for user in [ann, gone, ann]]
    django_user_model.objects.filter(pk=gone.pk).delete()
    first, refused, last = store.store("lobby", drafts)
    assert isinstance(refused, IntegrityError)
    assert [(frame["seq"], is_new) for frame, is_new in [first, last]] == [
        (1, True),
        (2, True),
    ]


async def test_the_same_client_id_of_somebody_else_is_another_message(
    connect, bens_session
):
    """Clients make up their ids; nobody's message is lost because of somebody else's."""
    anns, bens = await connect(), await connect(session=bens_session)
    await say(anns, "from Ann", client_id="a")
    await hear(anns)
    await say(bens, "from Ben", client_id="a")
    bens_message = await hear(anns)
    assert (bens_message["message"], bens_message.get("client_id")) == (
        "from Ben",
        "a",
    )


@pytest.mark.parametrize("client_id", ["", "x" * 65, 1, [], "\0"], ids=repr)
async def test_a_client_id_is_a_short_text(socket, client_id):
    """Anything else gets an error, and is not stored."""
    await say(socket, "hi", client_id=client_id)
    assert list(await hear(socket)) == ["error"]
    await say(socket, "hi", client_id="x" * 64)
    assert (await hear(socket)).get("client_id") == "x" * 64


async def test_an_error_names_the_message(socket):
    """A client that has sent several knows which one was refused, and that it is final."""
    await say(socket, "x" * 1001, client_id="too long")
    answer = await hear(socket)
    assert answer.get("client_id") == "too long"
    assert "retry_after" not in answer


async def test_a_client_gets_everything_after_what_it_knows(connect):
    """With ?after=, all that was missed comes, however much, in order, and then what is new."""
    talker = await connect()
    await talk(talker, 130)
    listener = await connect(socket_path("lobby") + "?after=10")
    await say(talker, "new")
    heard = [await hear(listener) for _ in range(121)]
    assert [frame.get("seq") for frame in heard] == list(range(11, 132))
    assert heard[-1]["message"] == "new"


@pytest.mark.parametrize(
    ("after", "missed"), [("0", 60), ("59", 1), ("60", 0), ("61", 0), ("9" * 40, 0)]
)
async def test_what_after_means(connect, after, missed):
    """Zero is the beginning; who knows everything, or claims to, gets nothing old."""
    await talk(await connect(), 60)
    assert (
        len(await history_of(await connect(socket_path("lobby") + f"?after={after}")))
        == missed
    )


@pytest.mark.parametrize("after", ["", "-1", "1.5", "x", "½"])
async def test_anything_else_is_a_first_visit(connect, after):
    """An ``after`` that is no number gets the last 50, as if it was not there."""
    await talk(await connect(), 60)
    history = await history_of(await connect(socket_path("lobby") + f"?after={after}"))
    assert [frame["seq"] for frame in history] == list(range(11, 61))


def test_older_messages_get_numbers(transactional_db):
    """Messages from before the counter are numbered by room, in their order."""
    before = [("chat", "0002_message_user")]
    after = [("chat", "0003_seq")]
    assert after[0] in MigrationExecutor(connection).loader.graph.nodes, (
        "nobody counts"
    )
    try:
        call_command("migrate", "chat", "0002", verbosity=0)
        old = MigrationExecutor(connection).loader.project_state(before).apps
        for room, text in [("a", "1"), ("b", "1"), ("a", "2"), ("a", "3"), ("b", "2")]:
            old.get_model("chat", "Message").objects.create(room=room, text=text)
    finally:
        call_command("migrate", "chat", verbosity=0)
    new = MigrationExecutor(connection).loader.project_state(after).apps
    for message in new.get_model("chat", "Message").objects.all():
        assert str(message.seq) == message.text
    rooms = new.get_model("chat", "Room").objects
    assert dict(rooms.values_list("name", "seq")) == {"a": 3, "b": 2}
