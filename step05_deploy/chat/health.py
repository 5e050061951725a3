"""Two questions of an operator's tools: is the process alive, and can it work?"""

import asyncio
import logging

from channels.layers import get_channel_layer
from django.conf import settings
from django.db import connection
from django.http import JsonResponse
from redis import asyncio as redis

from .threads import in_a_thread

logger = logging.getLogger(__name__)

TIME_LIMIT = 2  # seconds for the answer of one part


async def healthz(request):
    """Answer 200: the process answers. A dead one is restarted by its manager."""
    return JsonResponse({"process": "ok"})


async def readyz(request):
    """Answer 200 if the database and the channel layer do a round trip, else 503.

    The answer says what is wrong: ``{"database": "ok", "channel_layer":
    "TimeoutError"}``. A load balancer sends no client to a worker that is not ready.
    """
    database, channel_layer = await asyncio.gather(
        outcome_of("database", in_a_thread(ask_database)()),
        outcome_of("channel layer", ask_channel_layer()),
    )
    status = 200 if database == channel_layer == "ok" else 503
    parts = {"database": database, "channel_layer": channel_layer}
    return JsonResponse(parts, status=status)


async def outcome_of(name, question):
    """Return "ok" or the name of the error. Only the log has the rest, with hosts."""
    try:
        await asyncio.wait_for(question, TIME_LIMIT)
    except Exception as error:
        logger.warning("%s is not ready: %r", name, error)
        return type(error).__name__
    return "ok"


def ask_database():
    """Let the database answer one query."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


async def ask_channel_layer():
    """Ask each Redis server. Then send a message to ourselves, and receive it."""
    # The message takes the way of one server only, and the rooms need them all.
    for url in settings.REDIS_URLS:
        async with redis.from_url(url) as server:
            await server.ping()
    layer = get_channel_layer()
    channel = await layer.new_channel()
    received = asyncio.Event()

    async def listen():
        await layer.receive(channel)
        received.set()
        await layer.receive(channel)

    listening = asyncio.create_task(listen())
    try:
        await layer.send(channel, {"type": "health.check"})
        await received.wait()
    finally:
        # A layer forgets a channel when its receiver is cancelled.
        listening.cancel()
        await asyncio.wait([listening])
