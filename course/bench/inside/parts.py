"""Measure PostgreSQL and Redis alone: `python -m course.bench.inside.parts`, in step 5's folder.

The program prints microseconds as JSON. `sweep_us` is the time to read the counter of one room
among many. `publish_us` and `subscriber_us` are Redis's processor time for a message, and for each
process that hears the message. `hear_us` is such a process's own processor time.
"""

import asyncio
import json
import time

import django

django.setup()

from channels.layers import get_channel_layer  # noqa: E402
from django.conf import settings  # noqa: E402
from redis import Redis  # noqa: E402

from chat.models import Room  # noqa: E402

ROOMS = 2000
SWEEPS = 20
MESSAGES = 2000
PAYLOAD = b"x" * 300  # bytes, about a message
FRAME = {"message": "x" * 60, "id": 1, "seq": 1, "sent_at": "x" * 32, "username": "bench"}
SUBSCRIBERS = 10


def sweep() -> float:
    """Return the microseconds to read one counter, when thousands are read together."""
    names = [f"swept {number}" for number in range(ROOMS)]
    Room.objects.bulk_create(Room(name=name, seq=1) for name in names)
    counters = Room.objects.filter(name__in=names).values_list("name", "seq")
    assert len(counters) == ROOMS
    began = time.monotonic()
    for _ in range(SWEEPS):
        dict(counters.all())
    took = time.monotonic() - began
    Room.objects.filter(name__in=names).delete()
    return took / SWEEPS / ROOMS * 1e6


def publish(client: Redis, subscribers: int) -> float:
    """Return the microseconds of Redis's processor time for a message to this many."""
    listening = [client.pubsub() for _ in range(subscribers)]
    for each in listening:
        each.subscribe("bench")
        each.parse_response()
    before = used(client)
    # Publish one at a time, as a chat does: many messages at once would each cost less.
    for _ in range(MESSAGES):
        assert client.publish("bench", PAYLOAD) == subscribers
        for each in listening:
            each.parse_response()
    took = used(client) - before
    for each in listening:
        each.close()
    return took / MESSAGES * 1e6


def used(client: Redis) -> float:
    """Return the processor time that Redis has used so far, in seconds."""
    info = client.info("cpu")
    return info["used_cpu_user"] + info["used_cpu_sys"]


async def send(group: str) -> float:
    """Return the processor seconds that this process takes to send messages to a group."""
    layer = get_channel_layer()
    before = time.process_time()
    for _ in range(MESSAGES):
        await layer.group_send(group, {"type": "chat.message", "frame": FRAME})
    await asyncio.sleep(0.2)  # time to handle the messages that were heard
    return time.process_time() - before


async def hear() -> float:
    """Return the microseconds of processor time that a process needs to hear one message."""
    alone = await send("bench.alone")
    layer = get_channel_layer()
    channel = await layer.new_channel()
    await layer.group_add("bench.heard", channel)

    async def listen() -> None:
        while True:
            await layer.receive(channel)

    listening = asyncio.create_task(listen())
    both = await send("bench.heard")
    listening.cancel()
    return (both - alone) / MESSAGES * 1e6


if __name__ == "__main__":
    client = Redis.from_url(settings.REDIS_URLS[0])
    one, many = publish(client, 1), publish(client, SUBSCRIBERS)
    each = (many - one) / (SUBSCRIBERS - 1)
    found = {"sweep_us": sweep(), "publish_us": one - each, "subscriber_us": each}
    print(json.dumps(found | {"hear_us": asyncio.run(hear())}))
