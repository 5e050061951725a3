"""Ten events, which every way of this project delivers.

The events live in the memory of one process, and the process forgets them at its end.
"""

import asyncio
import time

from channels.layers import get_channel_layer

GROUP = "events"
PATIENCE = 25  # seconds without an event; many proxies end a silent request after 60
GAPS = [0.35, 0.8, 0.15, 0.55, 0.9, 0.25, 0.65, 0.4, 0.7, 0.45]  # seconds

events = []
news = asyncio.Condition()


async def play():
    """Publish ten events, one after each gap."""
    for gap in GAPS:
        await asyncio.sleep(gap)
        await publish()


async def publish():
    """Add an event. Wake the requests that wait, and tell the consumers' group."""
    event = {"id": len(events) + 1, "at": time.time()}
    async with news:
        events.append(event)
        news.notify_all()
    message = {"type": "live.event", "event": event}
    await get_channel_layer().group_send(GROUP, message)


async def wait_for_events(after):
    """Return the events with a number above ``after``; wait until there is one.

    After ``PATIENCE`` seconds without an event, return an empty list.
    """
    try:
        async with asyncio.timeout(PATIENCE), news:
            await news.wait_for(lambda: len(events) > after)
    except TimeoutError:
        return []
    return events[after:]
