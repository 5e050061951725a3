"""Services that processes share: Redis and a database, each found by its address."""

import asyncio
import socket
import time

import pytest
import redis
from channels_redis.pubsub import RedisPubSubChannelLayer
from django.core.cache import cache
from django.db.utils import ConnectionHandler, OperationalError

from .test_settings import read_settings, run


@pytest.fixture
def silent():
    """Run a server that accepts connections and never answers; return its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_addresses_are_read():
    """The environment names database and Redis. Without them: SQLite, one process."""
    settings = read_settings()
    assert settings["REDIS_URLS"] == []
    layer = settings["CHANNEL_LAYERS"]["default"]
    assert layer["BACKEND"] == "channels.layers.InMemoryChannelLayer"
    engine = settings["DATABASES"]["default"]["ENGINE"]
    assert engine == "django.db.backends.sqlite3"

    settings = read_settings(
        DATABASE_URL="postgres://chat:secret@db.example:5433/messages",
        REDIS_URL="redis://one:6379,redis://two:6379",
    )
    database = settings["DATABASES"]["default"]
    assert database["ENGINE"] == "django.db.backends.postgresql"
    address = [database[name] for name in ("HOST", "PORT", "NAME", "USER", "PASSWORD")]
    assert address == ["db.example", 5433, "messages", "chat", "secret"]
    hosts = settings["CHANNEL_LAYERS"]["default"]["CONFIG"]["hosts"]
    assert [host["address"] for host in hosts] == [
        "redis://one:6379",
        "redis://two:6379",
    ]
    assert settings["CACHES"]["default"]["LOCATION"] == "redis://one:6379"


def test_a_wrong_address_stops_the_start():
    """One sentence names the variable."""
    with pytest.raises(SystemExit, match=r"^Cannot start: .*DATABASE_URL"):
        read_settings(DATABASE_URL="nonsense")


def test_two_sites_may_share_one_redis():
    """Each site has a prefix of its own, which comes from its secret key."""
    prefixes = []
    for key in ["one", "two", "one"]:
        site = read_settings(DJANGO_SECRET_KEY=key, REDIS_URL="redis://one:6379")
        prefixes.append(site["CHANNEL_LAYERS"]["default"]["CONFIG"]["prefix"])
    assert prefixes[0] == prefixes[2] != prefixes[1]
    assert "one" not in prefixes[0]


def test_postgresql_connections_are_pooled_and_checked():
    """Four processes stay below PostgreSQL's limit, and notice a broken connection."""
    url = "postgres://chat:secret@db.example/messages?sslmode=require"
    database = read_settings(DATABASE_URL=url)["DATABASES"]["default"]
    assert database["CONN_HEALTH_CHECKS"] is True
    assert database["CONN_MAX_AGE"] == 0  # a connection goes back to the pool
    options = database["OPTIONS"]
    assert options["sslmode"] == "require"  # the address has the last word
    assert options["pool"]["max_size"] * 4 < 100
    # A query that PostgreSQL has acknowledged and never answers ends, too.
    probes = options["keepalives_interval"] * options["keepalives_count"]
    assert options["keepalives_idle"] + probes < 10


def test_a_frozen_postgresql_is_an_error_after_two_seconds(silent):
    """A process does not wait for a database that accepts and never answers."""
    url = f"postgres://chat:secret@{silent}/messages"
    databases = ConnectionHandler(read_settings(DATABASE_URL=url)["DATABASES"])
    began = time.monotonic()
    with pytest.raises(OperationalError):
        databases["default"].ensure_connection()
    assert time.monotonic() - began < 4
    databases["default"].close_pool()


def test_a_frozen_redis_is_an_error_after_two_seconds(silent, settings):
    """The cache and the channel layer do not wait for a Redis that never answers."""
    found = read_settings(REDIS_URL=f"redis://{silent}")
    settings.CACHES = found["CACHES"]
    layer = RedisPubSubChannelLayer(**found["CHANNEL_LAYERS"]["default"]["CONFIG"])

    async def send():
        await layer.group_send("room", {"type": "chat.message"})

    for question in [lambda: cache.get("x"), lambda: asyncio.run(send())]:
        began = time.monotonic()
        with pytest.raises(redis.TimeoutError):
            question()
        assert 1.9 < time.monotonic() - began < 4


def test_sqlite_readers_do_not_wait_for_a_writer(tmp_path):
    """SQLite has a write-ahead log, and a transaction begins with its write lock."""
    code = """
import django, sqlite3; django.setup()
from django.db import connection, transaction
with connection.cursor() as cursor:
    for name in ("journal_mode", "synchronous"):
        print(cursor.execute(f"PRAGMA {name}").fetchone()[0])
with transaction.atomic():
    other = sqlite3.connect(connection.settings_dict["NAME"], timeout=0)
    print(other.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
    try:
        other.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        print(error)
"""
    variables = {
        "DATABASE_URL": f"sqlite:///{tmp_path / 'db.sqlite3'}",
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }
    finished = run("-c", code, **variables)
    expected = ["wal", "1", "0", "database is locked"]
    assert finished.stdout.splitlines() == expected, finished.stderr
