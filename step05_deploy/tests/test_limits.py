"""Whoever floods the server is slowed down, then closed; the others do not notice."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings
from django.test import Client
from websockets.exceptions import ConnectionClosed

from chat import api

from .helpers import close_code, hear, say, socket_path
from .server import UvicornWorker, Worker

FLOODING = 1008


@pytest.fixture(
    scope="module", params=[UvicornWorker, Worker], ids=["uvicorn", "daphne"]
)
def worker(request, django_db_setup, tmp_path_factory):
    """Run one server on the tests' database, with a small limit."""
    worker = request.param(
        tmp_path_factory.mktemp("limits") / "log",
        DATABASE_URL=f"sqlite:///{settings.DATABASES['default']['NAME']}",
        CHAT_MESSAGE_RATE="2",
        CHAT_MESSAGE_BURST="10",
    )
    worker.start()
    yield worker
    worker.stop()


async def test_a_burst_passes_and_more_has_to_wait(connect, worker):
    """Ten at once pass; whatever is refused passes when it is sent again as told."""
    socket = await connect(server=worker)
    for number in range(13):
        await say(socket, f"message {number}", client_id=f"{number}")
    answers = [await hear(socket) for _ in range(13)]
    passed = [answer["client_id"] for answer in answers if "seq" in answer]
    assert passed[:10] == [f"{number}" for number in range(10)]
    refused = [answer for answer in answers if "error" in answer]
    assert refused

    async def again(answer):
        await asyncio.sleep(answer["retry_after"])
        await say(socket, "again", client_id=answer["client_id"])

    await asyncio.gather(*[again(answer) for answer in refused])
    for answer in refused:
        assert (await hear(socket)).get("client_id") == answer["client_id"]


async def test_mistakes_take_no_turn_of_a_message(connect, worker):
    """After as many bad frames as may come at once, as many messages may."""
    socket = await connect(server=worker)
    for _ in range(10):
        await socket.send("no JSON")
    for number in range(10):
        await say(socket, f"message {number}")
    answers = [await hear(socket) for _ in range(20)]
    assert ["error" in answer for answer in answers] == [True] * 10 + [False] * 10


async def test_a_flood_is_cut_off(connect, worker):
    """Who does not stop is closed with 1008, even if none of it is a message."""
    flooding, other = await connect(server=worker), await connect(server=worker)
    with suppress(ConnectionClosed):
        for _ in range(10_000):
            await flooding.send("garbage")
            await asyncio.sleep(
                0
            )  # hears, too: who only sends may not get to read the goodbye
    answers = []
    with suppress(ConnectionClosed):
        while True:
            answers.append(await hear(flooding))
    assert flooding.close_code == FLOODING
    assert 20 <= len(answers) < 40
    assert all(list(answer) == ["error"] for answer in answers)
    await say(other, "all quiet")
    assert (await hear(other))["message"] == "all quiet"


def test_passwords_are_checked_a_few_at_a_time(monkeypatch):
    """Each takes a connection to the database: many guesses must leave some to the others."""
    running, most = [], 0

    def authenticate(request, **credentials):
        nonlocal most
        running.append(request)
        most = max(most, len(running))
        time.sleep(0.05)
        running.pop()

    def guess(number):
        fields = {"username": f"guess{number}", "password": "x"}
        return Client().post("/api/token/", fields).status_code

    monkeypatch.setattr(api, "authenticate", authenticate)
    with ThreadPoolExecutor(12) as pool:
        assert set(pool.map(guess, range(12))) == {401}
    assert most <= 4


async def test_a_huge_frame_closes_its_socket_alone(connect, worker):
    """A megabyte and more is told 1009, or it would be sent again; and the others go on."""
    huge, other = await connect(server=worker), await connect(server=worker)
    await huge.send("x" * 2_000_000)
    assert await close_code(huge) == 1009
    await say(other, "all quiet")
    assert (await hear(other))["message"] == "all quiet"


@pytest.mark.skipif(
    not Path("/proc").is_dir(), reason="only Linux says what a process uses"
)
async def test_who_reads_nothing_fills_no_memory(connect, worker, ann):
    """Of all that a client has missed, the server holds a page, until the client reads it."""
    assert find_spec("chat.outbox"), (
        "whatever is to be sent is given to the server at once"
    )
    room = apps.get_model("chat", "Room")
    message = apps.get_model("chat", "Message")
    await room.objects.acreate(name="lobby", seq=20_000)
    await message.objects.abulk_create(
        message(room="lobby", seq=seq, user=ann, text="x" * 1000)
        for seq in range(1, 20_001)
    )
    first = await connect(server=worker)
    assert (await hear(first))["seq"] == 19_951

    def megabytes():
        pages = Path(f"/proc/{worker.process.pid}/statm").read_text().split()[1]
        return int(pages) * 4096 / 1e6

    before = megabytes()
    lazy = [
        await connect(socket_path("lobby") + "?after=0", server=worker)
        for _ in range(3)
    ]
    for socket in lazy:
        socket.transport.pause_reading()
    await asyncio.sleep(2)
    assert megabytes() - before < 30
    for socket in lazy:
        socket.transport.abort()
