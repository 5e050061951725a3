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

from channels.layers import channel_layers  # noqa: E402
from django.conf import settings  # noqa: E402
from redis import Redis  # noqa: E402

from chat.models import Room  # noqa: E402

ROOMS = 2000
SWEEPS = 20
MESSAGES = 2000
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
    return (time.monotonic() - began) / SWEEPS / ROOMS * 1e6


def used(redis: Redis) -> tuple[float, float]:
    """Return the processor seconds so far of Redis and of this process."""
    info = redis.info("cpu")
    return info["used_cpu_user"] + info["used_cpu_sys"], time.process_time()


async def publish(redis: Redis, subscribers: int) -> tuple[float, float]:
    """Return the microseconds of Redis and of this process for a message to this many layers."""
    layers = [channel_layers.make_backend("default") for _ in range(1 + subscribers)]
    listening = []
    for layer in layers[1:]:
        channel = await layer.new_channel()
        await layer.group_add("bench", channel)
        listening.append((layer, channel))
    before = used(redis)
    # Publish one at a time, as a chat does: many messages at once would each cost less.
    for _ in range(MESSAGES):
        await layers[0].group_send("bench", {"type": "chat.message", "frame": FRAME})
        for layer, channel in listening:
            await layer.receive(channel)
    server, own = (after - b for after, b in zip(used(redis), before, strict=True))
    for layer in layers:
        await layer.flush()
    return server / MESSAGES * 1e6, own / MESSAGES * 1e6


async def main() -> dict[str, float]:
    """Return the costs of a message in Redis, and in a process that hears the message."""
    redis = Redis.from_url(settings.REDIS_URLS[0])
    (nobody, alone), (many, heard) = await publish(redis, 0), await publish(redis, SUBSCRIBERS)
    each = {"subscriber_us": many - nobody, "hear_us": heard - alone}
    return {"publish_us": nobody} | {name: us / SUBSCRIBERS for name, us in each.items()}


if __name__ == "__main__":
    print(json.dumps({"sweep_us": sweep()} | asyncio.run(main())))
