"""Measure PostgreSQL and Redis alone: `python -m course.bench.inside.parts`, in step 5's folder.

The program prints microseconds as JSON. `sweep_us` is the time to read the counter of one room
among many. `publish_us` and `subscriber_us` are Redis's processor time for a message, and for each
process that hears the message. `hear_us` is such a process's own processor time.
"""

import asyncio
import json
import socket
import threading
import time
from contextlib import suppress
from urllib.parse import urlsplit

import django

django.setup()

import redis  # noqa: E402
from channels.layers import get_channel_layer  # noqa: E402
from django.conf import settings  # noqa: E402

from chat.models import Room  # noqa: E402

ROOMS = 2000
SWEEPS = 20
MESSAGES = 2000
PAYLOAD = b"x" * 300  # bytes, about a message
FRAME = {"message": "x" * 60, "id": 1, "seq": 1, "sent_at": "x" * 32, "username": "bench"}
SUBSCRIBERS = 10
URL = urlsplit(settings.REDIS_URLS[0])


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


def subscribe() -> socket.socket:
    """Return a connection to Redis that has subscribed to the channel."""
    connection = socket.create_connection((URL.hostname, URL.port))
    connection.sendall(f"AUTH {URL.password}\r\nSUBSCRIBE bench\r\n".encode())
    said = b""
    while b":1\r\n" not in said:
        said += connection.recv(4096)
    return connection


def publish(subscribers: int) -> float:
    """Return the microseconds of Redis's processor time for a message to this many."""
    listening = [subscribe() for _ in range(subscribers)]

    def hear(connection: socket.socket) -> None:
        with suppress(OSError):  # the main thread shuts the connection down
            while connection.recv(262_144):
                pass

    threads = [threading.Thread(target=hear, args=[each], daemon=True) for each in listening]
    for thread in threads:
        thread.start()
    client = redis.Redis.from_url(settings.REDIS_URLS[0])
    before = used(client)
    # Publish one at a time, as a chat does: many messages at once would each cost less.
    heard = {client.publish("bench", PAYLOAD) for _ in range(MESSAGES)}
    took = used(client) - before
    assert heard == {subscribers}
    for each in listening:
        each.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join()
    for each in listening:
        each.close()
    return took / MESSAGES * 1e6


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
    await asyncio.wait([listening])
    return (both - alone) / MESSAGES * 1e6


def used(client: "redis.Redis") -> float:
    """Return the processor time that Redis has used so far, in seconds."""
    info = client.info("cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


def main() -> None:
    """Measure everything, and print the results."""
    one, many = publish(1), publish(SUBSCRIBERS)
    each = (many - one) / (SUBSCRIBERS - 1)
    found = {"sweep_us": sweep(), "publish_us": one - each, "subscriber_us": each}
    print(json.dumps(found | {"hear_us": asyncio.run(hear())}))


if __name__ == "__main__":
    main()
