"""Work in step 5's folder: `python -m course.bench.inside.chores accounts`, or `parts`.

`accounts` makes accounts and a conversation, and prints the keys of the accounts' sessions.

`parts` measures PostgreSQL and Redis alone, and prints microseconds. `sweep_us` is the time to
read the counter of one room among many. `publish_us` and `subscriber_us` are Redis's processor time
for a message, and for each process that hears the message. `hear_us` is such a process's own
processor time.
"""

import asyncio
import json
import sys
import time

import django

django.setup()

from channels.layers import channel_layers  # noqa: E402
from django.conf import settings  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.test import Client  # noqa: E402
from redis import Redis  # noqa: E402

from chat.models import Message, Room  # noqa: E402

ROOMS = 2000
SWEEPS = 20
MESSAGES = 2000
FRAME = {"message": "x" * 60, "id": 1, "seq": 1, "sent_at": "x" * 32, "username": "bench"}
SUBSCRIBERS = 10


def accounts() -> list[str]:
    """Make accounts, and a conversation of 50 messages; return the keys of the sessions."""
    clients = [Client() for _ in range(500)]
    for number, client in enumerate(clients):
        client.force_login(User.objects.create(username=f"bench{number}"))
    for number in range(50):
        Message(room="joins-0", user=User.objects.first(), text=f"said before {number}").save()
    return [client.session.session_key for client in clients]


def sweep() -> float:
    """Return the microseconds to read one counter, when thousands are read together."""
    names = [f"swept {number}" for number in range(ROOMS)]
    Room.objects.bulk_create(Room(name=name, seq=1) for name in names)
    counters = Room.objects.filter(name__in=names).values_list("name", "seq")
    began = time.monotonic()
    for _ in range(SWEEPS):
        assert len(dict(counters.all())) == ROOMS
    return (time.monotonic() - began) / SWEEPS / ROOMS * 1e6


async def publish(subscribers: int) -> tuple[float, float]:
    """Return the microseconds of Redis and of this process for a message to this many layers."""
    redis = Redis.from_url(settings.REDIS_URLS[0])
    layers = [channel_layers.make_backend("default") for _ in range(1 + subscribers)]
    channels = {await layer.new_channel(): layer for layer in layers[1:]}
    for channel, layer in channels.items():
        await layer.group_add("bench", channel)
    before, began = redis.info("cpu"), time.process_time()
    # Publish one at a time, as a chat does: many messages at once would each cost less.
    for _ in range(MESSAGES):
        await layers[0].group_send("bench", {"type": "chat.message", "frame": FRAME})
        for channel, layer in channels.items():
            await layer.receive(channel)
    own, after = time.process_time() - began, redis.info("cpu")
    for layer in layers:
        await layer.flush()
    server = sum(after[name] - before[name] for name in ("used_cpu_user", "used_cpu_sys"))
    return server / MESSAGES * 1e6, own / MESSAGES * 1e6


def parts() -> dict[str, float]:
    """Return the costs of a counter, of a message in Redis, and in a process that hears it."""
    (nobody, alone), (many, heard) = asyncio.run(publish(0)), asyncio.run(publish(SUBSCRIBERS))
    each = {"subscriber_us": many - nobody, "hear_us": heard - alone}
    each = {name: us / SUBSCRIBERS for name, us in each.items()}
    return {"sweep_us": sweep(), "publish_us": nobody} | each


if __name__ == "__main__":
    print(json.dumps({"accounts": accounts, "parts": parts}[sys.argv[1]]()))
