"""Two questions that an operator's tools ask: is the process alive, and can it do its work?"""

import asyncio
import logging

from channels.layers import get_channel_layer
from django.conf import settings
from django.db import connection
from django.http import JsonResponse
from redis import asyncio as redis

from .threads import in_a_thread

logger = logging.getLogger(__name__)

PATIENCE = 2  # seconds


async def healthz(request):
    """Answer 200: the process answers. Whatever asks restarts it if it does not."""
    return JsonResponse({"process": "ok"})


async def readyz(request):
    """Answer 200 if the database and the channel layer do a round trip, else 503.

    The answer names each part, and what is wrong with it: ``{"database": "ok", "channel_layer":
    "ConnectionError"}``. Whatever asks sends nobody here until both are ok.
    """
    database, channel_layer = await asyncio.gather(
        outcome_of("database", in_a_thread(ask_database)()),
        outcome_of("channel layer", ask_channel_layer()),
    )
    status = 200 if database == channel_layer == "ok" else 503
    return JsonResponse({"database": database, "channel_layer": channel_layer}, status=status)


async def outcome_of(name, question):
    """Return "ok", or the name of what went wrong; the log has the rest, with hosts and names."""
    try:
        await asyncio.wait_for(question, PATIENCE)
    except Exception as error:
        logger.warning("%s is not ready: %r", name, error)
        return type(error).__name__
    return "ok"


def ask_database():
    """Have the database answer one query."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


async def ask_channel_layer():
    """Ask each Redis server, then send a message through the channel layer, and receive it.

    The message takes the way of one of the servers; rooms need them all.
    """
    for url in settings.REDIS_URLS:
        async with redis.from_url(url) as server:
            await server.ping()
    layer = get_channel_layer()
    channel = await layer.new_channel()
    heard = asyncio.Event()

    async def listen():
        await layer.receive(channel)
        heard.set()
        await layer.receive(channel)

    listening = asyncio.create_task(listen())
    try:
        await layer.send(channel, {"type": "health.check"})
        await heard.wait()
    finally:
        # A layer forgets a channel when its receiver is cancelled, as at a consumer's end.
        listening.cancel()
        await asyncio.wait([listening])
