"""Everybody comes back at once: a few handshakes at a time, and none for nobody."""

import asyncio
import time

import pytest
from channels.layers import get_channel_layer
from channels.testing import WebsocketCommunicator

from chat import consumers, middleware
from chat.turns import HANDSHAKES
from config.asgi import application

from .helpers import SECONDS, hear_inside


@pytest.fixture
def read(monkeypatch):
    """Make the database slow. Return a list that grows with each session it reads."""
    read, read_session = [], middleware.read_session

    def read_slowly(key):
        read.append(key)
        time.sleep(0.02)
        return read_session(key)

    monkeypatch.setattr(middleware, "read_session", read_slowly)
    return read


def handshake(session):
    """Return a client in this process that has not connected yet."""
    cookie = f"sessionid={session}".encode()
    headers = [(b"origin", b"http://localhost"), (b"cookie", cookie)]
    return WebsocketCommunicator(application, "/ws/chat/lobby/", headers=headers)


async def test_the_first_are_in_while_the_last_wait(session, read, monkeypatch):
    """The first handshake is finished long before the last one begins."""
    read_before, count = [], 10 * HANDSHAKES
    monkeypatch.setattr(consumers, "MAX_SOCKETS", count)

    async def enter():
        client = handshake(session)
        await client.connect(timeout=SECONDS)
        read_before.append(len(read))
        return client

    clients = await asyncio.gather(*[enter() for _ in range(count)])
    assert read_before[0] < count
    for client in clients:
        await client.disconnect()


async def test_nothing_is_read_for_a_client_that_has_left(session, read):
    """It gave up while it waited. The database is asked for others only."""
    gone = handshake(session)
    await gone.send_input({"type": "websocket.connect"})
    await gone.send_input({"type": "websocket.disconnect", "code": 1006})
    await gone.wait(SECONDS)
    assert read == []
    assert get_channel_layer().groups == {}


async def test_a_client_that_writes_at_once_is_heard(join):
    """A frame that comes right after the answer is not lost."""
    client = await join()
    for text in ["one", "two", "three"]:
        await client.send_json_to({"message": text})
    for text in ["one", "two", "three"]:
        assert (await hear_inside(client))["message"] == text
    await client.disconnect()
