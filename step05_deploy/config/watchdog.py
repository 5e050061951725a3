"""Tell systemd that the event loop runs. See WatchdogSec= in deploy/chat@.service."""

import asyncio
import os
import socket
from contextlib import suppress


async def lifespan(scope, receive, send):
    """Answer the server's start and stop. In between, tell systemd that we run.

    uvicorn calls this application once, in the event loop of all connections. Daphne
    does not know it. See https://asgi.readthedocs.io/en/latest/specs/lifespan.html.
    """
    await receive()
    telling = asyncio.create_task(tell_systemd())
    await send({"type": "lifespan.startup.complete"})
    await receive()
    telling.cancel()
    await send({"type": "lifespan.shutdown.complete"})


async def tell_systemd():
    """Send ``WATCHDOG=1`` twice in the time after which systemd ends the process."""
    if "WATCHDOG_USEC" not in os.environ:
        return
    seconds = int(os.environ["WATCHDOG_USEC"]) / 1_000_000
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        while True:
            with suppress(OSError):  # systemd may be busy with itself: try again
                systemd.sendto(b"WATCHDOG=1", os.environ["NOTIFY_SOCKET"])
            await asyncio.sleep(seconds / 2)
